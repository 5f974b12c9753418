"""Stencils of radius one on grids, and interpolation between a grid and the grid of every second point."""

import functools
import itertools
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax

from jaxsolve.core.staging import index_array, namespace
from jaxsolve.core.traits import Traits
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.ell import spread
from jaxsolve.operators.layout import diagonal_slots
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.base import is_self_transposed
from jaxsolve.preconditioners.fusion import whole
from jaxsolve.preconditioners.grid import Grid, plain_steps, steps_along

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

    def host_product(self) -> Callable[[np.ndarray], np.ndarray]:
        """What multiplies a vector with the matrix on the host, for values on the host."""
        if any(self.grid.periodic):
            return self._host_windows
        # SciPy's diagonals in one pass each take a third of the time of NumPy's products and sums.
        n, strides = self.grid.size, self.grid.strides
        offsets = [sum(s * d for s, d in zip(strides, step, strict=True)) for step in self.steps]
        # On a grid of two points along an axis, steps may share a diagonal.
        rows = {o: np.zeros(n, self.dtype) for o in offsets}
        for value, o in zip(self.values.reshape(len(offsets), n), offsets, strict=True):
            rows[o][max(o, 0) : n + min(o, 0)] += value[max(-o, 0) : n - max(o, 0)]
        return scipy.sparse.dia_array((np.stack(list(rows.values())), list(rows)), shape=(n, n)).__matmul__

    def _host_windows(self, x: np.ndarray) -> np.ndarray:
        windows = neighbours_on(x.reshape(self.grid.shape), self.steps, self.grid.periodic)
        total = np.zeros(self.grid.shape, np.result_type(self.values, x))
        term = np.empty_like(total)
        for value, window in zip(self.values, windows, strict=True):
            # New memory for each term would cost more than the product.
            total += np.multiply(value, window, out=term)
        return total.reshape(-1)

    def host_matrix(self) -> np.ndarray:
        """The dense matrix, for values on the host."""
        n = self.grid.size
        points = np.arange(n).reshape(self.grid.shape)
        out = np.zeros((n, n), self.dtype)
        periodic = (True,) * len(self.grid.shape)
        for value, target in zip(self.values, neighbours_on(points, self.steps, periodic), strict=True):
            # Two steps may lead to the same point of a short periodic axis; beyond other ends values are 0.
            np.add.at(out, (points, target), value)
        return out

    def transpose(self) -> LinearOperator:
        """The transposed stencil: each value moves to the other end of its coupling."""
        if is_self_transposed(self):
            return self
        moved = []
        for k, step in enumerate(self.steps):
            back = tuple(-d for d in step)
            moved.append(neighbours_on(self.values[k], [back], self.grid.periodic)[0])
        steps = tuple(tuple(-d for d in step) for step in self.steps)
        return StencilOperator(namespace(self.values).stack(moved), steps, self.grid, self.facts.T)

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
        return abs(self.values).sum(axis=0).reshape(-1)


def sum_of_products(values: Array, windows: list[Array]) -> Array:
    """The sum over k of values[k] * windows[k], unrolled."""
    total = values[0] * windows[0]
    for k in range(1, len(windows)):
        total = total + values[k] * windows[k]
    return total


def neighbours_on(field: Any, steps: Any, periodic: tuple[bool, ...]) -> list[Any]:
    """For each step the field at i + step, zero (or around the corner, where periodic) beyond the ends."""
    low = [max(0, *(-s[a] for s in steps)) for a in range(field.ndim)]
    high = [max(0, *(s[a] for s in steps)) for a in range(field.ndim)]
    xp = namespace(field)
    padded = xp.pad(
        field, [(0, 0) if p else lh for p, lh in zip(periodic, zip(low, high, strict=True), strict=True)]
    )
    for a, wraps in enumerate(periodic):
        if wraps and (low[a] or high[a]):
            length = field.shape[a]
            ends = [cut(padded, a, length - low[a], length), padded, cut(padded, a, 0, high[a])]
            padded = xp.concatenate(ends, axis=a)
    out = []
    for step in steps:
        starts = [lo + s for lo, s in zip(low, step, strict=True)]
        out.append(padded[tuple(slice(s, s + k) for s, k in zip(starts, field.shape, strict=True))])
    return out


def cut(field: Array, axis: int, start: int, stop: int | None, stride: int = 1) -> Array:
    """The points from `start` up to `stop` along an axis."""
    return field[(slice(None),) * axis + (slice(start, stop, stride),)]


_STENCILS: "weakref.WeakKeyDictionary[Pattern, tuple[tuple[Step, ...], np.ndarray]]" = (
    weakref.WeakKeyDictionary()
)


