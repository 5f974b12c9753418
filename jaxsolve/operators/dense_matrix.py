"""DenseMatrix: an array as an operator."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax import Array

from jaxsolve.core.staging import evaluated, is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import applied, largest
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operands import declaration, in_precision
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern


class DenseMatrix(LinearOperator):
    """A dense matrix of shape (m, n).

    Args:
        matrix: The array, of shape (m, n), real or complex.
        facts: What is known of the matrix; see `declare`.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: 2 m n flops a product; m n numbers of memory.

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

    def multiply_columns(self, X: Array) -> Array:
        """The products with the columns of X."""
        return self.matrix @ X

    @property
    def dense_form(self) -> "DenseMatrix":
        """The matrix itself."""
        return self

    def stored_entries(self) -> tuple[Array, Pattern]:
        """The array, of which all are entries."""
        m, n = self.shape
        with evaluated(self.matrix):
            values = self.matrix.reshape(*self.matrix.shape[:-2], m * n)
        return values, Pattern.of(np.arange(m + 1) * n, np.tile(np.arange(n), m), (m, n))

    @property
    def known_bandwidth(self) -> tuple[int, int] | None:
        """That of the non-zero values; None where they are traced."""
        if is_traced(self.matrix):
            return None
        rows, cols = np.nonzero(np.asarray(self.matrix))
        return max(0, int((rows - cols).max(initial=0))), max(0, int((cols - rows).max(initial=0)))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of the array."""
        return self.matrix.shape[:-2]

    def astype(self, dtype: Any) -> "DenseMatrix":
        """The matrix with values in the precision of `dtype`."""
        matrix = in_precision(self.matrix, dtype)
        return self if matrix is self.matrix else eqx.tree_at(lambda A: A.matrix, self, matrix)

    def on_host(self) -> HostOperator:
        """The products with the NumPy array."""
        return scipy.sparse.linalg.aslinearoperator(np.asarray(self.matrix))

    @property
    def lanes_share_nothing(self) -> bool:
        """No: one product with a matrix of vectors reads the array once."""
        return False

    def absolute_row_sums(self) -> Array:
        """The sum of |a_ij| over j for each row."""
        return jnp.sum(jnp.abs(self.matrix), axis=-1)

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
        return largest(self.matrix)

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
