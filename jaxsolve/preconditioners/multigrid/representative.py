"""Representative values: what a hierarchy's shape is chosen for while the values themselves are traced."""

import hashlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import common
from jaxsolve.operators.conversion import is_operator, told_entries
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.strength import representative_values


class Representative:
    """A matrix on the host, compared by its digest so that it is static metadata of a recipe.

    Args:
        matrix: A `SparseMatrix` with concrete values, or a SciPy sparse matrix.
    """

    def __init__(self, matrix: Any):
        if scipy.sparse.issparse(matrix):
            matrix = SparseMatrix.from_scipy(matrix)
        found = told_entries(matrix) if is_operator(matrix) else None
        if found is None:
            raise StructureError(
                f"`like` must be a js.SparseMatrix or a SciPy sparse matrix; got {type(matrix).__name__}."
            )
        if is_traced(found.data):
            raise StructureError(
                "`like` needs concrete values, from which the shape of the hierarchy is chosen; these are traced. Make "
                "the preconditioner outside of jit, from a matrix with typical values."
            )
        self.pattern = found.pattern
        self.data = np.asarray(found.data)
        self._digest = hashlib.blake2b(np.ascontiguousarray(self.data).data).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Representative) and (self.pattern, self._digest) == (
            other.pattern,
            other._digest,
        )

    def __hash__(self) -> int:
        return hash((self.pattern, self._digest))

    def __repr__(self) -> str:
        return f"Representative({self.pattern})"


def as_representative(like: Any) -> Representative | None:
    """The representative of a matrix, None of None."""
    return like if like is None or isinstance(like, Representative) else Representative(like)


def values_for(A: SparseMatrix, like: Representative | None, name: str) -> np.ndarray:
    """The values from which the shape for A is chosen: of `like`, else A's own, else those of a graph Laplacian."""
    if like is not None:
        if like.pattern != A.pattern:
            raise StructureError(
                f"preconditioner {name!r}: `like` has the pattern {like.pattern}, the matrix {A.pattern}. They must be "
                "the same; leave `like` out to use the pattern of the matrix alone."
            )
        return like.data
    if is_concrete(A):
        return np.asarray(A.data)
    return representative_values(A.pattern).astype(jnp.finfo(A.dtype).dtype)


def is_concrete(A: SparseMatrix) -> bool:
    """Whether the values of one matrix are at hand."""
    return not is_traced(A.data) and A.data.ndim == 1


def inner_dtype(A: LinearOperator, dtype: Any) -> Any:
    """The dtype of the levels: A's own, or the one asked for (complex where A is)."""
    if dtype is None:
        return A.dtype
    if jnp.issubdtype(A.dtype, jnp.complexfloating):
        return common(jnp.dtype(dtype), jnp.complex64)
    return jnp.dtype(dtype)
