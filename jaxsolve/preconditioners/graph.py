"""Graphs of matrices: neighbours in both directions."""

from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.operators.pattern import Pattern


def neighbours(pattern: Pattern) -> Any:
    """The symmetric adjacency matrix of a square pattern, without loops, its data ones."""
    ones = pattern.to_scipy(np.ones(pattern.nnz, np.int8))
    graph = (ones if pattern.is_symmetric else ones + ones.T).tocsr()
    coo = graph.tocoo()
    off = coo.row != coo.col
    return scipy.sparse.csr_matrix(
        (np.ones(off.sum(), np.int8), (coo.row[off], coo.col[off])), shape=pattern.shape
    )


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
