"""Grids: their points, and the steps of entries along their axes."""

import dataclasses
import itertools
import math

import numpy as np

from jaxsolve.core.memo import per_object
from jaxsolve.operators.layout import diagonal_slots
from jaxsolve.operators.pattern import Pattern

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