def stencil_of(A: SparseMatrix, grid: Grid) -> StencilOperator:
    """The stencil of a matrix whose pattern is one on `grid`."""
    if A.pattern not in _STENCILS:
        _STENCILS[A.pattern] = _stencil_positions(A.pattern, grid)
    steps, positions = _STENCILS[A.pattern]
    values: Any
    if isinstance(A.data, np.ndarray):
        values = np.append(A.data, np.zeros(1, A.dtype))[positions]
    else:
        values = spread(A.data, index_array(positions))
    return StencilOperator(values, steps, grid, A.facts)


def _stencil_positions(pattern: Pattern, grid: Grid) -> tuple[tuple[Step, ...], np.ndarray]:
    dims = len(grid.shape)
    plain = None if any(grid.periodic) else plain_steps(pattern, grid)
    if plain is not None and (0,) * dims in plain:
        return tuple(plain), diagonal_slots(pattern).reshape(len(plain), *grid.shape)
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

    def restricted(self, x: Array) -> Array:
        """The product with the transpose: odd values go to their two ends."""
        even, odd = halves(x.reshape(self.fine.shape), self.axis)
        back = shifted(self.upper * odd, self.axis, -1, self.fine.periodic)
        return (even + self.lower * odd + back).reshape(-1)

    def transpose(self) -> LinearOperator:
        """The restriction with these weights."""
        return Restriction(self)

    def conj(self) -> "GridProlongation":
        """The interpolation with conjugate weights."""
        return GridProlongation(jnp.conj(self.lower), jnp.conj(self.upper), self.fine, self.axis)


class Restriction(LinearOperator):
    """The transpose of an interpolation.

    Args:
        prolongation: The interpolation; its `restricted` multiplies with the transpose.
    """

    prolongation: Any

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
        return self.prolongation.restricted(x)

    def transpose(self) -> LinearOperator:
        """The interpolation."""
        return self.prolongation

    def conj(self) -> LinearOperator:
        """The restriction with conjugate weights."""
        return Restriction(self.prolongation.conj())


def shifted(field: Array, axis: int, distance: int, periodic: tuple[bool, ...]) -> Array:
    """The field at i + distance along one of its axes; `periodic` counts the axes of the grid."""
    step = [0] * field.ndim
    step[axis] = distance
    return neighbours_on(field, [tuple(step)], periodic)[0]


def halves(field: Array, axis: int) -> tuple[Array, Array]:
    """The even and the odd points of a field along an axis, a zero where the last odd one is missing."""
    if field.shape[axis] % 2:
        field = namespace(field).pad(field, [(0, 1 if a == axis else 0) for a in range(field.ndim)])
    return cut(field, axis, 0, None, 2), cut(field, axis, 1, None, 2)


def line_sums(A: StencilOperator, axis: int) -> tuple[Array, Array, Array]:
    """For each point its couplings summed over the other axes: to the line before it, to its own, to the one after."""
    sums: list[Any] = [None, None, None]
    for k, step in enumerate(A.steps):
        before = sums[step[axis] + 1]
        sums[step[axis] + 1] = A.values[k] if before is None else before + A.values[k]
    for k in range(3):
        sums[k] = np.zeros(A.grid.shape, A.dtype) if sums[k] is None else sums[k]
    return sums[0], sums[1], sums[2]


#: About so many entries of a field are worked on at once on the host, such that they stay in the cache.
CACHED = 1 << 16


