"""Ordering: in which order unknowns are eliminated, and where the factors then have entries."""

import dataclasses
import itertools

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from scipy.sparse import csgraph

from jaxsolve.operators.pattern import Pattern

#: By how much the diagonal of the matrix that shows the fill outweighs its row. Small: entries of the factors fall with
#: distance as exp(-distance √shift), and none may become zero by underflow; not tiny: pivots stay above rounding.
SHIFT = 1e-6


@dataclasses.dataclass(frozen=True)
class Elimination:
    """The order of a symmetrised pattern and the columns of its factor.

    Attributes:
        order: The unknown that is eliminated k-th, at k.
        starts: Where the entries of each column of L begin; shape (n + 1,).
        rows: The rows of the entries below the diagonal, sorted within a column.
        levels: For each column the longest chain of columns below it in the elimination tree: columns of one level do
            not touch each other.
    """

    order: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    levels: np.ndarray

    @property
    def columns(self) -> np.ndarray:
        """The column of each entry."""
        return np.repeat(np.arange(len(self.levels)), np.diff(self.starts))

    @property
    def updates(self) -> int:
        """Products F[i, k] F[k, j] of an LU factorisation on this structure."""
        return int(np.square(np.diff(self.starts).astype(np.int64)).sum())

    def by_levels(self) -> "Elimination":
        """The same factors with columns level by level, and within a level those first whose rows have most entries.

        A column comes after all that it needs, so the fill stays what it is.
        """
        order = np.lexsort((-np.bincount(self.rows, minlength=len(self.levels)), self.levels))
        place = np.argsort(order)
        columns, rows = place[self.columns], place[self.rows]
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(order)))])
        return Elimination(self.order[order], starts, rows[np.lexsort((rows, columns))], self.levels[order])


def elimination(pattern: Pattern, rows: np.ndarray | None) -> Elimination:
    """Minimum degree on A + Aᵀ by SuperLU, and the fill that it leads to.

    SuperLU factorises a matrix of this pattern whose off-diagonal entries are all negative: nothing cancels, so what is
    not zero is the structure. Costs such a factorisation.

    Args:
        pattern: Square.
        rows: The row that stands at each column, None for all where they are.
    """
    n = pattern.shape[0]
    at = pattern.rows.astype(np.int64)
    if rows is not None:
        place = np.empty(n, np.int64)
        place[rows] = np.arange(n)
        at = place[at]
    graph = scipy.sparse.csr_matrix((np.ones(pattern.nnz), (at, pattern.indices)), shape=(n, n))
    graph = graph + graph.T
    graph.setdiag(0)
    graph.eliminate_zeros()
    graph.data[:] = -1
    degree = -np.asarray(graph.sum(axis=1)).ravel()
    matrix = (graph + scipy.sparse.diags(degree + SHIFT)).tocsc()
    factors = scipy.sparse.linalg.splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        relax=1,
        options={"SymmetricMode": True},
    )
    lower = factors.L.tocsc()
    lower.sort_indices()
    columns = np.repeat(np.arange(n), np.diff(lower.indptr))
    # SuperLU stores some zeros of its own.
    kept = (lower.indices > columns) & (lower.data != 0)
    starts = np.concatenate([[0], np.cumsum(np.bincount(columns[kept], minlength=n))])
    below = lower.indices[kept].astype(np.int64)
    return Elimination(np.argsort(factors.perm_c), starts, below, _levels(starts, below))


def _levels(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The height of each column in the elimination tree, in which the parent of k is the first entry below it."""
    n = len(starts) - 1
    parents = [int(rows[a]) if a < b else -1 for a, b in itertools.pairwise(starts)]
    heights = [0] * n
    for k, parent in enumerate(parents):
        if parent >= 0 and heights[parent] <= heights[k]:
            heights[parent] = heights[k] + 1
    return np.array(heights, np.int64)


def parity(order: np.ndarray) -> int:
    """1 of an even permutation, -1 of an odd one.

    >>> parity(np.array([0, 1, 2])), parity(np.array([1, 0, 2])), parity(np.array([1, 2, 0]))
    (1, -1, 1)
    """
    n = len(order)
    moves = scipy.sparse.csr_array((np.ones(n, np.int8), (np.arange(n), order)), shape=(n, n))
    cycles = csgraph.connected_components(moves, directed=False, return_labels=False)
    return 1 - 2 * ((n - cycles) % 2)
