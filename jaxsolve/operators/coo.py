"""CoordinateOperator: a sparse matrix whose positions are known only at run time."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import mul
from jaxsolve.operators.operands import declaration, in_precision
from jaxsolve.operators.operator import LinearOperator


class CoordinateOperator(LinearOperator):
    """The matrix with the sum of `data[e]` over e at (rows[e], columns[e]); positions outside the shape count nothing.

    Two to three times slower than a layout made from a known pattern.

    Args:
        data: Shape (nse,).
        rows: Integers of shape (nse,), traced or not.
        columns: Integers of shape (nse,).
        size: (m, n).
        sorted_rows: Whether `rows` is known to be sorted.
        facts: What is known of the matrix.
    """

    #: By positions that are not known, all would be entries.
    readable: ClassVar[bool] = False

    data: Array
    rows: Array
    columns: Array
    size: tuple[int, int] = eqx.field(static=True)
    sorted_rows: bool = eqx.field(static=True, default=False)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.data.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def declare(self, **traits: bool) -> "CoordinateOperator":
        """The same matrix with declared traits."""
        facts = declaration(self, traits)
        return CoordinateOperator(self.data, self.rows, self.columns, self.size, self.sorted_rows, facts)

    def mv(self, x: Array) -> Array:
        """The product A x."""
        terms = mul(self.data, x.at[self.columns].get(mode="fill", fill_value=0))
        zeros = jnp.zeros(self.size[0], terms.dtype)
        return zeros.at[self.rows].add(terms, mode="drop", indices_are_sorted=self.sorted_rows)

    def astype(self, dtype: Any) -> "CoordinateOperator":
        """The matrix with values in the precision of `dtype`."""
        data = in_precision(self.data, dtype)
        return self if data is self.data else eqx.tree_at(lambda A: A.data, self, data)

    def untold(self) -> str:
        """Why the entries are not known, for people."""
        return "the indices of this one are traced. Make it outside of jit, or hand over a js.SparseMatrix."

    def transpose(self) -> "CoordinateOperator":
        """The transposed matrix."""
        m, n = self.size
        return CoordinateOperator(self.data, self.columns, self.rows, (n, m), False, self.facts.T)

    def conj(self) -> "CoordinateOperator":
        """The conjugate matrix."""
        return CoordinateOperator(
            jnp.conj(self.data), self.rows, self.columns, self.size, self.sorted_rows, self.facts
        )

    def diagonal(self) -> Array:
        """The diagonal."""
        entries = jnp.where(self.rows == self.columns, self.data, 0)
        return jnp.zeros(min(self.size), self.dtype).at[self.rows].add(entries, mode="drop")

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return jnp.zeros(self.size, self.dtype).at[self.rows, self.columns].add(self.data, mode="drop")

    def magnitude(self) -> Array:
        """The largest absolute stored value."""
        return jnp.max(jnp.abs(self.data), initial=0)
