"""Bands: the outputs of a function as few full diagonals, whose values need no index array at all."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.core.staging import index_array
from jaxsolve.operators.layout import FILL, MOST_DIAGONALS
from jaxsolve.operators.pattern import Pattern
from jaxsolve.tracer import factors
from jaxsolve.tracer.output_terms import Piece
from jaxsolve.tracer.rows import Order
from jaxsolve.tracer.value import Term

#: One term may lie on this many diagonals: three periodic axes wrap around to 8.
MOST_SPLITS = 8

Box = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Where one piece lies on one diagonal: a box of the elements of its array, or a mask of them.

    Attributes:
        piece: The piece.
        box: Lower and upper bound along each axis.
        mask: Host bools of the array's shape, where it is not a box.
    """

    piece: Piece
    box: Box | None
    mask: np.ndarray | None = None

    def present(self) -> np.ndarray:
        """The mask of its elements, flat."""
        if self.box is None:
            return self.mask.reshape(-1) if self.mask is not None else np.empty(0, bool)
        mask = np.zeros(self.piece.shape, bool)
        mask[tuple(slice(low, high) for low, high in self.box)] = True
        return mask.reshape(-1)

    def values(self, known: Sequence[Any], dtype: Any) -> Any:
        """The values along the diagonal, zero outside; flat."""
        shape = self.piece.shape
        factor = factors.full(self.piece.factor(known), shape, dtype)
        if self.box is None:
            return (
                jnp.where(index_array(self.mask), factor, 0).reshape(-1) if self.mask is not None else factor
            )
        inside = None
        for axis, (low, high) in enumerate(self.box):
            if (low, high) == (0, shape[axis]):
                continue
            place = lax.broadcasted_iota(jnp.int32, shape, axis)
            here = (place >= low) & (place < high)
            inside = here if inside is None else inside & here
        factor = jnp.asarray(factor)
        return (factor if inside is None else jnp.where(inside, factor, jnp.zeros((), dtype))).reshape(-1)


@dataclasses.dataclass(frozen=True)
class Bands:
    """A matrix by diagonals.

    Attributes:
        shape: (m, n).
        stretches: For each diagonal (column - row, increasing) what lies on it.
        sizes: The number of elements of each output array.
    """

    shape: tuple[int, int]
    stretches: dict[int, list[Stretch]]
    sizes: tuple[int, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """The diagonals, increasing."""
        return tuple(self.stretches)

    def values(self, known: Sequence[Any], dtype: Any) -> Any:
        """The diagonals of shape (number of diagonals, m), given the traced factors."""
        starts = np.cumsum([0, *self.sizes]).tolist()
        diagonals = []
        for stretches in self.stretches.values():
            rows = []
            for start, size in zip(starts, self.sizes, strict=False):
                mine = [s.values(known, dtype) for s in stretches if s.piece.start == start and size]
                rows.append(sum(mine[1:], mine[0]) if mine else jnp.zeros(size, dtype))
            diagonals.append(jnp.concatenate(rows)[None])
        # The road not taken: a stack, in which vmap puts the batch behind the diagonals; what follows is transposed.
        return jnp.concatenate(diagonals)

    def order(self) -> Order | None:
        """The positions and the places of their values; None where pieces overlap."""
        m, count = self.shape[0], len(self.stretches)
        integer = np.int32 if sum(len(s) for s in self.stretches.values()) * m < 2**31 else np.int64
        place = np.full((m, count), -1, integer)
        entries = 0
        for k, stretches in enumerate(self.stretches.values()):
            for s in stretches:
                there = place[s.piece.start : s.piece.start + math.prod(s.piece.shape), k]
                own = s.piece.places(integer)
                present = s.present()
                np.copyto(there, own, where=present)
                entries += int(np.count_nonzero(present))
        valid = place >= 0
        indptr = np.zeros(m + 1, np.int64)
        np.cumsum(np.count_nonzero(valid, axis=1), out=indptr[1:])
        if indptr[-1] != entries:
            return None
        indices = (np.arange(m, dtype=integer)[:, None] + np.array(self.offsets, integer))[valid]
        return Order(Pattern.of(indptr, indices, self.shape), place[valid])


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
