"""Conjugate gradients that start with the slow directions of an earlier solve, and find new ones on the way."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, plain_norm, real_dot, squared_norm
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.krylov.basis import precondition, quotient
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.krylov.kept_space import (
    AbstractRecycling,
    combined,
    images,
    inner,
    scaled_columns,
    unit_rows,
)
from jaxsolve.solvers.method import State

#: Vectors of the window for each direction that is kept, and the share of these that is kept of the step before. On
#: diffusion with varying coefficients, 64² and 8 directions, in NumPy, 520 iterations became 318 with windows of 20,
#: 24, 32 and 48; 322 with 2 vectors of the step before, 318 with 4 and with 8, and 386 with none.
WINDOW, BEFORE = 3, 4


class Deflation(eqx.Module):
    """The space that is kept out of the iteration, W of k rows with WᴴA W = ±1.

    Attributes:
        W: The rows, the dependent ones zero.
        AW: Their images.
        sign: The signs of wᴴA w, 0 of the zero rows.
    """

    W: Array
    AW: Array
    sign: Array

    def weights(self, products: Array) -> Array:
        """(WᴴA W)⁻¹ times vectors of k products."""
        return mul(self.sign, products)


class Window(eqx.Module):
    """Vectors of the Krylov space, orthonormal in the product of A up to signs, and what Rayleigh and Ritz need.

    Attributes:
        Z: The vectors as rows, shape (m, n); zero where not in use.
        G: ZᴴA M A Z, shape (m, m).
        ZAW: ZᴴA W, shape (m, k).
        ZAp: ZᴴA p of the direction before the next one, shape (m,).
        size: Rows in use.
    """

    Z: Array
    G: Array
    ZAW: Array
    ZAp: Array
    size: Array

    def slowest(self, size: Array, count: int) -> Array:
        """Coefficients, shape (m, count), of the harmonic Ritz vectors of the smallest values among `size` rows."""
        m = self.Z.shape[0]
        used = jnp.arange(m) < size
        G = jnp.where(used[:, None] & used, self.G, 0)
        beyond = 2 * jnp.sum(jnp.abs(jnp.diagonal(G))) + 1
        G = G + jnp.diag(jnp.where(used, 0, beyond)).astype(G.dtype)
        return jnp.linalg.eigh(G)[1][:, :count]

    def shrunk(self, count: int) -> "Window":
        """The space of the slowest vectors now and one step before, which keeps what Lanczos' process would gain.

        Stathopoulos and Orginos (2010): with the ones of now alone the process loses its pace.
        """
        before = max(1, count // BEFORE)
        now, then = jax.vmap(lambda size: self.slowest(size, count))(jnp.stack([self.size, self.size - 1]))
        Y = jnp.concatenate([now, then[:, :before]], axis=1)
        Y, kept = jnp.linalg.qr(Y)[0], count + before

        def turned(v: Array) -> Array:
            """Yᴴv in the first rows."""
            new = jnp.matmul(jnp.conj(Y.T), v, precision=lax.Precision.HIGHEST)
            return jnp.zeros_like(v).at[:kept].set(new)

        G = jnp.zeros_like(self.G).at[:kept, :kept].set(turned(turned(self.G).conj().T)[:kept, :kept])
        Z = jnp.zeros_like(self.Z).at[:kept].set(combined(Y, self.Z))
        size = jnp.full_like(self.size, kept)
        return Window(Z, G, turned(self.ZAW), turned(self.ZAp), size)


class DeflatedState(State):
    """The state of CG, the weights μ of the kept space in the last direction, the space, and the window."""

    x: Array
    r: Array
    z: Array
    p: Array
    Ap: Array
    rho: Array
    pAp: Array
    beta: Array
    mu: Array
    residual_norm: Array
    halt: Array
    positive: Array
    negative: Array
    space: Deflation
    window: Window


class DeflatedCG(CG, AbstractRecycling):
    """CG on the complement of a kept space, which gets its part of the solution at once.

    Harmonic Ritz vectors of the smallest values are found in a window of directions p, which are conjugate: all inner
    products that they need are among the coefficients of the recurrences, and no product is spent.

    Source: Saad, Yeung, Erhel and Guyomarc'h (2000), algorithm 3.5 and section 5.1; Stathopoulos and Orginos (2010)
        for the window.
    """

    count: int = eqx.field(static=True, default=1)

    @property
    def start_products(self) -> int:
        return 1 + self.count

    def opened(self, A: LinearOperator, M: LinearOperator | None, rows: Array) -> Array:
        return rows

    def rows(self, kept: Array) -> Array:
        return kept

    def resume(self, A: LinearOperator, M: LinearOperator | None, r: Array, kept: Array) -> Any:
        space = deflation(A, kept)
        W, AW = space.W, space.AW
        share = space.weights(inner(W, r))  # (WᴴA W)⁻¹ Wᴴr
        x, r = share @ W, r - share @ AW
        z = precondition(M, r)
        mu = space.weights(inner(AW, z))
        p = z - mu @ W
        Ap = A.mv(p)
        m, k = WINDOW * self.count, self.count
        G = inner(AW, AW if M is None else images(M, AW))
        window = Window(
            Z=jnp.zeros((m, r.shape[0]), r.dtype).at[:k].set(W),
            G=jnp.zeros((m, m), r.dtype).at[:k, :k].set(G),
            ZAW=jnp.zeros((m, k), r.dtype).at[:k].set(jnp.diag(space.sign).astype(r.dtype)),
            ZAp=jnp.zeros(m, r.dtype),
            size=jnp.sum(space.sign != 0),
        )
        rho, no = real_dot(r, z), jnp.array(False)
        return DeflatedState(
            x, r, z, p, Ap, rho, real_dot(p, Ap), jnp.zeros_like(rho), mu, plain_norm(r), jnp.array(0), no, no,
            space, window,
        )  # fmt: skip

    def step(self, A, M, s):
        # The numbers are the lines of Saad and others' algorithm 3.5.
        broken = (s.pAp == 0) | (s.rho == 0)
        alpha = s.rho / jnp.where(s.pAp == 0, jnp.inf, s.pAp)  # 4
        x = s.x + mul(alpha, s.p)  # 5
        r = s.r - mul(alpha, s.Ap)  # 6
        z = precondition(M, r)
        rr = squared_norm(r)
        rho = rr if M is None else real_dot(r, z)
        beta = rho / jnp.where(s.rho == 0, jnp.inf, s.rho)  # 7
        mu = s.space.weights(inner(s.space.AW, z))  # 8: (WᴴA W) μ = WᴴA z
        p = z + mul(beta, s.p) - mu @ s.space.W  # 9
        Ap = A.mv(p)
        window = _widened(s, alpha, beta, mu)
        window = _shrunk_if_full(window, self.count)
        halt = jnp.where(broken, int(Status.breakdown), 0)
        curvature = s.pAp * s.rho
        positive, negative = s.positive | (curvature > 0), s.negative | (curvature < 0)
        return DeflatedState(
            x, r, z, p, Ap, rho, real_dot(p, Ap), beta, mu, jnp.sqrt(rr), halt, positive, negative, s.space, window
        )  # fmt: skip

    def renewed(self, A: LinearOperator, M: LinearOperator | None, s: DeflatedState) -> Array:
        window = s.window
        return unit_rows(combined(window.slowest(window.size, self.count), window.Z))


def deflation(A: LinearOperator, rows: Array) -> Deflation:
    """The space of rows, orthonormal in the product of A up to signs; without what depends on others."""
    AW = images(A, rows)
    eps = jnp.finfo(rows.dtype).eps
    # What the product of A makes of a row is judged beside the sizes of both.
    energy = jnp.real(jnp.sum(jnp.conj(rows) * AW, axis=-1))
    sizes = jax.vmap(plain_norm)(rows) * jax.vmap(plain_norm)(AW)
    live = jnp.isfinite(sizes) & (jnp.abs(energy) > eps * sizes)
    scale = jnp.where(live, 1 / jnp.sqrt(jnp.where(live, jnp.abs(energy), 1)), 0)[:, None]
    W = jnp.where(live[:, None], mul(scale, rows), 0)
    AW = jnp.where(live[:, None], mul(scale, AW), 0)
    F = inner(W, AW)
    values, vectors = jnp.linalg.eigh((F + jnp.conj(F.T)) / 2)
    columns, sign = scaled_columns(values, vectors, jnp.sqrt(eps) * jnp.max(jnp.abs(values), initial=0))
    return Deflation(combined(columns, W), combined(columns, AW), sign)


def _widened(s: DeflatedState, alpha: Array, beta: Array, mu: Array) -> Window:
    """The window with the direction p of a step, which made the next one with β and μ."""
    # M A p = (z - z') / α with z = p - β p₋ + W μ, so that ZᴴA M A p = ZᴴA (W (μ - μ') - β p₋) / α for Z before p.
    w, j = s.window, s.window.size
    length, sign = jnp.sqrt(jnp.abs(s.pAp)), jnp.sign(s.pAp)
    column = jnp.matmul(w.ZAW, s.mu - mu, precision=lax.Precision.HIGHEST) - mul(s.beta, w.ZAp)
    column = quotient(column, alpha * length)
    column = column.at[j].set(quotient(sign * (1 + beta), alpha).astype(column.dtype))
    column = jnp.where(jnp.arange(column.shape[0]) <= j, column, 0)
    return Window(
        Z=w.Z.at[j].set(quotient(s.p, length)),
        G=w.G.at[:, j].set(column).at[j, :].set(jnp.conj(column)),
        ZAW=w.ZAW,
        ZAp=jnp.zeros_like(w.ZAp).at[j].set((sign * length).astype(w.ZAp.dtype)),
        size=j + 1,
    )


def _shrunk_if_full(window: Window, count: int) -> Window:
    # A loop of at most one round: `vmap` would turn a branch into a choice, with both sides computed at each step.
    return lax.while_loop(lambda w: w.size == w.Z.shape[0], lambda w: w.shrunk(count), window)
