"""Partition: which rows of a matrix, and elements of a vector, belong to which device of a mesh."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.operators.ell import gather_or_zero


@dataclasses.dataclass(frozen=True)
class Partition:
    """Consecutive rows on each device, in the order of the matrix or in another one. Static under jit.

    Every device stores `width` of them, so that programs are the same on all: what a shorter block lacks holds zeros.

    Attributes:
        starts: The first row of each block, and the number of rows.
    """

    starts: tuple[int, ...]

    @classmethod
    def even(cls, n: int, shards: int) -> "Partition":
        """Blocks of equal length, of which the last ones may be shorter, as JAX cuts arrays.

        >>> Partition.even(10, 4).starts
        (0, 3, 6, 9, 10)
        """
        width = -(-n // shards)
        return cls(tuple(min(width * s, n) for s in range(shards + 1)))

    @property
    def size(self) -> int:
        """The number of rows."""
        return self.starts[-1]

    @property
    def shards(self) -> int:
        """The number of blocks."""
        return len(self.starts) - 1

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """The number of rows in each block."""
        return tuple(int(c) for c in np.diff(self.starts))

    @functools.cached_property
    def width(self) -> int:
        """The number of rows that each device stores."""
        return max(1, *self.counts)

    @property
    def ordinary(self) -> bool:
        """Whether only the last blocks may be shorter: then a vector is filled up at its end alone."""
        return self == Partition.even(self.size, self.shards)

    def owner(self, rows: Any) -> np.ndarray:
        """The block of each row."""
        return np.searchsorted(np.asarray(self.starts[1:]), rows, "right")

    def spread(self, v: Array, order: Array | None = None) -> Array:
        """Vectors of shape (..., n) as blocks of equal length, one after the other.

        Args:
            v: The vectors.
            order: The element in each place where rows have another order than elements, n for none.
        """
        if order is not None:
            return gather_or_zero(v, order)
        missing = self.shards * self.width - self.size
        if self.ordinary:
            return jnp.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, missing)]) if missing else v
        return gather_or_zero(v, self._elements())

    def gathered(self, v: Array, order: Array | None = None) -> Array:
        """The vectors of shape (..., n) that such blocks hold."""
        if order is None and self.ordinary:
            return v[..., : self.size] if v.shape[-1] > self.size else v
        order = self._elements() if order is None else order
        empty = jnp.zeros((*v.shape[:-1], self.size), v.dtype)
        return empty.at[..., order].set(v, mode="drop", unique_indices=True)

    def _elements(self) -> Array:
        """The element in each place; ones beyond n, all different, where there is none."""
        place = jnp.arange(self.shards * self.width)
        block, inside = place // self.width, place % self.width
        starts, counts = jnp.asarray(self.starts[:-1]), jnp.asarray(self.counts)
        return jnp.where(inside < counts[block], starts[block] + inside, self.size + place)


def partition_of(rows: Any, n: int, shards: int) -> tuple[Partition, np.ndarray | None]:
    """The partition that a user asks for, and the order of rows where it is not that of the matrix.

    Args:
        rows: None for even blocks; the first row of each block, and n; or the block of each row.
        n: The number of rows.
        shards: The number of blocks.

    Raises:
        StructureError: If these are no partition of the rows.
    """
    if rows is None:
        return Partition.even(n, shards), None
    given = integers(rows)
    if given is None:
        raise StructureError(
            "rows= expects None for even blocks, 'narrow' for an order of small bandwidth, the first row of each block "
            f"with the number of rows at the end, or the device of each row, as integers; got {shown(rows)}."
        )
    if given.shape == (shards + 1,) and given[0] == 0 and given[-1] == n and (np.diff(given) >= 0).all():
        return Partition(tuple(int(v) for v in given)), None
    if given.shape == (n,) and (not n or (given.min() >= 0 and given.max() < shards)):
        order = np.argsort(given, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(given, minlength=shards))])
        return Partition(tuple(int(v) for v in starts)), order
    raise StructureError(
        f"rows= is no partition of {n} rows over {shards} devices: it expects {shards + 1} increasing first rows from "
        f"0 to {n}, or for each of {n} rows its device from 0 to {shards - 1}; got {shown(rows)}."
    )


def integers(given: Any) -> np.ndarray | None:
    """A list of integers as an array, None where it is none."""
    try:
        found = np.asarray(given)
    except ValueError:
        return None
    return found if found.ndim == 1 and found.dtype.kind in "iu" else None


def shown(given: Any) -> str:
    """A list of integers for people, the middle of a long one left out; others by their kind."""
    found = integers(given)
    if found is None:
        return told(given)
    return f"{np.array2string(found, threshold=6, separator=', ')} of shape {found.shape}"
