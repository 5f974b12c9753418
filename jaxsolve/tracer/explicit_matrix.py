"""The explicit matrix of an operator: the entries that it tells, that it stores, or that are read off its products."""

import jax
import jax.numpy as jnp

from jaxsolve.core.errors import StructureError
from jaxsolve.core.tree import inexact
from jaxsolve.operators.conversion import told_entries
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.assembly import readable

#: Columns up to which an operator without known entries is written out by as many products.
MOST_COLUMNS = 10_000
#: Up to this size an operator that is read is sparse however full it is: a band of few rows is.
SMALL = 64


def entries_of(A: LinearOperator) -> SparseMatrix | None:
    """The entries of an operator, None where they are not known. Those of an array are all of it."""
    known = _told(A)
    return _read(A) if known is None else known


def with_known_entries(A: LinearOperator) -> LinearOperator:
    """The matrix that an operator tells, or that is read off its products; the operator itself where there is none.

    Arrays and layouts, which hold their entries, stay as they are.
    """
    if A.dense_form is not None:
        return A
    told = told_entries(A)
    if told is not None:
        return told
    found = _read_form(A) if A.stored_entries() is None else None
    return A if found is None else found


def explicit(A: LinearOperator) -> SparseMatrix | DenseMatrix:
    """The matrix of an operator.

    Raises:
        StructureError: If the entries are not known and there are too many columns to find them by products.
    """
    for form in (lambda A: A.dense_form, _told, _read_form):
        matrix = form(A)
        if matrix is not None:
            return matrix
    if A.shape[1] > MOST_COLUMNS:
        raise StructureError(
            f"the entries of this {type(A).__name__} of shape {A.shape} are needed, and finding them takes "
            f"{A.shape[1]} products. Pass a js.SparseMatrix (js.matrix_from_function makes one from a function)."
        )
    return DenseMatrix(A.as_matrix(), A.traits)


def _told(A: LinearOperator) -> SparseMatrix | None:
    known = told_entries(A)
    if known is not None:
        return known
    stored = A.stored_entries()
    return None if stored is None else SparseMatrix(*stored, A.traits)


def _read_form(A: LinearOperator) -> SparseMatrix | DenseMatrix | None:
    """What is read off the products; as an array where that is large and more than half full."""
    found = _read(A)
    if found is None or min(A.shape) <= SMALL or 2 * found.nnz <= A.shape[0] * A.shape[1]:
        return found
    return DenseMatrix(found.as_matrix(), A.traits)


def _read(A: LinearOperator) -> SparseMatrix | None:
    """The entries read off the products, as those of functions are."""
    if not A.readable:
        return None
    found = readable(_product, jax.ShapeDtypeStruct((A.shape[1],), inexact(A.dtype)), (A,), {})
    if found is None:
        return None
    plan, arguments = found
    return SparseMatrix(jnp.asarray(plan.values(arguments.values)), plan.pattern, A.traits)


def _product(x: jax.Array, A: LinearOperator) -> jax.Array:
    return A.mv(x)
