"""Scaled products: A S and S A with a diagonal S."""

from collections.abc import Callable
from typing import Any

from jax import Array

from jaxsolve.core.vector import mul
from jaxsolve.operators.operator import LinearOperator, Wrapper


class Product(Wrapper):
    """A product with A: its entries are not those of A, and are nowhere stored."""

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """None, as the entries are not stored."""
        return None

    @property
    def most_entries(self) -> tuple[int, int] | None:
        """None, as the entries are not stored."""
        return None


class ColumnScaled(Product):
    """A S with a diagonal S: A with columns of one unit."""

    operator: LinearOperator
    scales: Array

    def mv(self, x: Array) -> Array:
        """The product A S x."""
        return self.operator.mv(mul(self.scales, x))

    def transpose(self) -> LinearOperator:
        """The transpose, S Aᵀ."""
        return RowScaled(self.operator.T, self.scales)

    def conj(self) -> LinearOperator:
        """The entrywise conjugate."""
        return ColumnScaled(self.operator.conj(), self.scales)


class RowScaled(Product):
    """S A with a diagonal S."""

    operator: LinearOperator
    scales: Array

    def mv(self, x: Array) -> Array:
        """The product S A x."""
        return mul(self.scales, self.operator.mv(x))

    def transpose(self) -> LinearOperator:
        """The transpose, Aᵀ S."""
        return ColumnScaled(self.operator.T, self.scales)

    def conj(self) -> LinearOperator:
        """The entrywise conjugate."""
        return RowScaled(self.operator.conj(), self.scales)
