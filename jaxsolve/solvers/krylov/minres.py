"""The minimal residual method, for Hermitian systems that may be indefinite."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, plain_norm, real_dot
from jaxsolve.solvers.krylov.basis import least, negligible, precondition, quotient, rotation
from jaxsolve.solvers.method import AbstractMethod, State


class MINRESState(State):
    """Lanczos' process and the QR factorisation of its tridiagonal matrix, as far back as they are needed.

    Attributes:
        x: The iterate.
        u: The newest Lanczos vector, whose norm by the preconditioner is `beta`.
        u_old: The one before, of norm `beta_old`.
        v: M u.
        w: The direction of the last step.
        w_old: The one before.
        r: The residual, kept only with a preconditioner.
        c: Cosine of the last rotation; `s` is its sine.
        delta: Entry on the diagonal of the next column, before that rotation.
        epsilon: Entry two above the diagonal of the next column.
        phi: Norm of the residual by the preconditioner.
        norm: Largest column of the tridiagonal matrix, a lower bound of ‖A‖ (by the preconditioner).
        slope: ‖A r‖ / (‖A‖‖r‖) of the residual before the last step (by the preconditioner).
    """

    x: Array
    u: Array
    u_old: Array
    v: Array
    w: Array
    w_old: Array
    r: Array | None
    beta: Array
    beta_old: Array
    c: Array
    s: Array
    delta: Array
    epsilon: Array
    phi: Array
    norm: Array
    slope: Array
    residual_norm: Array
    halt: Array


class MINRES(AbstractMethod):
    """MINRES, with a positive definite preconditioner.

    Minimises the residual (in the norm of the preconditioner) over the Krylov space. Finds a least-squares solution
    where A is singular and b out of its range.

    Raises:
        NotConverged: Out of a solve: `singular` where A is so on the space, `breakdown` where the preconditioner is
            not positive.

    Solves: A x = b with A of shape (n, n), Hermitian, definite or not, real or complex.
    Cost: one product with A and one preconditioner application an iteration; 6 vectors of storage, seven with a
        preconditioner, where the residual is kept for its plain norm.
    Source: Paige and Saunders (1975), Solution of sparse indefinite systems of linear equations.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.diag(jnp.array([1.0, -2.0])), jnp.array([1.0, 2.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.MINRES())).tolist()]
    [1.0, -1.0]
    """

    name: ClassVar[str] = "minres"
    needs: ClassVar[str] = "symmetric (Hermitian), may be indefinite"
    wants: ClassVar[tuple[str, ...]] = ("hermitian",)
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "6"
    definite_preconditioner: ClassVar[bool] = True

    def start(self, A, M, r):
        v = precondition(M, r)
        rMr = real_dot(r, v)
        beta, zeros = jnp.sqrt(jnp.maximum(rMr, 0)), jnp.zeros_like(r)
        zero, one = jnp.zeros_like(beta), jnp.ones_like(beta)
        return MINRESState(
            x=zeros, u=r, u_old=zeros, v=v, w=zeros, w_old=zeros, r=None if M is None else r,
            beta=beta, beta_old=one, c=-one, s=zero, delta=zero, epsilon=zero, phi=beta, norm=zero, slope=one,
            residual_norm=plain_norm(r), halt=jnp.where(rMr > 0, 0, int(Status.breakdown)),
        )  # fmt: skip

    def step(self, A, M, s):
        # Lanczos: the next u is A v - α u - β u_old, with the vectors divided by their norms.
        v = quotient(s.v, s.beta)  # v_k = M u_k / β_k
        u = A.mv(v) - mul(quotient(s.beta, s.beta_old), s.u_old)
        alpha = real_dot(v, u)  # α_k = v_kᴴ A v_k
        u = u - mul(quotient(alpha, s.beta), s.u)
        Mu = precondition(M, u)
        uMu = real_dot(u, Mu)
        beta = jnp.sqrt(jnp.maximum(uMu, 0))  # β_{k+1} = ‖u_{k+1}‖ by M
        norm = jnp.maximum(s.norm, jnp.sqrt(jnp.where(s.norm > 0, s.beta_old, 0) ** 2 + alpha**2 + beta**2))
        # The last rotation meets the column (ε, δ, α, β); the next one is made from what it leaves.
        delta = s.c * s.delta + s.s * alpha  # δ_k: row k - 1 of R
        remains = s.s * s.delta - s.c * alpha  # what the new rotation meets beside β_{k+1}
        slope = quotient(jnp.hypot(remains, s.c * beta), norm)
        c, sine, gamma = rotation(jnp.where(negligible(remains, norm), 0, remains), beta)
        w = quotient(v - mul(s.epsilon, s.w_old) - mul(delta, s.w), gamma)  # W R = V
        phi = sine * s.phi  # φ_k = s_k φ_{k-1}
        if M is None:
            r, r_norm = None, phi
        else:
            r = mul(sine**2, s.r) - mul(quotient(phi * c, beta), u)
            r_norm = plain_norm(r)
        # Such a step is not made.
        still = least(slope) & (s.norm > 0)
        halt = jnp.where(still, int(Status.stagnation), 0)
        halt = jnp.where(negligible(gamma, norm), int(Status.singular), halt)
        halt = jnp.where(uMu < 0, int(Status.breakdown), halt)
        return MINRESState(
            x=s.x + jnp.where(still, 0, mul(c * s.phi, w)), u=u, u_old=s.u, v=Mu, w=w, w_old=s.w, r=r,  # x = x + c φ w
            beta=beta, beta_old=s.beta, c=c, s=sine, delta=-s.c * beta, epsilon=s.s * beta, phi=phi,
            norm=norm, slope=slope, residual_norm=r_norm, halt=halt,
        )  # fmt: skip

    def slope(self, s):
        return s.slope

    def true_slope(self, A, M, s, r):
        z = precondition(M, r)
        Az = A.mv(z)
        square = jnp.abs(real_dot(Az, precondition(M, Az)) / real_dot(r, z))
        return quotient(jnp.sqrt(square), s.norm)
