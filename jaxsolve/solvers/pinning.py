"""Pinning: a singular matrix made invertible on a few diagonal entries, for factorisations that keep it sparse."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.memo import compiled
from jaxsolve.core.staging import index_array, is_traced
from jaxsolve.operators.conversion import told_entries
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.nullspace import NullSpace


def pinned(A: LinearOperator, nulls: NullSpace) -> LinearOperator:
    """A with its size u added to diagonal entries K, one for each vector that it maps to zero: as sparse, and regular.

    A consistent system keeps its solutions, of which the one with x_K = 0 remains: with WᴴA = 0 and b in the range of
    A, Wᴴ(A + u E_K E_Kᵀ) x = Wᴴb says that u W_Kᴴ x_K = 0, and K is chosen so that W_K is invertible.
    """
    matrix = told_entries(A) if A.dense_form is None else A.dense_form
    if matrix is None or len(set(A.shape)) != 1 or matrix.batch_shape:
        return A
    known = nulls.detect if nulls.basis is None else nulls.basis.shape[1] > 0
    if not known or not _present(matrix).any():
        return A
    if is_traced((matrix, nulls)):
        return _pinned(matrix, nulls)
    if nulls.basis is None and nulls.constants is None and not _plausible(matrix):
        return A
    # Known values stay known while a program around them is traced.
    with jax.ensure_compile_time_eval():
        return _pinned(matrix, nulls)


def _present(A: SparseMatrix | DenseMatrix) -> np.ndarray:
    """Which diagonal entries are stored."""
    sparse = A.entries()
    if sparse is None:
        return np.ones(A.shape[0], bool)
    return sparse.pattern.diagonal_positions < sparse.nnz


def _plausible(A: SparseMatrix | DenseMatrix) -> bool:
    """Whether the first row of known values sums to zero as far as rounding goes, by NumPy."""
    sparse = A.entries()
    values = np.asarray(A.as_matrix() if sparse is None else sparse.data)
    first = values[0] if sparse is None else values[: sparse.pattern.indptr[1]]
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
        if nulls.constants is not None:
            own = present[:, None] & (nulls.constants != 0)
            places, unit = jnp.argmax(own, axis=0), jnp.where(jnp.any(own, axis=0), unit, 0)
    else:
        places = _independent_rows(jnp.where(present[:, None], nulls.basis, 0))
    unit = unit.astype(A.dtype)
    sparse = A.entries()
    if sparse is None:
        return DenseMatrix(A.as_matrix().at[places, places].add(unit), A.traits)
    positions = index_array(sparse.pattern.diagonal_positions)[places]
    return SparseMatrix(sparse.data.at[positions].add(unit, mode="drop"), sparse.pattern, sparse.facts)


def _independent_rows(basis: Array) -> Array:
    """k rows of a basis (n, k) that are independent: the pivots of its elimination."""
    return lax.linalg.lu(basis)[2][: basis.shape[1]]
