"""Elimination: the solve with a small dense Jacobian, in as few operations as it takes.

The driver of all linear methods judges, refines and restarts; in a Newton step the search does that, and what the
driver adds takes three times as long to compile as the whole search.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array

from jaxsolve.core.memo import compiled
from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm, power_of_two
from jaxsolve.solvers.driver import Outcome


class Elimination(eqx.Module):
    """A dense matrix with its factors (Gaussian elimination with partial pivoting).

    Attributes:
        matrix: A, shape (n, n).
        factors: Those of A / unit, made invertible where A maps constants to zero.
        unit: The size of A's entries.
        neutral: Whether A maps constants to zero: then solutions have mean zero.
    """

    matrix: Array
    factors: tuple[Array, Array]
    unit: Array
    neutral: Array

    @classmethod
    def of(cls, matrix: Array, detect: bool) -> "Elimination":
        """The factors of a matrix; `detect` asks whether it maps constants to zero."""
        unit = power_of_two(jnp.max(jnp.abs(matrix)))
        scaled, n = matrix / unit, matrix.shape[0]
        tiny = 100 * jnp.finfo(unit.dtype).eps
        neutral = (
            (jnp.max(jnp.abs(jnp.sum(scaled, axis=1))) <= tiny) if detect and n > 1 else jnp.array(False)
        )
        return cls(matrix, jsl.lu_factor(scaled + jnp.where(neutral, 1 / n, 0)), unit, neutral)

    @compiled
    def solve(self, rhs: Array, rtol: Array) -> Outcome:
        """The solution of A x = rhs, judged by its residual."""
        x = jsl.lu_solve(self.factors, rhs) / self.unit
        return self._judged(self.matrix, x - jnp.where(self.neutral, jnp.mean(x), 0), rhs, rtol)

    @compiled
    def solve_transposed(self, rhs: Array, rtol: Array) -> Outcome:
        """The solution of Aᵀ x = rhs, for the part of rhs that acts on the solutions of A."""
        there = rhs - jnp.where(self.neutral, jnp.mean(rhs), 0)
        # Where the null space is that of constants, only rounding is left of a constant cotangent.
        noise = 100 * jnp.finfo(self.unit.dtype).eps * norm(rhs)
        there = jnp.where(self.neutral & (norm(there) <= noise), 0, there)
        x = jsl.lu_solve(self.factors, there, trans=1) / self.unit
        return self._judged(self.matrix.T, x, there, rtol)

    def _judged(self, matrix: Array, x: Array, rhs: Array, rtol: Array) -> Outcome:
        # Elimination of a singular matrix gives infinities, and 0 for a right-hand side of 0.
        x = jnp.where(jnp.all(jnp.isfinite(x)), x, jnp.where(jnp.any(rhs != 0), jnp.nan, 0).astype(x.dtype))
        residual = rhs - matrix @ x
        size = norm(residual)
        target = (rtol * norm(rhs)).astype(size.dtype)
        failure = jnp.where(jnp.all(jnp.isfinite(x)), int(Status.stagnation), int(Status.singular))
        status = jnp.where(size <= target, int(Status.converged), failure).astype(jnp.int32)
        one = jnp.array(1, jnp.int32)
        return Outcome(x, residual, size, target, one, one, status)
