"""Graphs of matrices: neighbours in both directions."""

from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.core.memory import require_memory
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
