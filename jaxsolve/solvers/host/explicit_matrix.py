"""Entries: the explicit matrix behind an operator, sparse where it can be."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import index_array
from jaxsolve.operators.algebra import Diagonal, Identity
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import RowsOperator, gather_or_zero, plan_rows
from jaxsolve.operators.operator import Declared, LinearOperator, Scaled
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.assembly import entries_of

#: Columns up to which an operator without known entries is written out by as many products.
MOST_COLUMNS = 10_000


@functools.singledispatch
def explicit(A: LinearOperator) -> SparseMatrix | DenseMatrix:
    """The matrix of an operator.

    Raises:
        StructureError: If the entries are not known and there are too many columns to find them by products.
    """
    if A.shape[1] > MOST_COLUMNS:
        found = entries_of(A)
        if found is not None:
            return found
        raise StructureError(
            f"the entries of this {type(A).__name__} of shape {A.shape} are needed, and finding them takes "
            f"{A.shape[1]} products. Pass a js.SparseMatrix (js.matrix_from_function makes one from a function)."
        )
    return DenseMatrix(A.as_matrix(), A.traits)


@explicit.register
def _(A: SparseMatrix) -> SparseMatrix:
    return A


@explicit.register
def _(A: DenseMatrix) -> DenseMatrix:
    return A


@explicit.register
def _(A: Declared) -> SparseMatrix | DenseMatrix:
    matrix = explicit(A.operator)
    if isinstance(matrix, SparseMatrix):
        return SparseMatrix(matrix.data, matrix.pattern, A.traits)
    return DenseMatrix(matrix.matrix, A.traits)


@explicit.register
def _(A: Scaled) -> SparseMatrix | DenseMatrix:
    matrix = explicit(A.operator)
    if isinstance(matrix, SparseMatrix):
        return SparseMatrix(A.factor * matrix.data, matrix.pattern, A.traits)
    return DenseMatrix(A.factor * matrix.matrix, A.traits)


@explicit.register
def _(A: RowsOperator) -> SparseMatrix:
    slots = jnp.concatenate([A.values.reshape(-1), A.tail[0]])
    return SparseMatrix(gather_or_zero(slots, index_array(plan_rows(A.pattern).slots)), A.pattern, A.traits)


@explicit.register
def _(A: DiagonalsOperator) -> SparseMatrix:
    pattern, positions = _diagonals(A.offsets, A.shape)
    return SparseMatrix(gather_or_zero(A.values.reshape(-1), index_array(positions)), pattern, A.traits)


@explicit.register
def _(A: Identity) -> SparseMatrix:
    return SparseMatrix(jnp.ones(A.size, A.dtype), _diagonals((0,), A.shape)[0], A.traits)


@explicit.register
def _(A: Diagonal) -> SparseMatrix:
    return SparseMatrix(A.values, _diagonals((0,), A.shape)[0], A.traits)


@functools.lru_cache(maxsize=32)
def _diagonals(offsets: tuple[int, ...], shape: tuple[int, int]) -> tuple[Pattern, np.ndarray]:
    """The pattern of full diagonals, and where its values are in the storage by diagonals."""
    m, n = shape
    rows = np.tile(np.arange(m), len(offsets))
    columns = rows + np.repeat(np.asarray(offsets, np.int64), m)
    inside = np.flatnonzero((columns >= 0) & (columns < n))
    pattern, order, _ = Pattern.from_coo(rows[inside], columns[inside], shape)
    return pattern, inside if order is None else inside[order]
