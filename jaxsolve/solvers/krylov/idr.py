"""The induced dimension reduction method, for any square system without an adjoint."""

import math
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from jaxsolve.core.options import is_count
from jaxsolve.core.shards import first_of, fori_loop, length, summed
from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, mul, plain_norm, squared_norm
from jaxsolve.solvers.krylov.basis import exhausted, negligible, precondition, quotient, right
from jaxsolve.solvers.method import AbstractMethod, State

#: Cosine below which the minimal step is lengthened (Sleijpen and van der Vorst 1995 recommend 0.7).
ANGLE = 0.7


class IDRState(State):
    """Iterate (before the preconditioner), residual, shadow space P, directions U with G = A U, products P G."""

    x: Array
    r: Array
    P: Array
    U: Array
    G: Array
    PG: Array
    omega: Array
    residual_norm: Array
    halt: Array


class IDR(AbstractMethod):
    """IDR(s) with biorthogonal residuals, preconditioned from the right.

    One iteration takes the residual from one space of the shrinking sequence to the next. s = 1 is close to
    Bi-CGSTAB, s = 4 often close to full GMRES. The shadow space is the same in every run.

    Args:
        s: Dimension of the shadow space, at least 1.

    Raises:
        ValueError: If s is no integer of at least 1.
        NotConverged: Out of a solve: `breakdown` where a direction is orthogonal to the shadow space, or ω is 0.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone.
    Cost: s + 1 products with A and as many preconditioner applications an iteration; 3 s + 4 vectors of storage.
    Source: Sonneveld and van Gijzen (2008), IDR(s); van Gijzen and Sonneveld (2011), Algorithm 913, its algorithm
        2.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([4.0, 8.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.IDR(s=1))).tolist()]
    [1.0, 2.0]
    """

    name: ClassVar[str] = "IDR(s)"
    option: ClassVar[str | None] = "s"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "3 s + 4"
    cost: ClassVar[str] = "s + 1 products"

    s: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        if not is_count(self.s):
            raise ValueError(
                f"IDR(s={self.s!r}): the dimension s of the shadow space has to be at least 1, an integer."
            )

    @property
    def basis(self) -> int:
        return 3 * self.s + 4

    @property
    def products(self):
        return self.s + 1

    def start(self, A, M, r):
        P, one = shadow_space(self.s, r), jnp.ones((), r.dtype)
        none, PG = jnp.zeros_like(P), jnp.eye(self.s, dtype=r.dtype)
        return IDRState(jnp.zeros_like(r), r, P, none, none, PG, one, plain_norm(r), jnp.array(0))

    def step(self, A, M, s):
        B, rows = right(A, M), jnp.arange(self.s)

        def replace(k, carry):
            x, r, U, G, PG, f, broken = carry
            # v = r - G c is orthogonal to the rows of P from k on; PG is lower triangular.
            c = solve_triangular(PG, jnp.where(rows >= k, f, 0), lower=True)
            u = _combined(c, U) + s.omega * (r - _combined(c, G))  # u = U c + ω v
            g = B.mv(u)  # g_k = A u_k
            # The pair that replaces the oldest one is orthogonal to the rows of P before k.
            c = solve_triangular(PG, jnp.where(rows < k, _products(s.P, g), 0), lower=True)
            c = jnp.where(rows < k, c, 0)
            u, g = u - _combined(c, U), g - _combined(c, G)  # (p_i, g_k) = 0 for i < k
            column = jnp.where(rows < k, 0, _products(s.P, g))
            broken |= negligible(column[k], plain_norm(g)) | exhausted(plain_norm(r), s.residual_norm)
            column = column.at[k].set(jnp.where(broken, 1, column[k]))
            U, G, PG = U.at[k].set(u), G.at[k].set(g), PG.at[:, k].set(column)
            beta = jnp.where(broken, 0, f[k] / column[k])  # β = (p_k, r) / (p_k, g_k)
            return x + beta * u, r - beta * g, U, G, PG, f - beta * column, broken  # (p_i, r) = 0, i ≤ k

        start = (s.x, s.r, s.U, s.G, s.PG, _products(s.P, s.r), jnp.array(False))
        x, r, U, G, PG, _, broken = fori_loop(self.s, replace, start)
        t = B.mv(r)
        omega = _lengthened(t, r)  # ω = (t, r) / (t, t): the step into the next space
        x, r = x + omega * r, r - omega * t
        halt = jnp.where(broken | (omega == 0), int(Status.breakdown), 0)
        return IDRState(x, r, s.P, U, G, PG, omega, plain_norm(r), halt)

    def finish(self, A, M, s):
        return precondition(M, s.x)


def _products(P: Array, v: Array) -> Array:
    """The inner products of v with the rows of P."""
    return summed(jnp.matmul(jnp.conj(P), v, precision=lax.Precision.HIGHEST))


def _combined(c: Array, rows: Array) -> Array:
    """The combination of rows with coefficients c."""
    # The road not taken: a sum over rows, which XLA does not fuse on a CPU (25 times slower for n = 512², s = 4).
    return jnp.matmul(c, rows, precision=lax.Precision.HIGHEST)


def _lengthened(t: Array, r: Array) -> Array:
    """The ω that minimises ‖r - ω t‖, lengthened where t is nearly orthogonal to r."""
    tt, tr = squared_norm(t), dot(t, r)
    cosine = quotient(jnp.abs(tr), jnp.sqrt(tt) * plain_norm(r))
    longer = jnp.where(cosine < ANGLE, quotient(jnp.asarray(ANGLE, tt.dtype), cosine), 1)
    return mul(longer, quotient(tr, tt))


def shadow_space(s: int, r: Array) -> Array:
    """Vectors of shape (s, n), like r, of about unit length and unrelated to r or each other; the same every time."""
    n = r.shape[0]
    # Multiply and shift (a finaliser of MurmurHash3), so that no state and no configuration of jax.random matters.
    bits = (lax.iota(jnp.uint32, n * s) + first_of(n * s) + jnp.uint32(1)) * jnp.uint32(0xCC9E2D51)
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    uniform = (bits ^ (bits >> 16)).astype(r.real.dtype) / 2.0**31 - 1
    # The road not taken: orthonormal rows (7 times the time of a step for n = 10⁶, and random ones are nearly so).
    return (uniform.reshape(s, n) * math.sqrt(3 / length(n))).astype(r.dtype)
