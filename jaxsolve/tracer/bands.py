"""Bands: the outputs of a function as few full diagonals, whose values need no index array at all."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.core.staging import index_array
from jaxsolve.operators.pattern import Pattern
from jaxsolve.tracer import factors
from jaxsolve.tracer.output_terms import Piece
from jaxsolve.tracer.rows import Order

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
