"""Rows: the positions of all pieces in CSR order, and where each value comes from."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxsolve.core.errors import TraceError
from jaxsolve.operators.pattern import Pattern
from jaxsolve.tracer.output_terms import Piece
from jaxsolve.tracer.products import MOST_ENTRIES
from jaxsolve.tracer.row_sorting import by_counting, by_rows, sorted_rows
from jaxsolve.tracer.value import Term


@dataclasses.dataclass(frozen=True)
class Order:
    """Where the values of a pattern come from.

    Attributes:
        pattern: The positions.
        places: For each entry the place of (the first part of) its value among those of the pieces.
        repeats: Entries with further parts (increasing, one for each part) and the places of these, or None.
    """

    pattern: Pattern
    places: np.ndarray
    repeats: tuple[np.ndarray, np.ndarray] | None = None


def ordered(pieces: Sequence[Piece], shape: tuple[int, int]) -> Order:
    """The pattern of pieces and the places of its values.

    Raises:
        TraceError: If there are more than `MOST_ENTRIES` entries.
    """
    entries = sum(piece.entry.columns.size for piece in pieces)
    if entries > MOST_ENTRIES:
        raise TraceError(
            f"the matrix of this function has {entries:.1e} entries (limit {MOST_ENTRIES:.0e}). Keep it matrix-free: "
            "pass the function without a preconditioner that needs entries."
        )
    if all(isinstance(piece.entry, Term) for piece in pieces):
        indptr, indices, order = by_rows(pieces, shape)
    else:
        indptr, indices, order = by_counting(pieces, shape)
    return _merged(*sorted_rows(indptr, indices, order), shape)


def _merged(indptr: np.ndarray, indices: np.ndarray, order: np.ndarray, shape: tuple[int, int]) -> Order:
    """Repeated positions of sorted rows taken together."""
    repeated = np.zeros(len(indices), bool)
    if len(indices):
        repeated[1:] = indices[1:] == indices[:-1]
        starts = indptr[:-1]
        repeated[starts[starts < len(indices)]] = False
    if not repeated.any():
        return Order(Pattern.of(indptr, indices, shape), order)
    kept = ~repeated
    before = np.zeros(len(indices) + 1, np.int32 if len(indices) < 2**31 else np.int64)
    np.cumsum(kept, dtype=before.dtype, out=before[1:])
    slots = before[1:][repeated] - before.dtype.type(1)
    return Order(Pattern.of(before[indptr], indices[kept], shape), order[kept], (slots, order[repeated]))
