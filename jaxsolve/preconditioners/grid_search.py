"""Grid search: whether a matrix is a stencil that couples next neighbours of a regular grid."""

import itertools

import numpy as np

from jaxsolve.core.memo import per_object
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.grid import SHORTEST_AXIS, Grid, plain_steps, steps_along

#: No stencil of radius one in three dimensions has more diagonals: 27, and each wrapped around three axes.
MOST_OFFSETS = 125


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
