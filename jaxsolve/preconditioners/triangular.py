"""Triangular solves on the device by a fixed number of Jacobi sweeps."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax

from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.operators.base import LinearOperator, Wrapper
from jaxsolve.operators.ell import gather


class UnitTriangularInverse(Wrapper):
    """An approximation of (I + N)⁻¹ for strictly triangular N: the series I - N + N² - ... up to a power.

    Each term is one product, where substitution would be as many steps as there are levels (1023 for a grid
    of 512²). The result is exact when the power reaches the number of levels.

    Args:
        operator: N.
        sweeps: The highest power.

    Source: Anzt, Chow, Dongarra, Iterative sparse triangular solves for preconditioning (2015).
    """

    operator: LinearOperator
    sweeps: int = eqx.field(static=True)

    def mv(self, x: Array) -> Array:
        """The approximate solution y of y + N y = x."""
        # A loop also where its length is known: chains of stencils blow up in XLA's fusion on the CPU.
        return lax.fori_loop(0, self.sweeps, lambda _, y: x - self.operator.mv(y), x)

    def transpose(self) -> "UnitTriangularInverse":
        """The same series of the transpose."""
        return UnitTriangularInverse(self.operator.T, self.sweeps)

    def conj(self) -> LinearOperator:
        """The same series of the conjugate."""
        return UnitTriangularInverse(self.operator.conj(), self.sweeps)


def sweeps_for(strict: Any, most: int) -> int:
    """The highest power of a strictly triangular matrix that is not zero (levels less one), `most` if that is less.

    With as many sweeps the series is substitution; further ones would change nothing.
    """
    entries = scipy.sparse.csr_matrix(
        (np.ones(strict.nnz, np.int32), strict.indices, strict.indptr), strict.shape
    )
    reached = np.ones(strict.shape[1], np.int32)
    for power in range(most):
        reached = np.minimum(entries @ reached, 1)
        if not reached.any():
            return power
    return most


class FactoredInverse(LinearOperator):
    """C U⁻¹ D⁻¹ L⁻¹ R: an approximate inverse by triangular factors of R⁻¹ A C⁻¹ = L D U, with unit diagonals.

    Args:
        lower: L⁻¹.
        upper: U⁻¹.
        inverse_pivots: The diagonal of D⁻¹.
        left: The diagonal of R.
        right: The diagonal of C.
        orders: Permutations before L⁻¹ and after U⁻¹ as (order, inverse) each, or None for none.
        facts: What is known of the result.
    """

    lower: LinearOperator
    upper: LinearOperator
    inverse_pivots: Array
    left: Array
    right: Array
    orders: Any = eqx.field(static=True, default=None)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.lower.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the factors."""
        return self.inverse_pivots.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The approximate solution of A y = x."""
        y = self._ordered(self.left * x, 0)
        y = self.upper.mv(self.inverse_pivots * self.lower.mv(y))
        return self.right * self._ordered(y, 1)

    def _ordered(self, y: Array, end: int) -> Array:
        return y if self.orders is None else gather(y, index_array(self.orders[end].array))

    def transpose(self) -> "FactoredInverse":
        """The transpose: the factors change places."""
        orders = None if self.orders is None else (self.orders[1].inverted(), self.orders[0].inverted())
        return FactoredInverse(
            self.upper.T, self.lower.T, self.inverse_pivots, self.right, self.left, orders, self.facts.T
        )

    def conj(self) -> "FactoredInverse":
        """The conjugate."""
        parts = (jnp.conj(part) for part in (self.inverse_pivots, self.left, self.right))
        return FactoredInverse(
            self.lower.conj(), self.upper.conj(), *parts, orders=self.orders, facts=self.facts
        )


class Order:
    """A permutation as static metadata."""

    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array, np.int32)
        self._bytes = self.array.tobytes()

    def inverted(self) -> "Order":
        """The inverse permutation."""
        return Order(np.argsort(self.array))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and other._bytes == self._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)
