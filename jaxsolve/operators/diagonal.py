"""Operators of a diagonal alone: the identity, and the diagonal matrix of a vector."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax import Array

from jaxsolve.core.traits import Traits, traits_for
from jaxsolve.core.vector import mul
from jaxsolve.operators.dia import full_diagonals
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern

_IDENTITY = traits_for(False, diagonal=True, positive_definite=True)


class Identity(LinearOperator):
    """The identity of size n.

    Args:
        size: n.
        kind: Its dtype.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: none, neither flops nor memory.

    >>> float((2 * Identity(3, jnp.float32) @ jnp.ones(3))[0])
    2.0
    """

    size: int = eqx.field(static=True)
    kind: Any = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.size, self.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return jnp.dtype(self.kind)

    @property
    def traits(self) -> Traits:
        """Diagonal and positive definite."""
        return _IDENTITY

    def mv(self, x: Array) -> Array:
        """X itself."""
        return x

    def transpose(self) -> LinearOperator:
        """The identity."""
        return self

    def diagonal(self) -> Array:
        """Ones."""
        return jnp.ones(self.size, self.dtype)

    def stored_entries(self) -> tuple[Array, Pattern]:
        """Ones on the diagonal."""
        return self.diagonal(), full_diagonals((0,), self.shape)[0]

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        return _diagonal_on_host(np.ones(self.size, self.dtype))


class Diagonal(LinearOperator):
    """The diagonal matrix of a vector of shape (n,).

    Args:
        values: The diagonal, of shape (n,), real or complex.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: n multiplications a product; n numbers of memory.

    >>> A = Diagonal(jnp.array([1.0, 2.0]))
    >>> A.shape, (A @ jnp.ones(2)).tolist()
    ((2, 2), [1.0, 2.0])
    """

    values: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.values.shape[-1], self.values.shape[-1])

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """Diagonal; Hermitian too when real."""
        return traits_for(jnp.issubdtype(self.dtype, jnp.complexfloating), diagonal=True)

    def mv(self, x: Array) -> Array:
        """The elementwise product."""
        return mul(self.values, x)

    def transpose(self) -> LinearOperator:
        """The operator itself."""
        return self

    def conj(self) -> LinearOperator:
        """The diagonal matrix of the conjugate."""
        return Diagonal(jnp.conj(self.values))

    def diagonal(self) -> Array:
        """The vector."""
        return self.values

    def stored_entries(self) -> tuple[Array, Pattern]:
        """The vector, on the diagonal."""
        return self.values, full_diagonals((0,), self.shape)[0]

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        return _diagonal_on_host(np.asarray(self.values))

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return jnp.diag(self.values)


def _diagonal_on_host(values: np.ndarray) -> HostOperator:
    return scipy.sparse.linalg.aslinearoperator(scipy.sparse.csr_matrix(scipy.sparse.diags_array(values)))
