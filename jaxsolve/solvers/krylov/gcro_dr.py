"""GMRES that keeps the slow directions of a cycle for the next one, and for the next solve."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, plain_norm, scattered
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.krylov.basis import Arnoldi, arnoldi, extend, orthogonalise, precondition, right
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.krylov.kept_space import (
    AbstractRecycling,
    combined,
    images,
    inner,
    orthonormal_images,
    unit_rows,
)
from jaxsolve.solvers.method import State

#: Rounds of the iteration for the slowest directions; any subspace is a right one.
ROUNDS = 12


class Kept(eqx.Module):
    """Rows Y with A M Y = C, C orthonormal; zero where there are none."""

    Y: Array
    C: Array


class GCRODRState(State):
    """The kept space, the basis of the Krylov space of (I - C Cᴴ) A M, its part B = CᴴA M V, and Cᴴr."""

    x: None
    kept: Kept
    space: Arnoldi
    B: Array
    share: Array
    residual_norm: Array
    halt: Array


class GCRODR(GMRES, AbstractRecycling):
    """GMRES on the complement of the images of a kept space, which gets its part of the solution at once.

    Preconditioned from the right: the rows are of the unknown y of A M y = r, x = M y.

    Source: Parks, de Sturler, Mackey, Johnson and Maiti (2006), algorithm GCRO-DR (appendix).
    """

    count: int = eqx.field(static=True, default=1)

    @property
    def opening_products(self) -> int:
        return self.count

    def opened(self, A: LinearOperator, M: LinearOperator | None, rows: Array) -> Kept:
        return Kept(*orthonormal_images(rows, images(right(A, M), rows)))

    def rows(self, kept: Kept) -> Array:
        return unit_rows(kept.Y)

    def resume(self, A: LinearOperator, M: LinearOperator | None, r: Array, kept: Kept) -> Any:
        share, r = orthogonalise(kept.C, r)
        m = min(self.restart, r.shape[0])
        space = arnoldi(r, m)
        B = jnp.zeros((self.count, m), r.dtype)
        return GCRODRState(None, kept, space, B, share, space.residual_norm, jnp.array(0))

    def step(self, A, M, s):
        w = right(A, M).mv(s.space.v)
        b, rest = orthogonalise(s.kept.C, w)
        space = extend(s.space, rest, plain_norm(w))
        B = s.B.at[:, s.space.size].set(b)
        halt = jnp.where(space.full, int(Status.stagnation), 0)
        halt = jnp.where(space.singular, int(Status.singular), halt)
        return GCRODRState(None, s.kept, space, B, s.share, space.residual_norm, halt)

    def finish(self, A, M, s):
        # x = M (V y + Y (Cᴴr - B y)) with the y of least residual
        y = s.space.coefficients()
        own = s.share - jnp.matmul(s.B, y, precision=lax.Precision.HIGHEST)
        return precondition(M, combined(y, s.space.V[: y.shape[0]]) + combined(own, s.kept.Y))

    def renewed(self, A: LinearOperator, M: LinearOperator | None, s: GCRODRState) -> Kept:
        # V̂ = [Y, V_m] and Ŵ = [C, V_{m+1}] with A M V̂ = Ŵ E.
        k, m, space, dtype = self.count, s.B.shape[1], s.space, s.B.dtype
        used, live = jnp.arange(m) < space.size, jnp.any(s.kept.C != 0, axis=-1)
        lengths = jnp.sqrt(jnp.sum(jnp.square(jnp.abs(s.kept.Y)), axis=-1))
        shrink = jnp.where(live, 1 / jnp.where(live, lengths, 1), 1).astype(lengths.dtype)
        Y = mul(jnp.where(live, shrink, 0)[:, None], s.kept.Y)
        E = jnp.zeros((k + m + 1, k + m), dtype)
        E = E.at[:k, :k].set(jnp.diag(shrink).astype(dtype)).at[:k, k:].set(jnp.where(used, s.B, 0))
        E = E.at[k:, k:].set(jnp.where(used, space.H, jnp.eye(m + 1, m, k=-1, dtype=dtype)))
        # The products of Ŵ and V̂ are P.
        P = jnp.zeros_like(E).at[:k, :k].set(inner(s.kept.C, Y)).at[k:, :k].set(inner(space.V, Y))
        P = P.at[k:, k:].set(jnp.where(used, jnp.eye(m + 1, m, dtype=dtype), 0))
        coefficients = slowest(E, P, k)
        rows = combined(coefficients[:k], Y) + combined(coefficients[k:], space.V[:m])
        E = E @ coefficients
        new = combined(E[:k], s.kept.C) + combined(E[k:], space.V)
        return Kept(*orthonormal_images(rows, new))


def slowest(E: Array, P: Array, count: int) -> Array:
    """The coefficients of the harmonic Ritz vectors of the smallest values, θ EᴴP z = EᴴE z, as an orthonormal basis.

    They span the dominant space of T = E⁺P, which orthogonal iteration finds in real arithmetic; `eig` would give
    complex pairs.
    """
    Q, R = jnp.linalg.qr(E)
    T = solve_triangular(R, jnp.matmul(jnp.conj(Q.T), P, precision=lax.Precision.HIGHEST))
    # Coefficients of A are near 1, and so a row of a singular E is told by what is not finite.
    T = jnp.where(jnp.isfinite(T), T, 0)
    size = E.shape[1]
    start = scattered(size * count, E.real.dtype).reshape(size, count).astype(E.dtype)

    def turned(_: Any, Q: Array) -> Array:
        return jnp.linalg.qr(jnp.matmul(T, Q, precision=lax.Precision.HIGHEST))[0]

    return lax.fori_loop(0, ROUNDS, turned, jnp.linalg.qr(start)[0])
