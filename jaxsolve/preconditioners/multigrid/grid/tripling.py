"""Interpolation between a grid and the grid of its blocks of three points along an axis."""

import math
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
    line_sums,
    moved,
    stacked,
    times,
)
from jaxsolve.preconditioners.stencil import StencilOperator, cut, framed, shifted

#: ω of the damped Jacobi step that smooths piecewise-constant interpolation, over the largest eigenvalue.
DAMPING = 4 / 3


class BlockProlongation(LinearOperator):
    """Interpolation along one axis from blocks of three points: each point from its block and, at its ends, the next.

    Args:
        weights: Shape (5, *coarse grid): of the first point for the block before it, of the three points for their
            own block, of the last point for the block after it.
        fine: The fine grid.
        axis: The axis.
    """

    weights: Array
    fine: Grid = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Fine and coarse points."""
        return (self.fine.size, math.prod(self.weights.shape[1:]))

    @property
    def dtype(self) -> Any:
        """The dtype of the weights."""
        return self.weights.dtype

    def mv(self, x: Array) -> Array:
        """The interpolated vector."""
        e = x.reshape(self.weights.shape[1:])
        before, first, middle, last, after = self.weights
        parts = [
            mul(first, e) + mul(before, shifted(e, self.axis, -1, self.fine.periodic)),
            mul(middle, e),
            mul(last, e) + mul(after, shifted(e, self.axis, 1, self.fine.periodic)),
        ]
        tripled = [3 * k if a == self.axis else k for a, k in enumerate(e.shape)]
        whole = jnp.stack(parts, axis=self.axis + 1).reshape(tripled)
        starts = [_missing(k)[0] if a == self.axis else 0 for a, k in enumerate(self.fine.shape)]
        ends = [start + k for start, k in zip(starts, self.fine.shape, strict=True)]
        return lax.slice(whole, starts, ends).reshape(-1)

    def restricted(self, x: Array) -> Array:
        """The product with the transpose: weighted sums over blocks and the points next to them."""
        one, two, three = thirds(x.reshape(self.fine.shape), self.axis)
        before, first, middle, last, after = self.weights
        total = mul(first, one) + mul(middle, two) + mul(last, three)
        total = total + shifted(mul(before, one), self.axis, 1, self.fine.periodic)
        return (total + shifted(mul(after, three), self.axis, -1, self.fine.periodic)).reshape(-1)

    def transpose(self) -> LinearOperator:
        """The restriction with these weights."""
        return Restriction(self)

    def conj(self) -> "BlockProlongation":
        """The interpolation with conjugate weights."""
        return BlockProlongation(jnp.conj(self.weights), self.fine, self.axis)


def thirds(field: Array, axis: int) -> list[Array]:
    """The first, second and third points of the blocks along an axis, zeros where a block at an end has none."""
    missing = _missing(field.shape[axis])
    if any(missing):
        field = framed(field, [missing if a == axis else (0, 0) for a in range(field.ndim)])
    return [cut(field, axis, s, None, 3) for s in range(3)]


def _missing(length: int) -> tuple[int, int]:
    """How many points the first and the last block along an axis lack.

    Each lacks one rather than one of them two: with blocks of single points Poisson 1000² took 11 iterations, not 8.
    """
    lacked = -length % 3
    return lacked // 2, lacked - lacked // 2


def smoothed_along(A: StencilOperator, axis: int) -> BlockProlongation:
    """Piecewise-constant interpolation along an axis, smoothed by a Jacobi step with A summed over the other axes.

    Constants are reproduced where rows of A sum to zero. On a Laplacian it is linear interpolation.

    Source: Vaněk, Mandel, Brezina, Algebraic multigrid by smoothed aggregation (1996), equation 5, on lines.
    """
    xp = namespace(A.values)
    lower, centre, upper = line_sums(A.values, A.steps, axis)
    nothing = centre == 0
    safe = xp.where(nothing, 1, centre)
    bounds = (abs(lower) + abs(upper)) / abs(safe) + 1
    factor = DAMPING / xp.max(xp.where(nothing, 1, bounds), initial=1)
    own = xp.where(nothing, xp.ones_like(factor), 1 - factor).astype(A.dtype)
    ends = [xp.where(nothing, 0, -factor * end) / safe for end in (lower, upper)]
    first, middle, last = thirds(stacked([ends[0], own, ends[1]]), axis + 1)
    weights = [first[0], first[1] + first[2], middle[0] + middle[1] + middle[2], last[0] + last[1], last[2]]
    return BlockProlongation(stacked(weights), A.grid, axis)


def galerkin_by_thirds(R: BlockProlongation, A: StencilOperator, P: BlockProlongation) -> StencilOperator:
    """The stencil of Rᵀ A P for two interpolations along the same axis.

    Smoothing reaches one point beyond a block, so that blocks couple with their next neighbours alone.
    """
    return galerkin(_products, R.weights, A, P.weights, P.axis, 3)


def _products(
    R: Array, values: list[Array | None], P: Array, periodic: tuple[bool, ...], axis: int
) -> list[Array | None]:
    """The couplings of blocks with the one before, themselves and the one after."""
    before, first, middle, last, after = P
    last_of_previous, after_of_previous = moved([last, after], periodic, axis, -1)
    before_of_next, first_of_next = moved([before, first], periodic, axis, 1)
    nothing = [None] * 3
    rows = zip(*(nothing if v is None else thirds(v, axis + 1) for v in values), strict=True)
    # Rows of A P: of the three points of a block, for the block before, their own and the one after.
    lower, centre, upper = next(rows)
    one_before = added(times(lower, last_of_previous), times(centre, before))
    one_own = added(times(lower, after_of_previous), times(centre, first), times(upper, middle))
    lower, centre, upper = next(rows)
    two_before = times(lower, before)
    two_own = added(times(lower, first), times(centre, middle), times(upper, last))
    two_after = times(upper, after)
    lower, centre, upper = next(rows)
    three_own = added(times(lower, middle), times(centre, last), times(upper, before_of_next))
    three_after = added(times(centre, after), times(upper, first_of_next))
    to_before, one, two, three, to_after = R
    previous = moved([times(three_own, to_after), times(three_after, to_after)], periodic, axis, -1)
    following = moved([times(one_before, to_before), times(one_own, to_before)], periodic, axis, 1)
    return [
        added(times(one_before, one), times(two_before, two), previous[0]),
        added(times(one_own, one), times(two_own, two), times(three_own, three), previous[1], following[0]),
        added(times(two_after, two), times(three_after, three), following[1]),
    ]
