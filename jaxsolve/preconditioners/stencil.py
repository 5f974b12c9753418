"""Stencils of radius one on grids, and interpolation between a grid and the grid of every second point."""

import itertools
import weakref
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.ell import spread
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.base import is_self_transposed
from jaxsolve.preconditioners.fusion import apart, runtime_one
from jaxsolve.preconditioners.grid import Grid, steps_along

Step = tuple[int, ...]


class StencilOperator(LinearOperator):
    """The matrix that couples each point of a grid with its next neighbours.

    Args:
        values: Shape (number of steps, *grid.shape); values[k] at i couples i with i + steps[k], 0 where
            there is no such point.
        steps: Distances to the neighbours, -1, 0 or 1 along each axis.
        grid: The grid.
        facts: What is known of the matrix.
    """

    values: Array
    steps: tuple[Step, ...] = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.grid.size, self.grid.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The product A x: one padding of x and a slice a step."""
        if any(self.grid.periodic):
            windows = neighbours_on(x.reshape(self.grid.shape), self.steps, self.grid.periodic)
            return sum_of_products(self.values, windows).reshape(-1)
        # In one dimension neighbours are further along the vector; where a row of the grid ends, values hold
        # 0.
        n, strides = self.grid.size, self.grid.strides
        offsets = [sum(s * d for s, d in zip(strides, step, strict=True)) for step in self.steps]
        before, after = max(0, -min(offsets)), max(0, *offsets)
        padded = jnp.pad(x, (before, after))
        windows = [lax.slice(padded, (before + o,), (before + o + n,)) for o in offsets]
        return sum_of_products(self.values.reshape(len(offsets), n), windows)

    def transpose(self) -> LinearOperator:
        """The transposed stencil: each value moves to the other end of its coupling."""
        if is_self_transposed(self):
            return self
        moved = []
        for k, step in enumerate(self.steps):
            back = tuple(-d for d in step)
            moved.append(neighbours_on(self.values[k], [back], self.grid.periodic)[0])
        steps = tuple(tuple(-d for d in step) for step in self.steps)
        return StencilOperator(jnp.stack(moved), steps, self.grid, self.facts.T)

    def conj(self) -> LinearOperator:
        """The conjugate stencil."""
        return StencilOperator(jnp.conj(self.values), self.steps, self.grid, self.facts)

    def diagonal(self) -> Array:
        """The value at the centre."""
        return self.values[self.steps.index((0,) * len(self.grid.shape))].reshape(-1)

    def magnitude(self) -> Array:
        """The largest absolute value."""
        return jnp.max(jnp.abs(self.values), initial=0)

    def absolute_row_sums(self) -> Array:
        """The sum of |A[i, j]| over j for each row."""
        return jnp.sum(jnp.abs(self.values), axis=0).reshape(-1)


def sum_of_products(values: Array, windows: list[Array]) -> Array:
    """The sum over k of values[k] * windows[k], unrolled."""
    total = values[0] * windows[0]
    for k in range(1, len(windows)):
        total = total + values[k] * windows[k]
    return total


def neighbours_on(field: Array, steps: Any, periodic: tuple[bool, ...]) -> list[Array]:
    """For each step the field at i + step, zero (or around the corner, where periodic) beyond the ends."""
    low = [max(0, *(-s[a] for s in steps)) for a in range(field.ndim)]
    high = [max(0, *(s[a] for s in steps)) for a in range(field.ndim)]
    padded = jnp.pad(
        field, [(0, 0) if p else lh for p, lh in zip(periodic, zip(low, high, strict=True), strict=True)]
    )
    for a, wraps in enumerate(periodic):
        if wraps and (low[a] or high[a]):
            length = field.shape[a]
            ends = [lax.slice_in_dim(padded, length - low[a], length, axis=a), padded]
            ends.append(lax.slice_in_dim(padded, 0, high[a], axis=a))
            padded = jnp.concatenate(ends, axis=a)
    out = []
    for step in steps:
        start = [lo + s for lo, s in zip(low, step, strict=True)]
        out.append(lax.slice(padded, start, [s + k for s, k in zip(start, field.shape, strict=True)]))
    return out


_STENCILS: "weakref.WeakKeyDictionary[Pattern, tuple[tuple[Step, ...], np.ndarray]]" = (
    weakref.WeakKeyDictionary()
)


def stencil_of(A: SparseMatrix, grid: Grid) -> StencilOperator:
    """The stencil of a matrix whose pattern is one on `grid`."""
    if A.pattern not in _STENCILS:
        _STENCILS[A.pattern] = _stencil_positions(A.pattern, grid)
    steps, positions = _STENCILS[A.pattern]
    values = spread(A.data, index_array(positions))
    return StencilOperator(values, steps, grid, A.facts)


def _stencil_positions(pattern: Pattern, grid: Grid) -> tuple[tuple[Step, ...], np.ndarray]:
    dims = len(grid.shape)
    code = np.zeros(pattern.nnz, np.int64)
    for length, stride in zip(grid.shape, grid.strides, strict=True):
        step = steps_along(pattern, length, stride)
        # A step of length - 1 is one in the other direction, around the corner.
        step = np.where(step == length - 1, -1, np.where(step == 1 - length, 1, step)) if length > 2 else step
        code = code * 3 + step + 1
    steps = list(itertools.product((-1, 0, 1), repeat=dims))
    used = np.flatnonzero(np.bincount(code, minlength=3**dims) + (np.arange(3**dims) == 3**dims // 2))
    slot = np.full(3**dims, -1)
    slot[used] = np.arange(len(used))
    positions = np.full((len(used), pattern.shape[0]), pattern.nnz, pattern.indptr.dtype)
    positions[slot[code], pattern.rows] = np.arange(pattern.nnz)
    return tuple(steps[k] for k in used), positions.reshape(len(used), *grid.shape)


def halved(grid: Grid, axis: int) -> Grid:
    """The grid of every second point along an axis."""
    shape = list(grid.shape)
    shape[axis] = -(-shape[axis] // 2)
    return Grid(tuple(shape), grid.periodic)


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
        odd = self.lower * e + self.upper * shifted(e, self.axis, 1, self.fine.periodic)
        both = jnp.stack([e, odd], axis=self.axis + 1)
        doubled = [2 * k if a == self.axis else k for a, k in enumerate(e.shape)]
        return lax.slice(both.reshape(doubled), [0] * e.ndim, self.fine.shape).reshape(-1)

    def transpose(self) -> LinearOperator:
        """The restriction with these weights."""
        return GridRestriction(self)

    def conj(self) -> "GridProlongation":
        """The interpolation with conjugate weights."""
        return GridProlongation(jnp.conj(self.lower), jnp.conj(self.upper), self.fine, self.axis)


class GridRestriction(LinearOperator):
    """The transpose of an interpolation: odd values go to their two ends."""

    prolongation: GridProlongation

    @property
    def shape(self) -> tuple[int, int]:
        """Coarse and fine points."""
        fine, coarse = self.prolongation.shape
        return (coarse, fine)

    @property
    def dtype(self) -> Any:
        """The dtype of the weights."""
        return self.prolongation.dtype

    def mv(self, x: Array) -> Array:
        """The restricted vector."""
        P = self.prolongation
        even, odd = halves(x.reshape(P.fine.shape), P.axis)
        back = shifted(P.upper * odd, P.axis, -1, P.fine.periodic)
        return (even + P.lower * odd + back).reshape(-1)

    def transpose(self) -> LinearOperator:
        """The interpolation."""
        return self.prolongation

    def conj(self) -> LinearOperator:
        """The restriction with conjugate weights."""
        return GridRestriction(self.prolongation.conj())


def shifted(field: Array, axis: int, distance: int, periodic: tuple[bool, ...]) -> Array:
    """The field at i + distance along one of its axes; `periodic` counts the axes of the grid."""
    step = [0] * field.ndim
    step[axis] = distance
    return neighbours_on(field, [tuple(step)], periodic)[0]


def halves(field: Array, axis: int) -> tuple[Array, Array]:
    """The even and the odd points of a field along an axis, a zero where the last odd one is missing."""
    length = field.shape[axis]
    if length % 2:
        field = jnp.pad(field, [(0, 1 if a == axis else 0) for a in range(field.ndim)])
    even = lax.slice_in_dim(field, 0, None, stride=2, axis=axis)
    return even, lax.slice_in_dim(field, 1, None, stride=2, axis=axis)


def interpolation_along(A: StencilOperator, axis: int) -> GridProlongation:
    """Interpolation along an axis for which A nearly vanishes.

    The stencil of each odd point is summed over the other axes and solved on its line: constants are
    reproduced where rows of A sum to zero, and jumps of the coefficient are followed.

    Source: Dendy, Black box multigrid (1982), section 3.
    """
    sums: list[Array | None] = [None, None, None]
    for k, step in enumerate(A.steps):
        before = sums[step[axis] + 1]
        sums[step[axis] + 1] = A.values[k] if before is None else before + A.values[k]
    zero = jnp.zeros(A.grid.shape, A.dtype)
    lower, centre, upper = (halves(zero if s is None else s, axis)[1] for s in sums)
    safe = jnp.where(centre == 0, 1, centre)
    nothing = centre == 0
    return GridProlongation(
        jnp.where(nothing, 0, -lower) / safe, jnp.where(nothing, 0, -upper) / safe, A.grid, axis
    )


def galerkin_along(R: GridProlongation, A: StencilOperator, P: GridProlongation) -> StencilOperator:
    """The stencil of Rᵀ A P for two interpolations along the same axis.

    Couplings along the other axes do not mix, so that they are worked on together as a leading axis of the
    arrays; about twenty array operations for a grid of any dimension.
    """
    axis, grid = P.axis, A.grid
    others = sorted({tuple(0 if a == axis else d for a, d in enumerate(step)) for step in A.steps})
    order = []
    for t in (-1, 0, 1):
        wanted = [tuple(t if a == axis else d for a, d in enumerate(o)) for o in others]
        order += [A.steps.index(w) if w in A.steps else len(A.steps) for w in wanted]
    if order == list(range(len(A.steps))):
        values = A.values
    else:
        values = jnp.concatenate([A.values, jnp.zeros((1, *grid.shape), A.dtype)])[np.asarray(order)]
    values = values.reshape(3, len(others), *grid.shape)
    even, odd = halves(values, axis + 2)

    def back(fields: list[Array]) -> Array:
        """The fields of the odd point before each even one."""
        return shifted(jnp.stack(fields), axis + 2, -1, (False, False, *grid.periodic))

    # A column further along the other axes is interpolated with the weights there.
    along = [(0, *o) for o in others]
    both = neighbours_on(jnp.stack([P.lower, P.upper]), along, (False, *grid.periodic))
    lower, upper = jnp.stack(both, axis=1)
    to_self = odd[0] + odd[1] * lower
    to_next = odd[2] + odd[1] * upper
    before = back([lower, upper, R.upper * to_self, R.upper * to_next])
    below = even[0] * before[0] + before[2]
    centre = even[1] + even[0] * before[1] + even[2] * lower + R.lower * to_self + before[3]
    above = even[2] * upper + R.lower * to_next
    steps = [tuple(t if a == axis else d for a, d in enumerate(o)) for t in (-1, 0, 1) for o in others]
    values = jnp.concatenate([below, centre, above])
    return StencilOperator(apart(values, runtime_one(values)), tuple(steps), halved(grid, axis), A.facts)
