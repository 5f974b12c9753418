"""DenseMatrix: an array as an operator."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import applied
from jaxsolve.operators.operands import declaration
from jaxsolve.operators.operator import LinearOperator


class DenseMatrix(LinearOperator):
    """A dense matrix of shape (m, n).

    >>> (DenseMatrix(jnp.eye(2)) @ jnp.ones(2)).tolist()
    [1.0, 1.0]
    """

    matrix: Array
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.matrix.shape[-2], self.matrix.shape[-1]

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.matrix.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def declare(self, **traits: bool) -> "DenseMatrix":
        """The same matrix with declared traits."""
        return DenseMatrix(self.matrix, declaration(self, traits))

    def mv(self, x: Array) -> Array:
        """The product A x."""
        return applied(self.matrix, x)

    def transpose(self) -> "DenseMatrix":
        """The transposed matrix."""
        return DenseMatrix(self.matrix.T, self.facts.T)

    def conj(self) -> "DenseMatrix":
        """The conjugate matrix."""
        return DenseMatrix(jnp.conj(self.matrix), self.facts)

    def diagonal(self) -> Array:
        """The diagonal."""
        return jnp.diagonal(self.matrix)

    def as_matrix(self) -> Array:
        """The array itself."""
        return self.matrix

    def magnitude(self) -> Array:
        """The largest absolute entry."""
        return jnp.max(jnp.abs(self.matrix), initial=0)

    def leading_row_sums(self, count: int) -> Array:
        """The sums of the first rows."""
        return jnp.sum(self.matrix[:count], axis=1)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row."""
        terms = term(self.matrix, x[None, :])
        return jax.tree.map(lambda part: jnp.sum(part, axis=1), terms)

    @property
    def most_entries(self) -> tuple[int, int]:
        """All are entries."""
        return self.shape[1], self.shape[0]


_STRUCTURE = jax.tree.structure(DenseMatrix(np.zeros((0, 0))))  # pyright: ignore[reportArgumentType]  # no device


def dense_matrix(matrix: Array) -> DenseMatrix:
    """`DenseMatrix(matrix)` without the checks of a constructor, which cost 15 µs in every call with an array."""
    return jax.tree.unflatten(_STRUCTURE, [matrix])
