"""Triangular solves on the device: by substitution, or by a fixed number of Jacobi sweeps; and what they make up."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax

from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import mul
from jaxsolve.operators.ell import TAIL_COST, gather, plan_rows
from jaxsolve.operators.layout import is_banded
from jaxsolve.operators.operator import LinearOperator, Wrapper
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.ilu.substitution import level_inverse, schedule

#: Terms of the series for a triangular solve. CG takes on Poisson 512² 453 iterations with 6, 447 with 8 (438 with
#: substitution), on diffusion with jumps of 10⁴, 256², 808 with 4, 554 with 6, 528 with 8, 526 with 12.
SWEEPS = 8
#: How much more than the series a substitution with little data may cost, as it is exact: with ILU(0), GMRES on
#: `olm500` needs 143 iterations, 300 if one factor is left to the series, and more than 1000 if both are. With much
#: data it may cost no more: on Poisson 256² the series takes 167 iterations instead of 166, in two thirds of the time.
#: (Most of 46 matrices from practice are solved by substitution, in a third to all of the time.)
EXACTNESS = 4


class UnitTriangularInverse(Wrapper):
    """An approximation of (I + N)⁻¹ for strictly triangular N: the series I - N + N² - ... up to a power.

    Each term is one product, where substitution is as many steps as there are levels (1023 for a grid of 512²).
    The result is exact when the power reaches the number of levels.

    Args:
        operator: N.
        sweeps: The highest power.

    Source: Anzt, Chow, Dongarra, Iterative sparse triangular solves for preconditioning (2015).
    """

    operator: LinearOperator
    sweeps: int = eqx.field(static=True)

    @property
    def description(self) -> str:
        """How it solves."""
        return f"a series of {self.sweeps} terms"

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


def triangular_inverse(strict: SparseMatrix, sweeps: int = SWEEPS) -> LinearOperator:
    """(I + N)⁻¹ for strictly triangular N, by substitution where that costs no more than it is worth, or by the series.

    Substitution on a CPU only: elsewhere each of its many small steps is some launches of kernels.

    Args:
        strict: N; its values may be traced.
        sweeps: Terms of the series at most.
    """
    terms = enough_sweeps(strict.pattern, sweeps)
    if jax.default_backend() == "cpu":
        plan = schedule(strict.pattern)
        worth = terms * _slots(strict.pattern)
        if plan is not None and plan.cost <= (EXACTNESS * worth if plan.little else worth):
            return level_inverse(strict)
    return UnitTriangularInverse(strict.layout(), terms)


def series_inverse(strict: SparseMatrix, sweeps: int) -> UnitTriangularInverse:
    """(I + N)⁻¹ for strictly triangular N by the series, exact where N has no more levels than there are sweeps."""
    return UnitTriangularInverse(strict.layout(), enough_sweeps(strict.pattern, sweeps))


def _slots(pattern: Pattern) -> int:
    """What one product costs, in slots."""
    if is_banded(pattern):
        return len(pattern.offsets) * pattern.shape[0]
    plan = plan_rows(pattern)
    return plan.columns.size + TAIL_COST * len(plan.tail[0])


@per_object
def enough_sweeps(pattern: Pattern, most: int) -> int:
    """`sweeps_for` a pattern, remembered."""
    return sweeps_for(pattern.to_scipy(np.ones(pattern.nnz)), most)


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
        source: Where the factors come from, for people.
    """

    lower: LinearOperator
    upper: LinearOperator
    inverse_pivots: Array
    left: Array
    right: Array
    orders: Any = eqx.field(static=True, default=None)
    facts: Traits = eqx.field(static=True, default=Traits())
    source: str = eqx.field(static=True, default="factors without fill")

    @property
    def description(self) -> str:
        """Which factors, and how their triangular systems are solved."""
        ways = [
            f"{part} by {getattr(self, name).description}" for part, name in (("L", "lower"), ("U", "upper"))
        ]
        return f"{self.source}; on the device, {', '.join(ways)}"

    @property
    def told(self) -> str:
        """The same: it says how the factors are applied."""
        return self.description

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
        y = self._ordered(mul(self.left, x), 0)
        y = self.upper.mv(mul(self.inverse_pivots, self.lower.mv(y)))
        return mul(self.right, self._ordered(y, 1))

    def _ordered(self, y: Array, end: int) -> Array:
        return y if self.orders is None else gather(y, index_array(self.orders[end].array))

    def transpose(self) -> "FactoredInverse":
        """The transpose: the factors change places."""
        orders = None if self.orders is None else (self.orders[1].inverted(), self.orders[0].inverted())
        return FactoredInverse(
            self.upper.T,
            self.lower.T,
            self.inverse_pivots,
            self.right,
            self.left,
            orders,
            self.facts.T,
            self.source,
        )

    def conj(self) -> "FactoredInverse":
        """The conjugate."""
        pivots, left, right = (jnp.conj(part) for part in (self.inverse_pivots, self.left, self.right))
        return FactoredInverse(
            self.lower.conj(), self.upper.conj(), pivots, left, right, self.orders, self.facts, self.source
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
