"""Graphs of matrices: neighbours in both directions, and colours such that no neighbours share one."""

from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

from jaxsolve.core.memo import per_object
from jaxsolve.core.memory import require_memory
from jaxsolve.operators.pattern import Pattern

#: Colourings by the row number modulo a few are tried up to this many colours.
MODULAR_COLOURS = 8


def neighbours(pattern: Pattern) -> Any:
    """The symmetric adjacency matrix of a square pattern, without loops, its data ones."""
    ones = pattern.to_scipy(np.ones(pattern.nnz, np.int8))
    graph = (ones if pattern.is_symmetric else ones + ones.T).tocsr()
    coo = graph.tocoo()
    off = coo.row != coo.col
    return scipy.sparse.csr_matrix(
        (np.ones(off.sum(), np.int8), (coo.row[off], coo.col[off])), shape=pattern.shape
    )


def require_room_for_product(left: Any, right: Any, owner: str, each: int = 16) -> None:
    """Refuses the product of two sparse matrices whose entries might not fit into memory.

    Args:
        left: A pattern or a SciPy CSR matrix.
        right: The same.
        owner: Who multiplies.
        each: Bytes a multiplication; the product has at most as many entries.

    Raises:
        StructureError: If they need more than there is.
    """
    products = int(np.diff(right.indptr)[left.indices].sum(dtype=np.int64))
    if each == 16:
        products = min(products, left.shape[0] * right.shape[1])
    what = "a product of sparse matrices, some of whose rows are long"
    require_memory(each * products, owner, what, "Use 'ilu' or 'jacobi'.")


def priorities(n: int) -> np.ndarray:
    """Distinct numbers without visible order, the same for the same n."""
    return np.random.default_rng(20240611 + n).permutation(n)


def largest_around(graph: Any, values: np.ndarray) -> np.ndarray:
    """The largest of `values` (at least -1) over the neighbours of each point, -1 where it has none."""
    out = np.full(graph.shape[0], -1, values.dtype)
    some = np.flatnonzero(np.diff(graph.indptr))
    if len(some):
        out[some] = np.maximum.reduceat(values[graph.indices], graph.indptr[some])
    return out


@per_object
def colours_of(pattern: Pattern) -> np.ndarray:
    """A colour 0, 1, ... for each row such that coupled rows differ: two where two suffice, else few."""
    found = _regular(pattern)
    return _greedy(neighbours(pattern)) if found is None else found


def few_colours(pattern: Pattern) -> np.ndarray:
    """A colour for each row such that coupled rows differ where a regular colouring shows itself, else all zero."""
    found = _regular(pattern)
    return np.zeros(pattern.shape[0], np.int32) if found is None else found


@per_object
def _regular(pattern: Pattern) -> np.ndarray | None:
    graph = neighbours(pattern)
    n = graph.shape[0]
    if not graph.nnz:
        return np.zeros(n, np.int32)
    rows = np.repeat(np.arange(n), np.diff(graph.indptr))
    if not _has_triangles(graph):
        halves = _halves(graph)
        if (halves[rows] != halves[graph.indices]).all():
            return halves
    distances = np.unique(np.abs(graph.indices - rows)) if len(pattern.offsets) <= 125 else np.zeros(1, int)
    for count in range(3, MODULAR_COLOURS + 1):
        if (distances % count).all():
            return (np.arange(n) % count).astype(np.int32)
    return None


def _has_triangles(graph: Any) -> bool:
    """Whether some of the points have two neighbours that are joined, so that two colours do not suffice."""
    some = graph[np.unique(np.linspace(0, graph.shape[0] - 1, 64).astype(int))].astype(np.float32)
    return (some @ graph.astype(np.float32)).multiply(some).nnz > 0


def _halves(graph: Any) -> np.ndarray:
    """The parity of the distance from a point of each connected part: a colouring if two colours do."""
    count, part = csgraph.connected_components(graph, directed=False)
    # A new point joined to one of each part makes the graph connected without making cycles.
    n = graph.shape[0]
    first = np.unique(part, return_index=True)[1]
    links = scipy.sparse.csr_matrix(
        (np.ones(count, np.int8), (np.full(count, n), first)), shape=(n + 1, n + 1)
    )
    padded = scipy.sparse.csr_matrix(
        (graph.data, graph.indices, np.append(graph.indptr, graph.nnz)), (n + 1, n + 1)
    )
    order, before = csgraph.breadth_first_order((padded + links).tocsr(), n, directed=False)
    depth = np.zeros(n + 1, np.int32)
    parents = before[order[1:]]
    # Parents come before children in the order, but not all at once: doubling the steps to the root finds the
    # depth.
    hops, up = np.ones(n + 1, np.int32), np.arange(n + 1)
    up[order[1:]] = parents
    hops[n] = 0
    while (up != n).any():
        hops = hops + np.where(up == n, 0, hops[up])
        up = up[up]
    depth[:] = hops
    return (depth[:n] % 2).astype(np.int32)


def _greedy(graph: Any) -> np.ndarray:
    """Jones and Plassmann's colouring: points of locally highest priority take their smallest free colour."""
    n = graph.shape[0]
    priority = priorities(n)
    rows = np.repeat(np.arange(n), np.diff(graph.indptr))
    colour = np.full(n, -1, np.int32)
    open_ = np.ones(n, bool)
    while open_.any():
        waiting = np.where(open_, priority, -1)
        now = open_ & (waiting > largest_around(graph, waiting))
        colour[now] = _smallest_free(rows, graph.indices, colour, now)[now]
        open_ &= ~now
    return colour


def _smallest_free(rows: np.ndarray, cols: np.ndarray, colour: np.ndarray, now: np.ndarray) -> np.ndarray:
    mine = now[rows] & (colour[cols] >= 0)
    chosen = np.zeros(len(colour), np.int32)
    pairs = np.unique(rows[mine].astype(np.int64) * (colour.max() + 2) + colour[cols[mine]])
    owner, used = np.divmod(pairs, colour.max() + 2)
    # Sorted used colours of a point agree with 0, 1, 2, ... up to its smallest free one.
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    rank = np.arange(len(owner)) - np.repeat(starts, np.diff(np.append(starts, len(owner))))
    gap = used != rank
    chosen[:] = np.bincount(owner, minlength=len(colour))
    np.minimum.at(chosen, owner[gap], rank[gap].astype(np.int32))
    return chosen
