"""The layout that runs fastest: diagonals where they are few and full, rows of fixed width otherwise."""

import numpy as np
from jax import Array

from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import RowsOperator, rows_operator, spread
from jaxsolve.operators.pattern import Pattern

#: Diagonals win while at least this share of their slots is used: a slot costs a fifth of a gathered entry.
FILL = 0.4
#: More diagonals than this are not unrolled.
MOST_DIAGONALS = 48


def is_banded(pattern: Pattern) -> bool:
    """Whether a pattern is executed by diagonals."""
    slots = len(pattern.offsets) * pattern.shape[0]
    return len(pattern.offsets) <= MOST_DIAGONALS and pattern.nnz >= FILL * slots


def lay_out(data: Array, pattern: Pattern, facts: Traits) -> DiagonalsOperator | RowsOperator:
    """The fast operator with these values.

    Args:
        data: Shape (..., nnz) in CSR order.
        pattern: The positions.
        facts: What is known of the matrix.
    """
    if not is_banded(pattern):
        return rows_operator(data, pattern, facts)
    values = spread(data, index_array(diagonal_slots(pattern)))
    return DiagonalsOperator(values, tuple(int(d) for d in pattern.offsets), pattern.shape, facts)


@per_object
def diagonal_slots(pattern: Pattern) -> np.ndarray:
    """The entry in each slot (diagonal, row) of the storage by diagonals, nnz where there is none."""
    m = pattern.shape[0]
    positions = np.full((len(pattern.offsets), m), pattern.nnz, pattern.indptr.dtype)
    # By a table of all diagonals, which takes half of a search among the few that hold entries.
    starts = np.zeros(sum(pattern.shape), np.int64)
    starts[pattern.offsets] = np.arange(len(pattern.offsets)) * m
    place = starts[pattern.indices - pattern.rows]
    place += pattern.rows
    positions.reshape(-1)[place] = np.arange(pattern.nnz, dtype=positions.dtype)
    positions.flags.writeable = False
    return positions
