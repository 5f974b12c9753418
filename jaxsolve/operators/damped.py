"""Damped: a matrix above a multiple of the identity, whose least squares are those of Tikhonov."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul
from jaxsolve.operators.operator import LinearOperator


class AbstractDamped(LinearOperator):
    """A beside or above λ I."""

    operator: LinearOperator
    damp: Array

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return common(self.operator.dtype, self.damp.dtype)

    def conj(self) -> LinearOperator:
        """The entrywise conjugate; λ is real."""
        return type(self)(self.operator.conj(), self.damp)

    def layout(self) -> LinearOperator:
        """The same with A in its fast form."""
        return type(self)(self.operator.layout(), self.damp)

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know."""
        size = self.operator.magnitude()
        return None if size is None else jnp.maximum(size, jnp.abs(self.damp).astype(size.dtype))

    def diagonal_of_damping(self) -> Array:
        """The entries of λ I on its diagonal."""
        return jnp.full(min(self.shape), self.damp.astype(self.dtype))


class Damped(AbstractDamped):
    """[A; λ I]: ‖[b; 0] - [A; λ I] x‖² = ‖b - A x‖² + λ²‖x‖²."""

    @property
    def shape(self) -> tuple[int, int]:
        """(m + n, n) for A of shape (m, n)."""
        m, n = self.operator.shape
        return m + n, n

    def mv(self, x: Array) -> Array:
        """The products A x and λ x, one after the other."""
        return _joined(self.operator.mv(x), mul(self.damp, x))

    def transpose(self) -> LinearOperator:
        """[Aᵀ, λ I]."""
        return DampedTranspose(self.operator.T, self.damp)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row, where they are stored."""
        sums = self.operator.row_sums(term, x)
        return None if sums is None else jax.tree.map(_joined, sums, term(self.diagonal_of_damping(), x))

    @property
    def most_entries(self) -> tuple[int, int] | None:
        """At most so many entries are in a row, and in a column."""
        most = self.operator.most_entries
        return None if most is None else (max(most[0], 1), most[1] + 1)


class DampedTranspose(AbstractDamped):
    """[A, λ I]."""

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n + m) for A of shape (m, n)."""
        m, n = self.operator.shape
        return m, n + m

    def mv(self, x: Array) -> Array:
        """The sum of the products A y and λ z for x = [y; z]."""
        n = self.operator.shape[1]
        return self.operator.mv(x[:n]) + mul(self.damp, x[n:])

    def transpose(self) -> LinearOperator:
        """[Aᵀ; λ I]."""
        return Damped(self.operator.T, self.damp)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row, where they are stored."""
        n = self.operator.shape[1]
        sums = self.operator.row_sums(term, x[:n])
        return None if sums is None else jax.tree.map(jnp.add, sums, term(self.diagonal_of_damping(), x[n:]))

    @property
    def most_entries(self) -> tuple[int, int] | None:
        """At most so many entries are in a row, and in a column."""
        most = self.operator.most_entries
        return None if most is None else (most[0] + 1, max(most[1], 1))


def _joined(v: Array, w: Array) -> Array:
    dtype = common(v, w)
    return jnp.concatenate([v.astype(dtype), w.astype(dtype)])
