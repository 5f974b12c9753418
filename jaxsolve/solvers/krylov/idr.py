"""The induced dimension reduction method, for any square system without an adjoint."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, plain_norm, squared_norm
from jaxsolve.solvers.base import AbstractMethod, State
from jaxsolve.solvers.krylov.basis import negligible, precondition, quotient, right

#: Cosine below which the minimal step is lengthened (Sleijpen and van der Vorst 1995 recommend 0.7).
ANGLE = 0.7


class IDRState(State):
    """Iterate (before the preconditioner), residual, shadow space P, directions U with G = A U, products P G."""

    x: Array
    r: Array
    P: Array
    U: list[Any]
    G: list[Any]
    PG: Array
    omega: Array
    residual_norm: Array
    halt: Array


class IDR(AbstractMethod):
    """IDR(s) with biorthogonal residuals (van Gijzen and Sonneveld 2011, Algorithm 2), preconditioned from the right.

    One iteration takes the residual from one space of the shrinking sequence to the next: s + 1 products with A and
    as many preconditioner applications. s = 1 is close to Bi-CGSTAB, s = 4 often close to full GMRES. 3 s + 4
    vectors of storage. The shadow space is the same in every run.

    Args:
        s: Dimension of the shadow space, at least 1.
    """

    name: ClassVar[str] = "IDR(s)"
    option: ClassVar[str | None] = "s"
    storage: ClassVar[str] = "3 s + 4"
    cost: ClassVar[str] = "s + 1 products"

    s: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        if self.s < 1:
            raise ValueError(f"IDR(s={self.s}): the dimension s of the shadow space has to be at least 1.")

    @property
    def products(self):
        return self.s + 1

    def start(self, A, M, r):
        zeros, one = jnp.zeros_like(r), jnp.ones((), r.dtype)
        P = shadow_space(self.s, r)
        none = [zeros] * self.s
        PG = jnp.eye(self.s, dtype=r.dtype)
        return IDRState(zeros, r, P, none, none, PG, one, plain_norm(r), jnp.array(0))

    def step(self, A, M, s):
        B = right(A, M)
        x, r, U, G, PG = s.x, s.r, list(s.U), list(s.G), s.PG
        f, broken = _products(s.P, r), jnp.array(False)
        for k in range(self.s):
            # c makes v = r - G c orthogonal to P[k:]; PG is lower triangular.
            c = _solved_lower(PG[k:, k:], f[k:])
            v = r - _combined(c, G[k:])
            u = _combined(c, U[k:]) + s.omega * v
            g = B.mv(u)
            # The new pair is made orthogonal to P[:k].
            for i in range(k):
                weight = quotient(dot(s.P[i], g), PG[i, i])
                g, u = g - weight * G[i], u - weight * U[i]
            U[k], G[k] = u, g
            column = _products(s.P, g)
            PG = PG.at[k:, k].set(column[k:])
            broken |= negligible(PG[k, k], plain_norm(g))
            beta = quotient(f[k], PG[k, k])
            x, r = x + beta * u, r - beta * g
            f = f.at[k:].add(-beta * column[k:]).at[k].set(0)
        t = B.mv(r)
        omega = _lengthened(t, r)
        x, r, r_norm = x + omega * r, r - omega * t, plain_norm(r - omega * t)
        halt = jnp.where(broken | (omega == 0), int(Status.breakdown), 0)
        return IDRState(x, r, s.P, U, G, PG, omega, r_norm, halt)

    def finish(self, A, M, s):
        return precondition(M, s.x)


def _products(P: Array, v: Array) -> Array:
    return jnp.matmul(jnp.conj(P), v, precision=lax.Precision.HIGHEST)


def _combined(c: list[Array], vectors: list[Array]) -> Array:
    return sum((weight * v for weight, v in zip(c[1:], vectors[1:], strict=True)), c[0] * vectors[0])


def _solved_lower(L: Array, f: Array) -> list[Array]:
    """The solution of L c = f by forward substitution, for a handful of unknowns."""
    c: list[Array] = []
    for i in range(f.shape[0]):
        rest = f[i] - sum((L[i, j] * c[j] for j in range(i)), jnp.zeros_like(f[i]))
        c.append(quotient(rest, L[i, i]))
    return c


def _lengthened(t: Array, r: Array) -> Array:
    """The ω that minimises ‖r - ω t‖, lengthened where t is nearly orthogonal to r."""
    tt, tr = squared_norm(t), dot(t, r)
    cosine = quotient(jnp.abs(tr), jnp.sqrt(tt) * plain_norm(r))
    return quotient(tr, tt) * jnp.where(cosine < ANGLE, quotient(jnp.asarray(ANGLE, tt.dtype), cosine), 1)


def shadow_space(s: int, r: Array) -> Array:
    """An orthonormal basis of shape (s, n), like r, of a space that is unrelated to it; the same every time.

    Rows beyond n are zero.
    """
    n = r.shape[0]
    # Multiply and shift (a finaliser of MurmurHash3), so that no state and no configuration of jax.random matters.
    index = lax.iota(jnp.uint32, n) * jnp.uint32(s)
    rows: list[Array] = []
    for k in range(s):
        bits = (index + jnp.uint32(k + 1)) * jnp.uint32(0xCC9E2D51)
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
        bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
        v = (bits ^ (bits >> 16)).astype(r.dtype) / 2**31 - 1
        length = plain_norm(v)
        for p in rows + rows:
            v = v - dot(p, v) * p
        rest = plain_norm(v)
        v = jnp.where(negligible(rest, 64 * length), 0, quotient(v, rest))
        rows.append(v)
    return jnp.stack(rows)
