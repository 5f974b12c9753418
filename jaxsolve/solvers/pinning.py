"""Pinning: a singular matrix made invertible on a few diagonal entries, for factorisations that keep it sparse."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.memo import compiled
from jaxsolve.core.staging import index_array, is_traced
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.nullspace import NullSpace


def pinned(A: LinearOperator, nulls: NullSpace) -> LinearOperator:
    """A with its size u added to diagonal entries K, one for each vector that it maps to zero: as sparse, and regular.

    A consistent system keeps its solutions, of which the one with x_K = 0 remains: with WᴴA = 0 and b in the range of
    A, Wᴴ(A + u E_K E_Kᵀ) x = Wᴴb says that u W_Kᴴ x_K = 0, and K is chosen so that W_K is invertible.
    """
    if not isinstance(A, SparseMatrix | DenseMatrix) or len(set(A.shape)) != 1 or _batched(A):
        return A
    known = nulls.detect if nulls.basis is None else nulls.basis.shape[1] > 0
    if not known or not _present(A).any():
        return A
    if is_traced((A, nulls)):
        return _pinned(A, nulls)
    if nulls.basis is None and not _plausible(A):
        return A
    # Known values stay known while a program around them is traced.
    with jax.ensure_compile_time_eval():
        return _pinned(A, nulls)


def _batched(A: SparseMatrix | DenseMatrix) -> bool:
    return A.matrix.ndim > 2 if isinstance(A, DenseMatrix) else A.data.ndim > 1


def _present(A: SparseMatrix | DenseMatrix) -> np.ndarray:
    """Which diagonal entries are stored."""
    if isinstance(A, DenseMatrix):
        return np.ones(A.shape[0], bool)
    return A.pattern.diagonal_positions < A.pattern.nnz


def _plausible(A: SparseMatrix | DenseMatrix) -> bool:
    """Whether the first row of known values sums to zero as far as rounding goes, by NumPy."""
    values = np.asarray(A.matrix if isinstance(A, DenseMatrix) else A.data)
    first = values[0] if isinstance(A, DenseMatrix) else values[: A.pattern.indptr[1]]
    largest = np.max(np.abs(values), initial=0)
    return bool(abs(first.sum()) <= 1000 * np.finfo(values.dtype).eps * largest)


@compiled
def _pinned(A: SparseMatrix | DenseMatrix, nulls: NullSpace) -> LinearOperator:
    unit = A.magnitude()
    present = _present(A)
    if nulls.basis is None:
        found = nulls.detected(A.layout(), unit)[0].found
        unit = jnp.where(False if found is None else found, unit, 0)
        places = jnp.array([np.argmax(present)])
    else:
        places = _independent_rows(jnp.where(present[:, None], nulls.basis, 0))
    unit = unit.astype(A.dtype)
    if isinstance(A, DenseMatrix):
        return DenseMatrix(A.matrix.at[places, places].add(unit), A.facts)
    positions = index_array(A.pattern.diagonal_positions)[places]
    return SparseMatrix(A.data.at[positions].add(unit, mode="drop"), A.pattern, A.facts)


def _independent_rows(basis: Array) -> Array:
    """k rows of a basis (n, k) that are independent: the pivots of its elimination."""
    return lax.linalg.lu(basis)[2][: basis.shape[1]]
