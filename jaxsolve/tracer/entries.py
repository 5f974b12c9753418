"""Entries: the values of a matrix in CSR order, read from the factors of its pieces."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.tracer.output_terms import Piece, concatenated
from jaxsolve.tracer.rows import Order

#: A factor with this share of all entries is read where it is and the others are added; fewer are concatenated first.
#: Off the diagonal of a graph Laplacian that saves 15 of 100 ms at 9 million entries; a scatter of all takes 4 times as
#: long as a gather.
MAIN_SHARE = 0.75


@dataclasses.dataclass(frozen=True)
class Reading:
    """Where the parts of each entry are read.

    Attributes:
        sources: Pieces whose values are concatenated, each factor once.
        places: For each entry the place of its first part in the first source; one past its end: none is there.
        further: For each source the entries (increasing) with a further part in it, and its places there.
    """

    sources: tuple[Sequence[Piece], ...]
    places: np.ndarray
    further: tuple[tuple[np.ndarray, np.ndarray], ...]

    def indices(self) -> list[np.ndarray]:
        """The index arrays that `entries` takes."""
        return [self.places, *(array for pair in self.further for array in pair)]

    def entries(self, values: Sequence[Any], indices: Sequence[Any], dtype: Any) -> Any:
        """The entries of shape (nnz,), given the traced factors."""
        sources = [jnp.asarray(concatenated(pieces, values, dtype)) for pieces in self.sources]
        mode = "promise_in_bounds" if len(sources) == 1 else "fill"
        data = sources[0].at[indices[0]].get(mode=mode, fill_value=0, wrap_negative_indices=False)
        for k, source in enumerate(sources):
            slots, places = indices[2 * k + 1 : 2 * k + 3]
            if slots.size:
                parts = source.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)
                data = data.at[slots].add(parts, indices_are_sorted=True, mode="promise_in_bounds")
        return data


def reading(pieces: Sequence[Piece], order: Order) -> Reading:
    """The reading of pieces whose values have the places of an order."""
    none = np.zeros(0, order.places.dtype)
    slots, parts = order.repeats or (none, none)
    counts: dict[int, int] = {}
    for piece in pieces:
        counts[piece.first] = counts.get(piece.first, 0) + piece.entry.columns.size
    start = max(counts, key=counts.__getitem__, default=0)
    if len(counts) < 2 or counts[start] < MAIN_SHARE * sum(counts.values()):
        return Reading((pieces,), order.places, ((slots, parts),))
    main = [piece for piece in pieces if piece.first == start and piece.count]
    others = [piece for piece in pieces if piece.first != start]
    size = main[0].count
    inside, again = (_inside(array, start, size) for array in (order.places, parts))
    outside = np.flatnonzero(~inside).astype(order.places.dtype)
    places = np.where(inside, order.places - start, size).astype(order.places.dtype)
    rest = np.concatenate([outside, slots[~again]])
    sort = np.argsort(rest, kind="stable")
    left = np.concatenate([order.places[outside], parts[~again]])[sort]
    left = left - np.where(left > start, size, 0).astype(left.dtype)
    return Reading((main, others), places, ((slots[again], parts[again] - start), (rest[sort], left)))


def _inside(places: np.ndarray, start: int, size: int) -> np.ndarray:
    return (places >= start) & (places < start + size)