def along_axis(A: StencilOperator, axis: int) -> Iterator[tuple[list[Step], list[Any]]]:
    """The steps along the other axes in groups, and their values for steps of -1, 0 and 1 along this one.

    On the device one group, on the host as many as the cache asks for, steps with the same neighbours together.

    Yields:
        k steps with 0 along the axis; values of shape (k, *grid.shape), None where A has none.
    """
    kinds: dict[tuple[bool, ...], list[Step]] = {}
    others = sorted({tuple(0 if a == axis else d for a, d in enumerate(step)) for step in A.steps})
    xp = namespace(A.values)
    for other in others:
        present = tuple(step in A.steps for step in with_steps([other], axis))
        kinds.setdefault(present if xp is np else (True,) * 3, []).append(other)
    zero = np.zeros(A.grid.shape, A.dtype)
    for present, kind in kinds.items():
        count = max(1, CACHED // A.grid.size) if xp is np else len(kind)
        for k in range(0, len(kind), count):
            group = kind[k : k + count]
            wanted = with_steps(group, axis)
            fields = [A.values[A.steps.index(step)] if step in A.steps else zero for step in wanted]
            parts = [fields[t * len(group) : (t + 1) * len(group)] for t in range(3)]
            yield (
                group,
                [xp.stack(part) if there else None for part, there in zip(parts, present, strict=True)],
            )


def stacked(fields: list[Array], axis: int = 0) -> Array:
    """The fields along a new axis; a view of one that is alone."""
    xp = namespace(fields[0])
    return xp.expand_dims(fields[0], axis) if len(fields) == 1 else xp.stack(fields, axis)


def times(value: Array | None, weight: Array) -> Array | None:
    """The product, None where there is no value."""
    return None if value is None else value * weight


def added(*terms: Array | None) -> Array | None:
    """The sum of the terms that are there."""
    there = [term for term in terms if term is not None]
    return functools.reduce(operator.add, there) if there else None


def with_steps(others: list[Step], axis: int) -> tuple[Step, ...]:
    """The steps with -1, 0 and 1 along an axis, in this order, and `others` along the other ones."""
    return tuple(tuple(t if a == axis else d for a, d in enumerate(o)) for t in (-1, 0, 1) for o in others)


def interpolation_along(A: StencilOperator, axis: int) -> GridProlongation:
    """Interpolation along an axis for which A nearly vanishes.

    The stencil of each odd point is summed over the other axes and solved on its line: constants are
    reproduced where rows of A sum to zero, and jumps of the coefficient are followed.

    Source: Dendy, Black box multigrid (1982), section 3.
    """
    lower, centre, upper = (halves(part, axis)[1] for part in line_sums(A, axis))
    xp, nothing = namespace(A.values), centre == 0
    safe = xp.where(nothing, 1, centre)
    return GridProlongation(
        xp.where(nothing, 0, -lower) / safe, xp.where(nothing, 0, -upper) / safe, A.grid, axis
    )


def galerkin_along(R: GridProlongation, A: StencilOperator, P: GridProlongation) -> StencilOperator:
    """The stencil of Rᵀ A P for two interpolations along the same axis.

    Couplings along the other axes do not mix, so that they are worked on together as a leading axis of the
    arrays; about twenty array operations for a grid of any dimension.
    """
    axis, grid, xp = P.axis, A.grid, namespace(A.values)
    weights = weights_around(xp.stack([P.lower, P.upper]), A, axis)
    found: dict[Step, Array] = {}
    for others, values in along_axis(A, axis):
        lower, upper = stacked([weights[o] for o in others], axis=1)
        parts = [(None, None) if v is None else halves(v, axis + 1) for v in values]
        (even_below, odd_below), (even, odd), (even_above, odd_above) = parts
        to_self = added(odd_below, times(odd, lower))
        to_next = added(odd_above, times(odd, upper))
        before = moved([lower, upper, times(to_self, R.upper), times(to_next, R.upper)], grid, axis, -1)
        below = added(times(even_below, before[0]), before[2])
        centre = added(
            even, times(even_below, before[1]), times(even_above, lower), times(to_self, R.lower), before[3]
        )
        above = added(times(even_above, upper), times(to_next, R.lower))
        found |= by_step(others, axis, [below, centre, above])
    return StencilOperator(
        whole(xp.stack(list(found.values()))), tuple(found), grid.coarser(axis, 2), A.facts
    )


def weights_around(weights: Array, A: StencilOperator, axis: int) -> dict[Step, Array]:
    """Weights on a grid coarser along an axis, at the ends of the steps of A along the other axes.

    A column further along the other axes is interpolated with the weights there.

    Args:
        weights: Shape (count, *coarse grid).
        A: The stencil on the fine grid.
        axis: The axis.
    """
    others = list({tuple(0 if a == axis else d for a, d in enumerate(step)) for step in A.steps})
    windows = neighbours_on(weights, [(0, *o) for o in others], (False, *A.grid.periodic))
    return dict(zip(others, windows, strict=True))


def moved(fields: list[Array | None], grid: Grid, axis: int, distance: int) -> list[Any]:
    """The fields, of shape (k, ...), at a distance along an axis; None stays None."""
    xp = namespace(next((f for f in fields if f is not None), None))
    there = [f for f in fields if f is not None]
    if xp is np:
        out = [shifted(f, axis + 1, distance, (False, *grid.periodic)) for f in there]
    else:
        out = shifted(xp.stack(there), axis + 2, distance, (False, False, *grid.periodic)) if there else there
    rest = iter(out)
    return [None if f is None else next(rest) for f in fields]


def by_step(others: list[Step], axis: int, parts: list[Array | None]) -> dict[Step, Array]:
    """The fields of each step from those for -1, 0 and 1 along an axis, without those that are None."""
    found = {}
    for t, part in zip((-1, 0, 1), parts, strict=True):
        if part is not None:
            steps = [tuple(t if a == axis else d for a, d in enumerate(o)) for o in others]
            found |= dict(zip(steps, part, strict=True))
    return found
