"""Band search: on which few diagonals the pieces of a function lie."""

import math
from collections.abc import Sequence

import numpy as np

from jaxsolve.operators.layout import FILL, MOST_DIAGONALS
from jaxsolve.tracer.bands import Bands, Box, Stretch
from jaxsolve.tracer.output_terms import Piece
from jaxsolve.tracer.value import Term

#: One term may lie on this many diagonals: three periodic axes wrap around to 8.
MOST_SPLITS = 8


def find_bands(pieces: Sequence[Piece], shape: tuple[int, int], sizes: Sequence[int]) -> Bands | None:
    """The pieces by diagonals, or None where these would be too many or too empty."""
    found: dict[int, list[Stretch]] = {}
    most, entries = MOST_DIAGONALS, 0
    for piece in pieces:
        if not isinstance(piece.entry, Term) or piece.entry.columns.ndim != len(piece.shape):
            return None
        splits = _splits(piece)
        if splits is None:
            return None
        for offset, stretch, count in splits:
            found.setdefault(offset, []).append(stretch)
            entries += count
        if len(found) > most:
            return None
    if entries < FILL * len(found) * shape[0] or not found:
        return None
    return Bands(shape, dict(sorted(found.items())), tuple(sizes))


def _splits(piece: Piece) -> list[tuple[int, Stretch, int]] | None:
    """The diagonals of a piece with where it lies on them and how often; None where they are many."""
    columns = piece.entry.columns
    own = np.arange(piece.start, piece.start + columns.size, dtype=columns.dtype).reshape(columns.shape)
    distance = columns - own
    left = columns >= 0
    splits = []
    remaining = int(np.count_nonzero(left))
    while remaining:
        if len(splits) == MOST_SPLITS:
            return None
        offset = distance.flat[int(np.argmax(left))]
        hit = distance == offset
        hit &= left
        count = int(np.count_nonzero(hit))
        box = _bounding_box(hit)
        exact = math.prod(high - low for low, high in box) == count
        splits.append((int(offset), Stretch(piece, box if exact else None, None if exact else hit), count))
        remaining -= count
        if remaining:
            left = left & ~hit
    return splits


def _bounding_box(mask: np.ndarray) -> Box:
    box = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=tuple(d for d in range(mask.ndim) if d != axis)))
        box.append((int(along[0]), int(along[-1]) + 1))
    return tuple(box)
