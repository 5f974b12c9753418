"""Grids read from a pattern: whether a matrix is a stencil that couples next neighbours of a regular grid."""

import dataclasses
import itertools
import math

import numpy as np

from jaxsolve.core.memo import per_object
from jaxsolve.operators.layout import diagonal_slots
from jaxsolve.operators.pattern import Pattern

#: No stencil of radius one in three dimensions has more diagonals: 27, and each wrapped around three axes.
MOST_OFFSETS = 125
#: Thinner axes are no axes: their neighbours are everybody.
SHORTEST_AXIS = 3


@dataclasses.dataclass(frozen=True)
class Grid:
    """A regular grid whose points are numbered in C order.

    Attributes:
        shape: Points along each axis.
        periodic: Whether the two ends of each axis are neighbours.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]

    @property
    def size(self) -> int:
        """The number of points."""
        return math.prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """The distance in the numbering of neighbours along each axis."""
        return tuple(math.prod(self.shape[a + 1 :]) for a in range(len(self.shape)))

    def coarser(self, axis: int, factor: int) -> "Grid":
        """The grid with one point for each `factor` along an axis, the last one for what is left."""
        shape = list(self.shape)
        shape[axis] = -(-shape[axis] // factor)
        return Grid(tuple(shape), self.periodic)


@per_object
def grid_of(pattern: Pattern) -> Grid | None:
    """The grid on which a pattern is a stencil of radius one, None where there is none.

    >>> from jaxsolve.operators.pattern import Pattern
    >>> i = np.arange(12).reshape(3, 4)
    >>> pairs = np.concatenate([[i[1:], i[:-1]]], axis=1).reshape(2, -1)
    >>> rows = np.concatenate([pairs[0], i[:, 1:].ravel(), i.ravel()])
    >>> cols = np.concatenate([pairs[1], i[:, :-1].ravel(), i.ravel()])
    >>> grid_of(Pattern.from_coo(rows, cols, (12, 12))[0]).shape
    (3, 4)
    """
    n = pattern.shape[0]
    if (
        pattern.shape[0] != pattern.shape[1]
        or n < SHORTEST_AXIS
        or not 1 < len(pattern.offsets) <= MOST_OFFSETS
    ):
        return None
    offsets = np.unique(np.abs(pattern.offsets))
    offsets = offsets[offsets > 0]
    for shape in _candidates(n, offsets):
        if not _explains(shape, offsets):
            continue
        fixed = Grid(shape, (False,) * len(shape))
        grid = fixed if plain_steps(pattern, fixed) is not None else _verified(pattern, shape)
        if grid is not None:
            return grid
    return None


def _candidates(n: int, offsets: np.ndarray) -> list[tuple[int, ...]]:
    """The shapes with one, two and three axes whose strides, or a neighbour of them, are offsets."""
    near = {int(o) + d for o in offsets for d in (-1, 0, 1)}
    strides = sorted(s for s in near if SHORTEST_AXIS <= s <= n // SHORTEST_AXIS and n % s == 0)
    shapes: list[tuple[int, ...]] = [(n,)]
    shapes += [(n // s, s) for s in strides]
    # The stride of the first of three axes may be off by one row and one entry (a 27-point stencil has all).
    for s in strides:
        far = {int(o) + d * s + e for o in offsets for d in (-1, 0, 1) for e in (-1, 0, 1)}
        for t in sorted(far):
            if t >= SHORTEST_AXIS * s and t % s == 0 and n % t == 0 and n // t >= SHORTEST_AXIS:
                shapes.append((n // t, t // s, s))
    return shapes


def _explains(shape: tuple[int, ...], offsets: np.ndarray) -> bool:
    strides = Grid(shape, (False,) * len(shape)).strides
    steps = [(-(k - 1), -1, 0, 1, k - 1) for k in shape]
    known = {sum(s * d for s, d in zip(strides, step, strict=True)) for step in itertools.product(*steps)}
    return known.issuperset(offsets.tolist())


def _verified(pattern: Pattern, shape: tuple[int, ...]) -> Grid | None:
    """The grid if all entries couple next neighbours on it."""
    periodic = []
    for length, stride in zip(shape, Grid(shape, (False,) * len(shape)).strides, strict=True):
        distance = np.abs(steps_along(pattern, length, stride))
        far = distance > 1
        if (distance[far] != length - 1).any():
            return None
        periodic.append(bool(far.any()))
    return Grid(shape, tuple(periodic))


def plain_steps(pattern: Pattern, grid: Grid) -> list[tuple[int, ...]] | None:
    """The step on a grid without periodic axes of each diagonal of a pattern, None where some entry couples others.

    Only the faces of the grid are looked at: no step of -1, 0 or 1 along each axis may lead out of them.
    """
    ways = {
        sum(s * d for s, d in zip(grid.strides, step, strict=True)): step
        for step in itertools.product((-1, 0, 1), repeat=len(grid.shape))
    }
    if not ways.keys() >= set(pattern.offsets.tolist()):
        return None
    steps: list[tuple[int, ...]] = [ways[offset] for offset in pattern.offsets.tolist()]
    slots = diagonal_slots(pattern).reshape(len(steps), *grid.shape)
    for step, slot in zip(steps, slots, strict=True):
        for axis, d in enumerate(step):
            face = np.take(slot, 0 if d < 0 else -1, axis=axis)
            if d and (face < pattern.nnz).any():
                return None
    return steps


def steps_along(pattern: Pattern, length: int, stride: int) -> np.ndarray:
    """For each entry the coordinate of its column along an axis of a grid less that of its row."""
    coordinate = (np.arange(pattern.shape[0]) // stride % length).astype(np.int32)
    return coordinate[pattern.indices] - coordinate[pattern.rows]


@per_object
def axis_entries(pattern: Pattern, grid: Grid) -> list[np.ndarray]:
    """For each axis of the grid of a pattern the entries that couple neighbours along it alone."""
    distance = np.abs(pattern.indices.astype(np.int64) - pattern.rows)
    return [np.flatnonzero(distance == stride) for stride in grid.strides]


def boxes(grid: Grid, count: int) -> np.ndarray:
    """A label for each point that numbers about `count` boxes of nearly equal shape in C order."""
    side = (grid.size / max(count, 1)) ** (1 / len(grid.shape))
    label = np.zeros(grid.shape, np.int64)
    for axis, length in enumerate(grid.shape):
        parts = min(length, max(1, round(length / side)))
        along = np.arange(length) * parts // length
        shape = [1] * len(grid.shape)
        shape[axis] = length
        label = label * parts + along.reshape(shape)
    return label.reshape(-1)
