"""Stencils of radius one on grids."""

import functools
import itertools
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax

from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array, namespace
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import largest
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import spread
from jaxsolve.operators.layout import diagonal_slots
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.grid import Grid, plain_steps, steps_along
from jaxsolve.preconditioners.preconditioner import is_self_transposed

Step = tuple[int, ...]

#: About so many entries of a field are worked on at once on the host, such that all that is made of them stays in the
#: cache.
CACHED = 1 << 15


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
        """What multiplies a vector on the host with the matrix or its transpose, whose spectra are the same."""
        n, strides = self.grid.size, self.grid.strides
        offsets = [-sum(s * d for s, d in zip(strides, step, strict=True)) for step in self.steps]
        # On an axis of two points, steps across it lie on the diagonals of others.
        if any(self.grid.periodic) or len(set(offsets)) < len(offsets):
            return self._host_windows
        # The diagonals of the transpose lie in memory as SciPy stores them.
        values = np.reshape(self.values, (len(offsets), n))
        return scipy.sparse.dia_array((values, offsets), shape=(n, n)).__matmul__

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

    @property
    def entry_count(self) -> int:
        """The number of slots."""
        return len(self.steps) * self.grid.size

    def transpose(self) -> "StencilOperator":
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
        return largest(self.values)

    def absolute_row_sums(self) -> Array:
        """The sum of |A[i, j]| over j for each row."""
        # Unrolled: XLA's CPU took 34 ms for the sum along this axis and the maximum of it, of 16 fields of 256².
        return functools.reduce(operator.add, [abs(value) for value in self.values]).reshape(-1)


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
    ends = zip(periodic, low, high, strict=True)
    padded = framed(field, [(0, 0) if wraps else (lo, hi) for wraps, lo, hi in ends])
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


def shifted(field: Array, axis: int, distance: int, periodic: tuple[bool, ...]) -> Array:
    """The field at i + distance along one of its axes; `periodic` counts the axes of the grid."""
    step = [0] * field.ndim
    step[axis] = distance
    return neighbours_on(field, [tuple(step)], periodic)[0]


def framed(field: Any, widths: list[tuple[int, int]]) -> Any:
    """The field with zeros before and after it along each axis; the field itself where there are none."""
    if not any(before or after for before, after in widths):
        return field
    if namespace(field) is not np:
        return jnp.pad(field, widths)
    # A third of the time of `np.pad`, which takes 50 µs of small fields.
    out = np.zeros(
        [k + before + after for k, (before, after) in zip(field.shape, widths, strict=True)], field.dtype
    )
    out[tuple(slice(before, before + k) for k, (before, _) in zip(field.shape, widths, strict=True))] = field
    return out


def cut(field: Array, axis: int, start: int, stop: int | None, stride: int = 1) -> Array:
    """The points from `start` up to `stop` along an axis."""
    return field[(slice(None),) * axis + (slice(start, stop, stride),)]


#: The steps of a pattern, and the entry in each slot; None where these are the slots of its diagonals.
_Places = tuple[tuple[Step, ...], np.ndarray | None]


def stencil_of(A: SparseMatrix, grid: Grid) -> StencilOperator:
    """The stencil of a matrix whose pattern is one on `grid`; on the host where its values are there."""
    steps, positions = _places(A.pattern, grid)
    if isinstance(A.data, np.ndarray):
        if positions is None:
            positions = diagonal_slots(A.pattern)
        values: Any = np.append(A.data, np.zeros(1, A.dtype))[positions]
    elif positions is None and (diagonals := _all_diagonals(A)) is not None:
        # Those by which the solver multiplies.
        values = diagonals.values
    else:
        values = spread(A.data, index_array(diagonal_slots(A.pattern) if positions is None else positions))
    return StencilOperator(values.reshape(len(steps), *grid.shape), steps, grid, A.facts)


def _all_diagonals(A: SparseMatrix) -> DiagonalsOperator | None:
    """The diagonals by which a matrix is applied, where these are those of its pattern."""
    diagonals = A.by_diagonals()
    return (
        diagonals
        if diagonals is not None and diagonals.offsets == tuple(A.pattern.offsets.tolist())
        else None
    )


def host_stencil(A: SparseMatrix, grid: Grid) -> tuple[StencilOperator, LinearOperator | None]:
    """The stencil of concrete values on the host; and where a solver multiplies by diagonals, what it does that with.

    The stencil is a view of these diagonals then.
    """
    steps, positions = _places(A.pattern, grid)
    with jax.ensure_compile_time_eval():
        layout = _all_diagonals(A) if positions is None and isinstance(A.data, Array) else None
    values: Any = np.asarray(A.data)
    if layout is None:
        return stencil_of(SparseMatrix(values, A.pattern, A.facts), grid), None
    values = np.asarray(layout.values).reshape(len(steps), *grid.shape)
    return StencilOperator(values, steps, grid, A.facts), layout


@per_object
def _places(pattern: Pattern, grid: Grid) -> _Places:
    dims = len(grid.shape)
    plain = None if any(grid.periodic) else plain_steps(pattern, grid)
    if plain is not None and (0,) * dims in plain:
        return tuple(plain), None
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
