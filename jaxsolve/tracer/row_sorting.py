"""Row sorting: the entries of pieces row by row, with increasing columns."""

import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from jaxsolve.tracer.output_terms import Piece


def by_rows(pieces: Sequence[Piece], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries row by row, in the order of the pieces: no sorting for stencils."""
    integer = _integer(pieces)
    counts, indices, order = np.zeros(shape[0], np.int64), [], []
    for start in sorted({piece.start for piece in pieces}):
        mine = [piece for piece in pieces if piece.start == start]
        size = max(math.prod(piece.shape) for piece in mine)
        if not size:
            continue
        # The first entry of a piece tells how far left it reads.
        mine.sort(key=_reach)
        columns = [piece.entry.columns.reshape(size, -1) for piece in mine]
        places = [piece.places(integer).reshape(c.shape) for piece, c in zip(mine, columns, strict=True)]
        matrix, place = np.concatenate(columns, axis=1), np.concatenate(places, axis=1)
        valid = matrix >= 0
        counts[start : start + size] = np.count_nonzero(valid, axis=1)
        indices.append(matrix[valid])
        order.append(place[valid])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    empty = np.empty(0, np.int32)
    return indptr, np.concatenate([empty, *indices]), np.concatenate([empty, *order])


def _integer(pieces: Sequence[Piece]) -> type[np.integer]:
    """Wide enough for the place of every value."""
    return np.int64 if sum(piece.count for piece in pieces) >= 2**31 else np.int32


def _reach(piece: Piece) -> float:
    """The median distance of entries from the diagonal in five rows (most of which lie inside of the grid)."""
    columns = piece.entry.columns
    flat = columns.reshape(max(math.prod(piece.shape), 1), -1)
    if not flat.size:
        return 0.0
    rows = (np.array([0.1234, 0.3178, 0.5411, 0.7331, 0.9077]) * len(flat)).astype(int)
    return float(np.median(flat[rows, 0] - rows))


def by_counting(pieces: Sequence[Piece], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries of any order by their rows: one counting sort."""
    rows, cols, places = [], [], []
    for piece in pieces:
        row, col = piece.rows, piece.entry.columns.reshape(-1)
        place = piece.places(_integer(pieces))
        present = (row >= 0) & (col >= 0)
        every = bool(present.all())
        rows.append(row if every else row[present])
        cols.append(col if every else col[present])
        places.append(place if every else place[present])
    coo = scipy.sparse.coo_array(
        (np.concatenate(places), (np.concatenate(rows), np.concatenate(cols))), shape=shape
    )
    # These values are places, so that none may be summed.
    coo.has_canonical_format = True
    csr = coo.tocsr()
    return csr.indptr, csr.indices, csr.data


def sorted_rows(
    indptr: np.ndarray, indices: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same rows with their columns sorted; where few rows are not, only those are touched."""
    inner = np.ones(max(len(indices) - 1, 0), bool)
    ends = indptr[1:-1]
    inner[ends[(ends > 0) & (ends < len(indices))] - 1] = False
    bad = np.flatnonzero(inner & (indices[1:] < indices[:-1]))
    if not len(bad):
        return indptr, indices, order
    rows = np.searchsorted(indptr, bad, side="right") - 1
    rows = rows[np.concatenate([[True], rows[1:] != rows[:-1]])]
    lengths = np.diff(indptr)[rows]
    if lengths.sum() * 4 > len(indices):
        csr = scipy.sparse.csr_array(
            (order, indices, indptr), shape=(len(indptr) - 1, int(indices.max()) + 1)
        )
        csr.has_sorted_indices = False
        csr.sort_indices()
        return indptr, csr.indices, csr.data
    owner = np.repeat(np.arange(len(rows)), lengths)
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + indptr[rows][owner]
    again = place[np.lexsort((indices[place], owner))]
    indices, order = indices.copy(), order.copy()
    indices[place], order[place] = indices[again], order[again]
    return indptr, indices, order
