"""The transpose-free quasi-minimal residual method, for any square system without an adjoint."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, mul, plain_norm, squared_norm
from jaxsolve.solvers.krylov.basis import negligible, precondition, quotient, right
from jaxsolve.solvers.method import AbstractMethod, State


class TFQMRState(State):
    """Iterate (before the preconditioner) and its direction d; residual w, shadow and directions of CGS.

    `tau`, `theta` and `eta` belong to the quasi-minimisation, `count` is the number of half steps.
    """

    x: Array
    d: Array
    w: Array
    shadow: Array
    y: Array
    v: Array
    Ay: Array
    rho: Array
    tau: Array
    theta: Array
    eta: Array
    count: Array
    residual_norm: Array
    halt: Array


class TFQMR(AbstractMethod):
    """Transpose-free QMR, preconditioned from the right.

    The directions of CGS with a smooth residual, judged by its upper bound τ√(m + 1) after m half steps.

    Raises:
        NotConverged: Out of a solve: `breakdown` where A y, or the residual, is orthogonal to the shadow residual.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone.
    Cost: two products with A and two preconditioner applications an iteration; 7 vectors of storage.
    Source: Freund (1993); Saad (2003), algorithm 7.8.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([4.0, 8.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.TFQMR())).tolist()]
    [1.0, 2.0]
    """

    name: ClassVar[str] = "tfQMR"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "7"
    cost: ClassVar[str] = "2 products"

    @property
    def products(self):
        return 2

    @property
    def start_products(self):
        return 1

    def start(self, A, M, r):
        v = right(A, M).mv(r)
        rr, zeros = squared_norm(r), jnp.zeros_like(r)
        tau, zero = jnp.sqrt(rr), jnp.zeros_like(rr)
        rho, eta, count = rr.astype(r.dtype), jnp.zeros_like(r[0]), jnp.array(0)
        return TFQMRState(zeros, zeros, r, r, r, v, v, rho, tau, zero, eta, count, tau, jnp.array(0))

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 7.8, two of whose steps are one here, with A M for his A.
        B = right(A, M)
        sigma = dot(s.shadow, s.v)
        size = plain_norm(s.shadow)
        broken = negligible(sigma, size * plain_norm(s.v))
        alpha = jnp.where(broken, 0, quotient(s.rho, sigma))  # 6: α = ρ / (v, r*)
        half = _smoothed(s, s.y, s.Ay, alpha)  # 9 to 13, m even
        y = s.y - alpha * s.v  # 7: u = u - α v, his u is y here
        Ay = B.mv(y)
        whole = _smoothed(half, y, Ay, alpha)  # 9 to 13, m odd
        rho = dot(s.shadow, whole.w)
        broken |= negligible(rho, size * plain_norm(whole.w))
        beta = quotient(rho, s.rho)  # 15: β = ρ / ρ before
        y_next = whole.w + beta * y  # 16
        Ay_next = B.mv(y_next)
        v = Ay_next + beta * (Ay + beta * s.v)  # 17
        halt = jnp.where(broken, int(Status.breakdown), 0)
        t = whole
        return TFQMRState(
            t.x,
            t.d,
            t.w,
            s.shadow,
            y_next,
            v,
            Ay_next,
            rho,
            t.tau,
            t.theta,
            t.eta,
            t.count,
            t.residual_norm,
            halt,
        )

    def finish(self, A, M, s):
        return precondition(M, s.x)


def _smoothed(s: TFQMRState, y: Array, Ay: Array, alpha: Array) -> TFQMRState:
    """Half a step along y: the residual of CGS, and the quasi-minimal iterate."""
    w = s.w - alpha * Ay  # 9
    d = y + mul(quotient(mul(jnp.square(s.theta), s.eta), alpha), s.d)  # 10: d = u + (θ²/α) η d
    theta = quotient(plain_norm(w), s.tau)  # 11: θ = ‖w‖ / τ
    c = 1 / jnp.sqrt(1 + jnp.square(theta))  # 11
    tau = s.tau * theta * c  # 12
    eta = mul(jnp.square(c), alpha)  # 12: η = c² α
    count = s.count + 1
    bound = tau * jnp.sqrt(count + 1).astype(tau.dtype)
    return TFQMRState(s.x + eta * d, d, w, s.shadow, y, s.v, Ay, s.rho, tau, theta, eta, count, bound, s.halt)
