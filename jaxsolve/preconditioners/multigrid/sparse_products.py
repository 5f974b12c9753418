"""Products of sparse matrices on known patterns: sums of products of entries into slots."""

import dataclasses
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array

from jaxsolve.core.staging import index_array
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.graph import require_room_for_product

#: Products on the host with more entries than this on the left are shared among threads (SciPy releases the GIL).
THREADED = 50_000
MOST_THREADS = 8


@dataclasses.dataclass(frozen=True)
class ProductPlan:
    """Which entries of the left and of the right factor are multiplied, and to which entry each product goes."""

    left: np.ndarray
    right: np.ndarray
    slot: np.ndarray
    pattern: Pattern

    def multiply(self, a: Array, b: Array) -> Array:
        """The entries of the product, for traced or concrete factors."""
        terms = a[index_array(self.left)] * b[index_array(self.right)]
        return jax.ops.segment_sum(terms, index_array(self.slot), self.pattern.nnz)


def expand(rows: np.ndarray, indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (position in `rows`, entry) with the entry in the row of a CSR pattern that `rows` names."""
    starts, lengths = indptr[rows], np.diff(indptr)[rows]
    owner = np.repeat(np.arange(len(rows)), lengths)
    first = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - np.repeat(first - starts, lengths)


def find(pattern: Pattern, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """The entry at each pair of coordinates, -1 where there is none."""
    keys = pattern.rows.astype(np.int64) * pattern.shape[1] + pattern.indices
    wanted = rows.astype(np.int64) * pattern.shape[1] + cols
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    return np.where(keys[at] == wanted, at, -1) if len(keys) else np.full(len(wanted), -1)


def product_pattern(left: Pattern, right: Pattern, also: Pattern | None = None) -> Pattern:
    """The pattern of the product, entries that cancel included, and of `also`."""
    one: Any = host_product(_ones(left), _ones(right))
    one = one if also is None else one + _ones(also)
    one.sort_indices()
    return Pattern.of(one.indptr, one.indices, one.shape)


def _ones(pattern: Pattern) -> Any:
    return pattern.to_scipy(np.ones(pattern.nnz, np.float32))


def host_product(left: Any, right: Any) -> Any:
    """The product of two SciPy CSR matrices, a block of rows for each thread; columns unsorted."""
    require_room_for_product(left, right, "multigrid")
    count = min(os.cpu_count() or 1, MOST_THREADS)
    if left.nnz < THREADED or count < 2:
        return left @ right
    cuts = np.searchsorted(left.indptr, np.linspace(0, left.nnz, count + 1)[1:-1])
    bounds = itertools.pairwise([0, *cuts.tolist(), left.shape[0]])
    with ThreadPoolExecutor(count) as pool:
        blocks = list(pool.map(lambda ends: left[ends[0] : ends[1]] @ right, bounds))
    return scipy.sparse.vstack(blocks, format="csr")


def plan_product(left: Pattern, right: Pattern, also: Pattern | None = None) -> ProductPlan:
    """How the product of two patterns is formed; the pattern of the result holds the entries of `also`, too."""
    # Five arrays of indices of 64 bits, one for each multiplication.
    require_room_for_product(left, right, "multigrid of traced values", each=40)
    pattern = product_pattern(left, right, also)
    owner, entry = expand(left.indices, right.indptr)
    slot = find(pattern, left.rows[owner], right.indices[entry])
    dtype = np.int32 if max(left.nnz, right.nnz, pattern.nnz) < 2**31 else np.int64
    return ProductPlan(owner.astype(dtype), entry.astype(dtype), slot.astype(dtype), pattern)


class Sums:
    """Sums into slots, by NumPy on the host or by JAX: one formula serves concrete and traced values."""

    def __init__(self, on_host: bool):
        self.on_host = on_host
        self.xp: Any = np if on_host else jnp

    def take(self, values: Any, index: np.ndarray) -> Any:
        """values[index]."""
        return values[index] if self.on_host else values[index_array(index)]

    def total(self, values: Any, slot: np.ndarray, count: int) -> Any:
        """The sum of the values of each slot."""
        if not self.on_host:
            return jax.ops.segment_sum(values, index_array(slot), count)
        if np.iscomplexobj(values):
            real, imag = (np.bincount(slot, part, count) for part in (values.real, values.imag))
            return (real + 1j * imag).astype(values.dtype)
        return np.bincount(slot, values, count).astype(values.dtype)

    def take_mask(self, mask: np.ndarray) -> Any:
        """A host array of truth values."""
        return mask if self.on_host else index_array(mask)

    def mask(self, at: np.ndarray, count: int, dtype: Any) -> Any:
        """Ones at some positions, zeros elsewhere."""
        where = np.zeros(count, np.bool_)
        where[at] = True
        return self.xp.where(self.take_mask(where), 1, 0).astype(dtype)
