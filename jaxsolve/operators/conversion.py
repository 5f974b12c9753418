"""What users hand in as a matrix, as an operator."""

from typing import Any, TypeGuard

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax.experimental.sparse import BCOO, BCSR

from jaxsolve.core.array_likes import poses_as_array, told, unwrapped
from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import evaluated, is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.coo import CoordinateOperator
from jaxsolve.operators.dense_matrix import DenseMatrix, dense_matrix
from jaxsolve.operators.lineax_operator import from_lineax, is_lineax
from jaxsolve.operators.opaque_operator import sealed
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix

#: What is a matrix, for messages.
MATRICES = (
    "an array of shape (..., m, n), a BCOO, BCSR or SciPy sparse matrix, a js.SparseMatrix or "
    "a js.LinearOperator"
)
#: What may stand for a matrix where functions may, for messages.
ACCEPTED = MATRICES.replace(" or a js.LinearOperator", ", a js.LinearOperator or a function")


def is_operator(A: Any) -> TypeGuard[LinearOperator]:
    """Whether A is an operator."""
    return isinstance(A, LinearOperator)


def is_function(A: Any) -> bool:
    """Whether A is a function of vectors, and not an operator that can be called."""
    return callable(A) and not isinstance(A, LinearOperator | scipy.sparse.linalg.LinearOperator)


def as_operator(A: Any, name: str = "A", accepted: str = MATRICES) -> LinearOperator:
    """The operator of a matrix; operators are returned as they are.

    Args:
        A: Dense array (leading axes are a batch), BCOO, BCSR, SciPy sparse matrix (a constant) or operator.
        name: What A is, for messages.
        accepted: What may be handed in where A comes from, for messages.

    Raises:
        TypeError: If A is none of these.
        StructureError: If it is an array of fewer than two axes.
    """
    if isinstance(A, jax.Array) and A.ndim >= 2:
        return dense_matrix(A)
    if isinstance(A, LinearOperator):
        return A if isinstance(A, DenseMatrix | SparseMatrix) else sealed(A)
    if isinstance(A, BCOO | BCSR):
        return _from_jax_sparse(A)
    if scipy.sparse.issparse(A):
        with evaluated(None):
            return SparseMatrix.from_scipy(A)
    if isinstance(A, scipy.sparse.linalg.LinearOperator):
        raise TypeError(
            f"{name} must be {accepted}; got SciPy's {type(A).__name__}, whose products JAX can't run. Hand over the "
            "matrix, or the product as a function of JAX arrays."
        )
    if is_lineax(A):
        return sealed(from_lineax(A))
    if hasattr(type(A), "__jax_array__"):
        return as_operator(unwrapped(A), name, accepted)
    if not (eqx.is_array(A) or isinstance(A, list | tuple | np.ndarray)):
        what = f"{told(A)}, which is no array itself" if poses_as_array(A) else type(A).__name__
        raise TypeError(f"{name} must be {accepted}; got {what}.")
    try:
        with evaluated(A):
            matrix = A if isinstance(A, jax.Array) else jnp.asarray(A)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be {accepted}; got a {type(A).__name__} that is no array: {error}"
        ) from None
    if matrix.ndim < 2:
        raise StructureError(f"{name} must be {accepted}; got an array of shape {matrix.shape}.")
    return DenseMatrix(matrix)


def _from_jax_sparse(A: BCOO | BCSR) -> LinearOperator:
    if isinstance(A, BCSR):
        A = A.to_bcoo()
    if not is_traced(A.indices):
        with evaluated(A):
            return SparseMatrix.from_bcoo(A)
    if A.n_batch or A.n_dense or A.n_sparse != 2:
        raise StructureError(
            f"a BCOO with traced indices must have two sparse dimensions and no others; got n_batch={A.n_batch}, "
            f"n_sparse={A.n_sparse}, n_dense={A.n_dense}. Use jax.vmap for a batch."
        )
    return CoordinateOperator(
        A.data, A.indices[:, 0], A.indices[:, 1], (A.shape[0], A.shape[1]), A.indices_sorted
    )


def told_entries(A: LinearOperator) -> SparseMatrix | None:
    """What an operator tells of its entries, with its traits; None where it tells nothing.

    Raises:
        TypeError: If `A.entries()` is no `SparseMatrix`.
        StructureError: If it has another shape than A.
    """
    told: Any = A.entries()
    if told is None or told is A:
        return told
    name = type(A).__name__
    if not isinstance(told, SparseMatrix):
        raise TypeError(
            f"{name}.entries() must return a js.SparseMatrix or None; got a {type(told).__name__}."
        )
    if told.shape != A.shape:
        raise StructureError(f"{name}.entries() has shape {told.shape}, but the operator {A.shape}.")
    facts = A.traits
    return told if facts in (told.facts, Traits()) else SparseMatrix(told.data, told.pattern, facts)
