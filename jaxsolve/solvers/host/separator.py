"""Separators: how many unknowns part a graph in two halves, found by distances on what low degrees leave."""

from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

#: Graphs of this size are small: minimum degree takes 0.1 s on any.
ALWAYS = 3000
#: What the search for separators eliminates first, as minimum degree does: chains, trees, the leaves of networks.
LOW_DEGREE = 4
#: Rounds of that, a set of unknowns that do not touch each other in each.
ROUNDS = 30
#: An unknown with more neighbours than this times √n goes last; minimum degree is quadratic in them.
HUB = 10


def separator_size(graph: Any) -> int:
    """The smallest level between a quarter and three quarters of the unknowns, by distance from an end of the graph.

    Args:
        graph: A symmetric SciPy CSR matrix; its largest component counts, without hubs.
    """
    degrees = np.diff(graph.indptr)
    graph = part(graph, degrees <= HUB * np.sqrt(len(degrees)))
    if graph.shape[0] < 3:
        return 0
    _, labels = csgraph.connected_components(graph, directed=False)
    graph = part(graph, labels == np.bincount(labels).argmax())
    n, order, before = graph.shape[0], np.zeros(1, np.int64), np.zeros(1, np.int64)
    for _ in range(3):
        order, before = csgraph.breadth_first_order(graph, order[-1], directed=False)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    # Unknowns in the order of their distance; a level ends where predecessors are of the next one.
    predecessors, ends = place[np.asarray(before, np.int64)[order[1:]]], [0, 1]
    while ends[-1] < n:
        ends.append(int(np.searchsorted(predecessors, ends[-1])) + 1)
    sizes, last = np.diff(ends), np.array(ends[1:])
    middle = (last >= n / 4) & (last - sizes <= 3 * n / 4)
    return int(sizes[middle].min())


def core(graph: Any) -> Any:
    """What is left when unknowns of low degree are eliminated, round by round."""
    for _ in range(ROUNDS):
        n, degrees = graph.shape[0], np.diff(graph.indptr)
        low = degrees <= LOW_DEGREE
        if low.sum() < 0.02 * n or n < ALWAYS:
            break
        # Of neighbours the one with the smaller key: low degree first, then by a hash of the number.
        keys = np.where(low, degrees + np.modf(np.arange(1, n + 1) * 0.6180339887498949)[0], np.inf)
        others = np.full(n, np.inf)
        filled = degrees > 0
        others[filled] = np.minimum.reduceat(keys[graph.indices], graph.indptr[:-1][filled])
        gone = low & (keys < others)
        rows = graph[gone][:, ~gone]
        graph = off_diagonal(graph[~gone][:, ~gone] + rows.T @ rows)
    return graph


def off_diagonal(graph: Any) -> Any:
    """The positions of a SciPy matrix off the diagonal, as a CSR matrix of ones."""
    graph = graph.tocoo()
    off = graph.row != graph.col
    places = (graph.row[off], graph.col[off])
    return scipy.sparse.csr_matrix((np.ones(len(places[0])), places), shape=graph.shape)


def part(graph: Any, kept: np.ndarray) -> Any:
    """The subgraph of the unknowns that are kept."""
    return graph if kept.all() else graph[kept][:, kept]
