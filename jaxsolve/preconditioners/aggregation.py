"""Aggregates: the points of a graph in groups of a root and what is near it."""

from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.graph import largest_around, priorities
from jaxsolve.preconditioners.grid import axis_entries
from jaxsolve.preconditioners.grid_search import grid_of

#: Where at most this share of an axis' couplings is strong (weak), the axis is weak (strong).
UNIFORM = 0.02


def aggregates(graph: Any) -> np.ndarray:
    """The number of the aggregate of each point, numbered 0, 1, ... by their roots.

    Roots are a maximal set of points of which no two are joined or have a common neighbour, found in parallel
    rounds; their neighbours join them, and then the points at distance two join the aggregate of a neighbour.

    Args:
        graph: Symmetric adjacency without loops; data positive, larger for stronger couplings.

    Source: Bell, Dalton, Olson, Exposing fine-grained parallelism in algebraic multigrid methods (2012),
    section 3.2.
    """
    n = graph.shape[0]
    roots = _distant_roots(graph)
    label = np.full(n, -1, np.int64)
    label[roots] = np.arange(len(roots))
    label = np.maximum(label, largest_around(graph, label))
    return _join_strongest(graph, label)


def _distant_roots(graph: Any) -> np.ndarray:
    n = graph.shape[0]
    priority = priorities(n)
    open_ = np.ones(n, bool)
    root = np.zeros(n, bool)
    while open_.any():
        value = np.where(open_, priority, -1)
        near = np.maximum(value, largest_around(graph, value))
        near = np.maximum(near, largest_around(graph, near))
        new = open_ & (near == value)
        root |= new
        reached = new.astype(np.int8)
        reached = np.maximum(reached, largest_around(graph, reached))
        reached = np.maximum(reached, largest_around(graph, reached))
        open_ &= reached <= 0
    return np.flatnonzero(root)


def _join_strongest(graph: Any, label: np.ndarray) -> np.ndarray:
    """Gives each point without aggregate that of its most strongly coupled neighbour."""
    rows = np.repeat(np.arange(len(label)), np.diff(graph.indptr))
    while (label < 0).any():
        use = (label[rows] < 0) & (label[graph.indices] >= 0)
        if not use.any():
            lonely = np.flatnonzero(label < 0)
            label = label.copy()
            label[lonely] = label.max(initial=-1) + 1 + np.arange(len(lonely))
            return label
        owner, weight, target = rows[use], graph.data[use], label[graph.indices[use]]
        order = np.lexsort((target, -weight, owner))
        first = np.unique(owner[order], return_index=True)[1]
        label = label.copy()
        label[owner[order][first]] = target[order][first]
    return label


def grid_blocks(pattern: Pattern, strong: np.ndarray) -> np.ndarray | None:
    """Blocks of three points along each strong axis of a grid; None where there is no grid or strength varies.

    With three, smoothed interpolation couples next blocks only, so that coarse levels are stencils on grids again.

    Args:
        pattern: Square.
        strong: For each entry whether it is strong.
    """
    grid = grid_of(pattern)
    if grid is None:
        return None
    label = np.zeros(grid.shape, np.int64)
    for axis, entries in enumerate(axis_entries(pattern, grid)):
        share = strong[entries].mean() if len(entries) else 0.0
        if UNIFORM < share < 1 - UNIFORM:
            return None
        length = grid.shape[axis]
        size = 3 if share > 0.5 else 1
        # A single point that is left over joins the last block.
        count = max(1, (length + size - 2) // size) if size > 1 else length
        part = np.minimum(np.arange(length) // size, count - 1)
        label = label * count + part.reshape([-1 if a == axis else 1 for a in range(len(grid.shape))])
    return label.reshape(-1)


def partition(graph: Any, count: int) -> np.ndarray:
    """The number of the part of each point, for at most `count` connected parts: aggregates of aggregates."""
    label = np.arange(graph.shape[0])
    while label.max(initial=-1) + 1 > count:
        joined = aggregates(graph)
        parts = int(joined.max()) + 1
        if parts == graph.shape[0]:
            # Nothing is joined any more: what is left are separate pieces.
            return label * count // parts
        label = joined[label]
        member = scipy.sparse.csr_matrix((np.ones(len(joined)), joined, np.arange(len(joined) + 1)))
        graph = (member.T @ graph.astype(float) @ member).tocsr()
        graph.setdiag(0)
        graph.eliminate_zeros()
        graph.sort_indices()
    return label
