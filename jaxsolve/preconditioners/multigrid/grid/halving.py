"""Interpolation between a grid and the grid of every second point along an axis."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.staging import namespace
from jaxsolve.core.vector import mul
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.grid import Grid
from jaxsolve.preconditioners.multigrid.grid.axis_galerkin import (
    Restriction,
    added,
    galerkin,
    in_slabs,
    line_sums,
    moved,
    stacked,
    times,
)
from jaxsolve.preconditioners.stencil import StencilOperator, cut, framed, shifted


class GridProlongation(LinearOperator):
    """Interpolation along one axis, from every second point to all: odd points are weighted sums of their two ends.

    Args:
        lower: Weights of the even point before each odd one, as a field on the coarse grid.
        upper: Weights of the even point after it.
        fine: The fine grid.
        axis: The axis.
    """

    lower: Array
    upper: Array
    fine: Grid = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Fine and coarse points."""
        return (self.fine.size, self.lower.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the weights."""
        return self.lower.dtype

    def mv(self, x: Array) -> Array:
        """The interpolated vector."""
        e = x.reshape(self.lower.shape)
        odd = mul(self.lower, e) + mul(self.upper, shifted(e, self.axis, 1, self.fine.periodic))
        both = jnp.stack([e, odd], axis=self.axis + 1)
        doubled = [2 * k if a == self.axis else k for a, k in enumerate(e.shape)]
        return lax.slice(both.reshape(doubled), [0] * e.ndim, self.fine.shape).reshape(-1)

    def restricted(self, x: Array) -> Array:
        """The product with the transpose: odd values go to their two ends."""
        even, odd = halves(x.reshape(self.fine.shape), self.axis)
        back = shifted(mul(self.upper, odd), self.axis, -1, self.fine.periodic)
        return (even + mul(self.lower, odd) + back).reshape(-1)

    def transpose(self) -> LinearOperator:
        """The restriction with these weights."""
        return Restriction(self)

    def conj(self) -> "GridProlongation":
        """The interpolation with conjugate weights."""
        return GridProlongation(jnp.conj(self.lower), jnp.conj(self.upper), self.fine, self.axis)


def halves(field: Array, axis: int) -> tuple[Array, Array]:
    """The even and the odd points of a field along an axis, a zero where the last odd one is missing."""
    if field.shape[axis] % 2:
        field = framed(field, [(0, 1 if a == axis else 0) for a in range(field.ndim)])
    return cut(field, axis, 0, None, 2), cut(field, axis, 1, None, 2)


def interpolation_along(A: StencilOperator, axis: int) -> GridProlongation:
    """Interpolation along an axis for which A nearly vanishes.

    The stencil of each odd point is summed over the other axes and solved on its line: constants are
    reproduced where rows of A sum to zero, and jumps of the coefficient are followed.

    Source: Dendy, Black box multigrid (1982), section 3.
    """
    xp = namespace(A.values)

    def weights(values: Array) -> Array:
        lower, centre, upper = line_sums(halves(values, axis + 1)[1], A.steps, axis)
        nothing = centre == 0
        safe = xp.where(nothing, 1, centre)
        return stacked([xp.where(nothing, 0, -end) / safe for end in (lower, upper)])

    lower, upper = in_slabs(weights, axis, A.values)
    return GridProlongation(lower, upper, A.grid, axis)


def galerkin_along(R: GridProlongation, A: StencilOperator, P: GridProlongation) -> StencilOperator:
    """The stencil of Rᵀ A P for two interpolations along the same axis."""
    p = stacked([P.lower, P.upper])
    return galerkin(_products, p if R is P else stacked([R.lower, R.upper]), A, p, P.axis, 2)


def _products(
    R: Array, values: list[Array | None], P: Array, periodic: tuple[bool, ...], axis: int
) -> list[Array | None]:
    """The couplings of coarse points with the one before, themselves and the one after."""
    down, up = R
    lower, upper = P
    parts = [(None, None) if v is None else halves(v, axis + 1) for v in values]
    (even_below, odd_below), (even, odd), (even_above, odd_above) = parts
    to_self = added(odd_below, times(odd, lower))
    to_next = added(odd_above, times(odd, upper))
    before = moved([lower, upper, times(to_self, up), times(to_next, up)], periodic, axis, -1)
    below = added(times(even_below, before[0]), before[2])
    centre = added(
        even, times(even_below, before[1]), times(even_above, lower), times(to_self, down), before[3]
    )
    return [below, centre, added(times(even_above, upper), times(to_next, down))]
