"""LSMR, for least-squares problems and systems of any shape."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.vector import mul
from jaxsolve.solvers.krylov.basis import (
    Bidiagonal,
    bidiagonalise,
    bidiagonalise_on,
    quotient,
    right,
    rotation,
)
from jaxsolve.solvers.krylov.bidiagonal_method import AbstractBidiagonal
from jaxsolve.solvers.method import State


class Tail(eqx.Module):
    """What the norm of the residual is computed from (Fong and Saunders 2011, section 5.1, in its letters)."""

    beta_ddot: Array
    beta_dot: Array
    rho_dot: Array
    theta: Array
    tau: Array


class LSMRState(State):
    """The iterate (before the preconditioner), the directions and the two QR factorisations.

    Attributes:
        x: The iterate.
        h: The direction of LSQR.
        h_bar: The direction of LSMR.
        process: The bidiagonalisation.
        alpha_bar: Entry on the diagonal that awaits the first rotation.
        rho: Diagonal of the first factor.
        rho_bar: Diagonal of the second factor.
        c_bar: Cosine of the second rotation; `s_bar` is its sine.
        zeta: Coefficient of the last step.
        zeta_bar: ‖Bᴴr‖ for B = A M, with a sign.
        tail: Source of the residual's norm.
        residual_norm: ‖r‖.
        slope: ‖Bᴴr‖ / ‖r‖.
        halt: 0.
    """

    x: Array
    h: Array
    h_bar: Array
    process: Bidiagonal
    alpha_bar: Array
    rho: Array
    rho_bar: Array
    c_bar: Array
    s_bar: Array
    zeta: Array
    zeta_bar: Array
    tail: Tail
    residual_norm: Array
    slope: Array
    halt: Array


class LSMR(AbstractBidiagonal):
    """LSMR, preconditioned from the right: least squares with ‖Aᴴr‖ falling in every step.

    Is MINRES on AᴴA x = Aᴴb without its rounding. As ‖Aᴴr‖ is minimised, a least-squares problem can be left
    earlier than by LSQR.

    Args:
        damp: λ of Tikhonov's min ‖b - A x‖² + λ²‖x‖², which has one solution whatever `x0`, A and its rank; a number or
            a traced scalar, for sweeps under `jax.vmap`. It is judged as least squares: `info.residual` is b - A x, and
            `info.residual_norm` the root of the sum.

    Raises:
        StructureError: If `damp` is negative, not finite, not real or no scalar; a ValueError.
        NotConverged: Out of a solve: `max_iterations`; `inconsistent` where A is square and b out of its range.

    Solves: min ‖b - A x‖ with A of shape (m, n) and any rank, real or complex; from x0 = 0 the x of least norm. With a
        preconditioner M, A is to have full rank: without it M⁻¹x is what is shortest, and derivatives, which are
        those of A⁺b, are not its. M has shape (n, n) where m >= n, else (m, m), and b is in the range of A.
    Cost: one product with A, one with its adjoint, and as many preconditioner applications an iteration; 5 vectors
        of storage, one of length m and four of length n.
    Source: Fong and Saunders (2011), LSMR: an iterative algorithm for sparse least-squares problems.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), jnp.array([1.0, 0.0, 2.0])
    >>> info = js.solve_linear_info(A, b, js.Solve(js.LSMR()))
    >>> info.status.name, [round(v, 3) for v in info.x.tolist()]
    ('least_squares', [0.5, 0.5])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.LSMR(damp=1.0))).tolist()]
    [0.4, 0.467]
    """

    name: ClassVar[str] = "lsmr"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "5"

    def start(self, A, M, r):
        g = bidiagonalise(right(A, M), r)
        zeros, zero, one = jnp.zeros_like(g.v), jnp.zeros_like(g.beta), jnp.ones_like(g.beta)
        return LSMRState(
            x=zeros, h=g.v, h_bar=zeros, process=g, alpha_bar=g.alpha, rho=one, rho_bar=one, c_bar=one, s_bar=zero,
            zeta=zero, zeta_bar=g.alpha * g.beta, tail=Tail(g.beta, zero, one, zero, zero),
            residual_norm=g.beta, slope=g.alpha, halt=jnp.array(0),
        )  # fmt: skip

    def step(self, A, M, s):
        # The numbers are the steps of Fong and Saunders's algorithm LSMR, with A M for their A.
        g = bidiagonalise_on(right(A, M), s.process)  # 3: β u = A v - α u, α v = Aᴴu - β v
        # The bidiagonal matrix is made upper bidiagonal (ρ, θ), and that one's transpose again (ρ̄, θ̄).
        c, sine, rho = rotation(s.alpha_bar, g.beta)  # 4: ρ = √(ᾱ² + β²)
        theta, alpha_bar = sine * g.alpha, c * g.alpha  # θ = s α, ᾱ = c α
        theta_bar = s.s_bar * rho  # 5: θ̄ = s̄ ρ
        c_bar, s_bar, rho_bar = rotation(s.c_bar * rho, theta)  # ρ̄ = √((c̄ ρ)² + θ²)
        zeta, zeta_bar = c_bar * s.zeta_bar, -s_bar * s.zeta_bar  # ζ = c̄ ζ̄, ζ̄ = -s̄ ζ̄
        h_bar = s.h - mul(quotient(theta_bar * rho, s.rho * s.rho_bar), s.h_bar)  # 6: h̄ = h - (θ̄ρ/ρρ̄) h̄
        x = s.x + mul(quotient(zeta, rho * rho_bar), h_bar)  # x = x + ζ / (ρ ρ̄) h̄
        h = g.v - mul(quotient(theta, rho), s.h)  # h = v - (θ / ρ) h
        tail, residual_norm = _shortened(s.tail, c, sine, theta_bar, rho_bar, s.zeta, zeta)
        return LSMRState(
            x=x, h=h, h_bar=h_bar, process=g, alpha_bar=alpha_bar, rho=rho, rho_bar=rho_bar, c_bar=c_bar,
            s_bar=s_bar, zeta=zeta, zeta_bar=zeta_bar, tail=tail,
            residual_norm=residual_norm, slope=quotient(jnp.abs(zeta_bar), residual_norm), halt=jnp.array(0),
        )  # fmt: skip


def _shortened(t: Tail, c, s, theta_bar, rho_bar, zeta_old, zeta) -> tuple[Tail, Array]:
    """The tail after a step, and the norm of the residual."""
    beta_hat, beta_ddot = c * t.beta_ddot, -s * t.beta_ddot
    c_tilde, s_tilde, rho_tilde = rotation(t.rho_dot, theta_bar)
    theta, rho_dot = s_tilde * rho_bar, c_tilde * rho_bar
    beta_dot = c_tilde * beta_hat - s_tilde * t.beta_dot
    tau = quotient(zeta_old - t.theta * t.tau, rho_tilde)
    tau_dot = quotient(zeta - theta * tau, rho_dot)
    return Tail(beta_ddot, beta_dot, rho_dot, theta, tau), jnp.hypot(beta_dot - tau_dot, beta_ddot)
