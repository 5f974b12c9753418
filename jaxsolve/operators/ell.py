"""RowsOperator: a matrix stored as rows of fixed width, column-major, with a tail for the few long rows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax import Array

from jaxsolve.core.memo import compiled, per_object
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import largest, mul
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern

#: Rows up to this width are unrolled into one gather a column; wider ones are reduced over a 2-D gather
#: (90 unrolled columns compiled for 70 s).
UNROLLED_WIDTH = 16
#: What an entry of the tail costs, in slots of the fixed-width part.
TAIL_COST = 6


class RowsOperator(LinearOperator):
    """The matrix with y[i] = sum over k of values[k, i] * x[columns[k, i]], plus the tail's coordinate entries.

    One 1-D gather for each of the few columns of the storage. Costs half of SciPy's CSR product on a CPU core.

    Args:
        values: Shape (width, m); unused slots hold 0.
        columns: Integers of the same shape; unused slots point anywhere inside.
        tail: Values, rows (sorted) and columns of the entries beyond the width, each of shape (t,).
        pattern: The positions of all entries.
        facts: What is known of the matrix.
    """

    values: Array
    columns: Array
    tail: tuple[Array, Array, Array]
    pattern: Pattern = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.pattern.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The product A x."""
        m, n = self.shape
        width = self.values.shape[0]
        if not width or not n:
            y = jnp.zeros(m, common(self.values, x))
        elif width <= UNROLLED_WIDTH:
            y = mul(self.values[0], gather(x, self.columns[0]))
            for k in range(1, width):
                y = y + mul(self.values[k], gather(x, self.columns[k]))
        else:
            y = jnp.sum(mul(self.values, gather(x, self.columns)), axis=0)
        values, rows, columns = self.tail
        if values.shape[0]:
            extra = mul(values, gather(x, columns))
            y = y + jax.ops.segment_sum(extra, rows, num_segments=m, indices_are_sorted=True)
        return y

    def stored_entries(self) -> tuple[Array, Pattern]:
        """The values out of their slots."""
        slots = jnp.concatenate([self.values.reshape(-1), self.tail[0]])
        return gather_or_zero(slots, index_array(plan_rows(self.pattern).slots)), self.pattern

    @property
    def known_bandwidth(self) -> tuple[int, int]:
        """That of the pattern."""
        return self.pattern.bandwidth

    @property
    def entry_count(self) -> int:
        """The number of entries, unused slots not counted."""
        return self.pattern.nnz

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        slots = np.concatenate([np.asarray(self.values).reshape(-1), np.asarray(self.tail[0])])
        matrix = self.pattern.to_scipy(slots[plan_rows(self.pattern).slots])
        return scipy.sparse.linalg.aslinearoperator(matrix)

    def transpose(self) -> "RowsOperator":
        """The transposed matrix as rows; costs two permutations of the values."""
        order = index_array(plan_rows(self.pattern).slots)
        data = jnp.concatenate([self.values.reshape(-1), self.tail[0]])
        pattern, permutation = self.pattern.transpose()
        data = gather_or_zero(gather_or_zero(data, order), index_array(permutation))
        return rows_operator(data, pattern, self.facts.T)

    def conj(self) -> "RowsOperator":
        """The conjugate matrix."""
        values, rows, columns = self.tail
        return RowsOperator(
            jnp.conj(self.values), self.columns, (jnp.conj(values), rows, columns), self.pattern, self.facts
        )

    def magnitude(self) -> Array:
        """The largest absolute entry."""
        return jnp.maximum(largest(self.values), largest(self.tail[0]))

    def leading_row_sums(self, count: int) -> Array | None:
        """The sums of the first rows, unless some of them reach into the tail."""
        return None if self.tail[0].shape[0] else jnp.sum(self.values[:, :count], axis=0)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row."""
        m, n = self.shape
        met = gather(x, self.columns) if n else jnp.zeros(self.columns.shape, x.dtype)
        sums = jax.tree.map(lambda part: jnp.sum(part, axis=0), term(self.values, met))
        values, places, columns = self.tail
        if not values.shape[0]:
            return sums
        extra = term(values, gather(x, columns))

        def add(total: Array, part: Array) -> Array:
            return total + jax.ops.segment_sum(part, places, num_segments=m, indices_are_sorted=True)

        return jax.tree.map(add, sums, extra)

    @property
    def most_entries(self) -> tuple[int, int]:
        """At most so many entries are in a row, and in a column."""
        return self.pattern.most_entries


@dataclasses.dataclass(frozen=True)
class RowsPlan:
    """Where the values of a pattern go.

    Attributes:
        positions: Shape (width, m): the entry in each slot, nnz where none.
        columns: The column of each slot.
        tail: Entry, row and column of what is beyond the width.
        slots: The slot of each entry in the concatenation of the head and the tail.
    """

    positions: np.ndarray
    columns: np.ndarray
    tail: tuple[np.ndarray, np.ndarray, np.ndarray]
    slots: np.ndarray


@per_object
def plan_rows(pattern: Pattern) -> RowsPlan:
    """The plan for a pattern; made once and remembered."""
    m, n = pattern.shape
    lengths = np.diff(pattern.indptr)
    width = _width(lengths)
    rank = np.arange(pattern.nnz) - np.repeat(pattern.indptr[:-1], lengths)
    head = np.flatnonzero(rank < width)
    rest = np.flatnonzero(rank >= width)
    positions = np.full((width, m), pattern.nnz, pattern.indptr.dtype)
    # An unused slot reads its row's own entry of x, so that it stays close in memory and inside.
    own = np.minimum(np.arange(m), max(n - 1, 0)).astype(pattern.indices.dtype)
    columns = np.tile(own, (width, 1))
    positions[rank[head], pattern.rows[head]] = head
    columns[rank[head], pattern.rows[head]] = pattern.indices[head]
    slots = np.empty(pattern.nnz, np.int64 if width * m + len(rest) >= 2**31 else np.int32)
    slots[head] = rank[head] * m + pattern.rows[head]
    slots[rest] = width * m + np.arange(len(rest))
    tail = (rest.astype(pattern.indptr.dtype), pattern.rows[rest], pattern.indices[rest])
    for array in (positions, columns, slots, *tail):
        array.flags.writeable = False
    return RowsPlan(positions, columns, tail, slots)


def _width(lengths: np.ndarray) -> int:
    """The width of the head that makes slots plus tail cheapest."""
    if not len(lengths):
        return 0
    # longer[w] rows are longer than w: one more column costs m slots and saves longer[w] entries of the tail.
    longer = len(lengths) - np.cumsum(np.bincount(lengths))
    return int(np.argmax(np.append(longer * TAIL_COST < len(lengths), True)))


def rows_operator(data: Array, pattern: Pattern, facts: Traits = Traits()) -> RowsOperator:
    """The matrix with values `data` of shape (..., nnz) in CSR order, as rows of fixed width."""
    chosen = plan_rows(pattern)
    entries, rows, columns = (index_array(array) for array in chosen.tail)
    values = spread(data, index_array(chosen.positions))
    return RowsOperator(
        values, index_array(chosen.columns), (spread(data, entries), rows, columns), pattern, facts
    )


def gather(x: Array, indices: Array) -> Array:
    """The entries x[indices] for indices known to lie inside."""
    return x.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


def gather_or_zero(x: Array, indices: Array) -> Array:
    """The entries x[..., indices], zero where an index lies outside."""
    if not x.shape[-1]:
        return jnp.zeros((*x.shape[:-1], *indices.shape), x.dtype)
    return jnp.asarray(x).at[..., indices].get(mode="fill", fill_value=0, wrap_negative_indices=False)


#: `gather_or_zero` compiled: one dispatch in eager mode.
spread = compiled(gather_or_zero)
