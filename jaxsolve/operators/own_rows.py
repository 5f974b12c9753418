"""OwnRows: what a device holds of a matrix that is spread over a mesh: its rows, between blocks of vectors."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import largest, mul
from jaxsolve.operators.ell import UNROLLED_WIDTH, gather
from jaxsolve.operators.halo import Halo
from jaxsolve.operators.operator import LinearOperator


class OwnRows(LinearOperator):
    """The rows of one device; a product first exchanges ghosts. To be used inside of `jax.shard_map`.

    Args:
        values: By diagonals and as rows of fixed width, shape (width, m); entry by entry, shape (nnz,).
        columns: Positions among own elements and ghosts, of the same shape; None by diagonals.
        rows: The row of each entry, entry by entry; else None.
        sends: The positions of the elements that others need.
        halo: How these are sent.
        offsets: The diagonals, None for other layouts.
        size: Rows and columns of a device.
        most: At most so many entries are in a row, and in a column, of the whole matrix.
        facts: What is known of the whole matrix.
    """

    values: Array
    columns: Any
    rows: Any
    sends: tuple[Array, ...]
    halo: Halo = eqx.field(static=True)
    offsets: tuple[int, ...] | None = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)
    most: tuple[int, int] = eqx.field(static=True)
    facts: Traits = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a device."""
        return self.size

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """The facts about the whole matrix."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The rows of a device of the product A x."""
        return self._sums(mul, x, common(self.values, x))

    def transpose(self) -> LinearOperator:
        """The transpose; a symmetric matrix is its own."""
        return self if self.facts.symmetric else super().transpose()

    def conj(self) -> "OwnRows":
        """The conjugate rows."""
        return eqx.tree_at(lambda A: A.values, self, jnp.conj(self.values))

    def diagonal(self) -> Array:
        """The elements of the diagonal of a device."""
        m = self.size[0]
        if self.offsets is not None:
            if 0 not in self.offsets:
                return jnp.zeros(m, self.dtype)
            return self.values[self.offsets.index(0)]
        if self.rows is not None:
            return self._added(jnp.where(self.columns == self.rows, self.values, 0))
        return jnp.sum(jnp.where(self.columns == jnp.arange(m), self.values, 0), axis=0)

    def magnitude(self) -> Array:
        """The largest absolute entry of a device."""
        return largest(self.values)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row."""
        return self._sums(term, x, common(self.values, x))

    @property
    def most_entries(self) -> tuple[int, int]:
        """At most so many entries are in a row, and in a column."""
        return self.most

    def _sums(self, term: Callable[[Array, Array], Any], x: Array, dtype: Any) -> Any:
        m = self.size[0]
        ext = self.halo.extended(x, self.sends)
        if self.rows is not None:
            return jax.tree.map(self._added, term(self.values, gather(ext, self.columns)))
        width = self.values.shape[0]
        if not width:
            return jax.tree.map(lambda _: jnp.zeros(m, dtype), term(self.values, ext[:0, None]))
        if self.offsets is None and width > UNROLLED_WIDTH:
            terms = term(self.values, gather(ext, self.columns))
            return jax.tree.map(lambda part: jnp.sum(part, axis=0), terms)
        total = None
        for k in range(width):
            part = term(self.values[k], self._met(ext, k))
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        return total

    def _met(self, ext: Array, k: int) -> Array:
        """The elements that the entries of a slot are multiplied with."""
        if self.offsets is None:
            return gather(ext, self.columns[k])
        first = (self.halo.reach or 0) + self.offsets[k]
        return ext[first : first + self.size[0]]

    def _added(self, parts: Array) -> Array:
        return jax.ops.segment_sum(parts, self.rows, num_segments=self.size[0], indices_are_sorted=True)
