"""The stabilised biconjugate gradient method of any order, for any square system without an adjoint."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.options import is_count
from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, plain_norm, squared_norm
from jaxsolve.solvers.krylov.basis import exhausted, negligible, precondition, quotient, right
from jaxsolve.solvers.krylov.bicgstab_in_two_sums import BiCGStabInTwoSums
from jaxsolve.solvers.method import AbstractMethod, State


class BiCGStabState(State):
    """Iterate (before the preconditioner), residual, shadow residual, direction u and the scalars of the recurrence."""

    x: Array
    r: Array
    shadow: Array
    u: Array
    rho: Array
    alpha: Array
    omega: Array
    residual_norm: Array
    halt: Array


class BiCGStab(AbstractMethod):
    """BiCGstab(l), preconditioned from the right.

    One iteration is l steps of biCG and one minimisation of the residual over the l powers of A they made. l = 1 is
    Bi-CGSTAB; l = 2 and more cope with eigenvalues near the imaginary axis.

    Args:
        l: The order, at least 1.

    Raises:
        ValueError: If l is no integer of at least 1.
        NotConverged: Out of a solve: `breakdown` where a direction is orthogonal to the shadow residual, or ω is 0.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone.
    Cost: 2 l products with A and as many preconditioner applications an iteration; 2 l + 5 vectors of storage.
    Source: van der Vorst (1992) for l = 1; Sleijpen and Fokkema (1993), section 3.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[0.1, 1.0], [-1.0, 0.1]]), jnp.array([1.1, -0.9])  # eigenvalues 0.1 ± i
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.BiCGStab(l=2))).tolist()]
    [1.0, 1.0]
    """

    name: ClassVar[str] = "biCG-stab"
    option: ClassVar[str | None] = "l"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "2 l + 5"
    cost: ClassVar[str] = "2 l products"

    l: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if not is_count(self.l):
            raise ValueError(f"BiCGStab(l={self.l!r}): the order l has to be at least 1, an integer.")

    def over_devices(self) -> AbstractMethod:
        return BiCGStabInTwoSums() if self.l == 1 else self

    @property
    def basis(self) -> int:
        return 2 * self.l + 5

    @property
    def products(self):
        return 2 * self.l

    def start(self, A, M, r):
        one, zeros = jnp.ones((), r.dtype), jnp.zeros_like(r)
        return BiCGStabState(zeros, r, r, zeros, one, jnp.zeros_like(one), one, plain_norm(r), jnp.array(0))

    def step(self, A, M, s):
        B = right(A, M)
        x, R, U = s.x, [s.r], [s.u]
        rho, alpha = -s.omega * s.rho, s.alpha  # ρ₀ = -ω ρ₀
        shadow_norm, broken = plain_norm(s.shadow), jnp.array(False)
        # l steps of biCG; R[i] = Aⁱr and U[i] = Aⁱu all the while.
        # Beside the lines are Sleijpen and Fokkema's: R and U are their hats, the shadow their tilde.
        for j in range(self.l):
            rho, old = dot(s.shadow, R[j]), rho  # ρ₁ = (r̂_j, r̃)
            beta = alpha * quotient(rho, old)  # β = α ρ₁ / ρ₀
            U = [v - beta * u for v, u in zip(R, U, strict=True)]  # û_i = r̂_i - β û_i, i = 0 ... j
            U.append(B.mv(U[j]))  # û_{j+1} = A û_j
            gamma = dot(s.shadow, U[j + 1])  # γ = (û_{j+1}, r̃)
            # After a breakdown the powers of A still serve the minimisation.
            broken |= negligible(gamma, shadow_norm * plain_norm(U[j + 1]))
            broken |= exhausted(plain_norm(R[0]), s.residual_norm)
            alpha = jnp.where(broken, 0, quotient(rho, gamma))  # α = ρ₀ / γ
            x = x + alpha * U[0]  # x̂ = x̂ + α û₀
            R = [v - alpha * u for v, u in zip(R, U[1:], strict=True)]  # r̂_i = r̂_i - α û_{i+1}, i = 0 ... j
            R.append(B.mv(R[j]))  # r̂_{j+1} = A r̂_j
        # The residual is minimised over R[0] - span(R[1], ..., R[l]).
        gammas, r = _minimised(R)
        u = U[0]
        for j, gamma in enumerate(gammas):
            x, u = x + gamma * R[j], u - gamma * U[j + 1]  # x̂ = x̂ + γ_j r̂_{j-1}, û₀ = û₀ - γ_j û_j
        omega = gammas[-1]  # ω = γ_l
        halt = jnp.where(broken | (omega == 0), int(Status.breakdown), 0)
        return BiCGStabState(x, r, s.shadow, u, rho, alpha, omega, plain_norm(r), halt)

    def finish(self, A, M, s):
        return precondition(M, s.x)


def _minimised(R: list[Array]) -> tuple[list[Array], Array]:
    """The coefficients of R[1], R[2], ... that approximate R[0] best, and what they leave of it.

    By modified Gram-Schmidt: the columns are powers of A, too close to dependent for normal equations.
    """
    r, Q, sizes, weights = R[0], [], [], []
    T = [[jnp.ones((), r.dtype)] * len(R) for _ in R]
    for j, q in enumerate(R[1:]):
        whole = squared_norm(q)
        for i, (p, size) in enumerate(zip(Q, sizes, strict=True)):
            T[i][j] = quotient(dot(p, q), size)  # τ_ij = (r̂_j, r̂_i) / σ_i
            q = q - T[i][j] * p
        size = squared_norm(q)  # σ_j = (r̂_j, r̂_j)
        # What is left of a dependent column is rounding and gets no weight.
        size = jnp.where(negligible(jnp.sqrt(size), jnp.sqrt(whole)), 0, size)
        weight = quotient(dot(q, r), size)  # γ'_j = (r̂₀, r̂_j) / σ_j
        r = r - weight * q
        Q.append(q)
        sizes.append(size)
        weights.append(weight)
    for j in reversed(range(len(weights))):
        for i in range(j + 1, len(weights)):
            weights[j] = weights[j] - T[j][i] * weights[i]  # γ_j = γ'_j - Σ τ_ji γ_i, i > j
    return weights, r
