"""Field blocks: the parts of a matrix and of a vector that belong to fields."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array, is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.linear.fields import IndexSet
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix


def without_diagonal(A: SparseMatrix) -> np.ndarray:
    """Which rows have no entry on the diagonal, or, where the values are known, a zero there."""
    at = A.pattern.diagonal_positions
    missing = at >= A.nnz
    if is_traced(A.data):
        return missing
    return missing | (np.append(np.asarray(A.data), 0)[np.minimum(at, A.nnz)] == 0)


def cut(A: Any, rows: IndexSet, columns: IndexSet, facts: Traits) -> Any:
    """The block of a dense or sparse matrix; None where a sparse one has no entry in it."""
    if A.dense_form is not None:
        i, j = (index_array(s.indices) for s in (rows, columns))
        return DenseMatrix(A.dense_form.matrix[i[:, None], j], facts)
    pattern, at = _piece(A.pattern, rows, columns)
    data: Any = A.data[at] if isinstance(A.data, np.ndarray) else A.data[index_array(at)]
    return SparseMatrix(data, pattern, facts) if pattern.nnz or rows == columns else None


@per_object
def _piece(pattern: Pattern, rows: IndexSet, columns: IndexSet) -> tuple[Pattern, np.ndarray]:
    """The pattern of a block, and where its entries are among those of the matrix."""
    places = []
    for one, n in ((rows, pattern.shape[0]), (columns, pattern.shape[1])):
        place = np.full(n, -1, np.int32)
        place[one.indices] = np.arange(len(one), dtype=np.int32)
        places.append(place)
    i, j = places[0][pattern.rows], places[1][pattern.indices]
    at = np.flatnonzero((i >= 0) & (j >= 0))
    found, order, _ = Pattern.from_coo(i[at], j[at], (len(rows), len(columns)))
    return found, at if order is None else at[order]


def taken(x: Array, one: IndexSet) -> Array:
    """The part of a vector that is a field."""
    run = one.run
    return x[index_array(one.indices)] if run is None else x[run]


def joined(parts: Sequence[Array], sets: Sequence[IndexSet]) -> Array:
    """The vector of these fields."""
    whole = jnp.concatenate(parts)
    order = np.concatenate([one.indices for one in sets])
    if np.array_equal(order, np.arange(len(order))):
        return whole
    return whole[index_array(np.argsort(order).astype(np.int32))]


def facts_of(A: LinearOperator) -> Traits:
    """What the diagonal blocks of A inherit: they are symmetric, Hermitian, definite where it is."""
    return Traits(
        symmetric=A.traits.symmetric,
        hermitian=A.traits.hermitian,
        positive_definite=A.traits.positive_definite,
    )
