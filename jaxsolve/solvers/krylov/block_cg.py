"""Block conjugate gradients, for many right-hand sides of one Hermitian definite matrix."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core import columns
from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, plain_norm
from jaxsolve.solvers.krylov.block import independent, row_norms, rows_of
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.krylov.kept_space import combined, inner
from jaxsolve.solvers.method import State

#: Directions of a block depend on each other where the rest of one has less than this share of its energy, in rounding
#: errors: below it what is left of it is mostly rounding.
DEPENDENT = 100


class BlockCGState(State):
    """Of all columns: iterates, residuals, directions, Wᴴ(YᴴA Y)W = diag(signs), first norms; of each the rest."""

    X: Array
    R: Array
    Y: Array
    AY: Array
    W: Array
    signs: Array
    first: Array
    residual_norm: Array
    halt: Array
    positive: Array
    negative: Array
    x: None = None


class BlockCG(CG):
    """Preconditioned conjugate gradients that search for all columns of `js.solve_linear_many` in one space.

    Each column has the least error, in the norm of A, over the Krylov spaces of all: what k columns find of the slow
    parts of A serves each of them, so that iterations fall as if A had its k outermost eigenvalues removed. Directions
    are made conjugate in each step and those that depend on others are left out (breakdown-free). A column ends by its
    own tolerance and is left alone from there. A single right-hand side, and each lane of `jax.vmap`, is solved by
    `CG`.

    Raises:
        NotConverged: Out of a solve: `negative_curvature` where the curvatures of a block took both signs,
            `breakdown` where it has no direction left.

    Solves: A x = b with A of shape (n, n), Hermitian and definite, real or complex; the preconditioner positive
        definite.
    Cost: one product with A, one preconditioner application and 16 k² n operations an iteration of k columns; one
        product more a pass; 5 vectors of storage a column.
    Source: O'Leary (1980), The block conjugate gradient algorithm and related methods; Ji and Li (2017), A
        breakdown-free block conjugate gradient method, algorithm 2, whose directions are made orthonormal in the
        product of A here.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, B = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([[1.0, 5.0], [2.0, 4.0]])
    >>> js.solve_linear_many(A, B, js.Solve(js.BlockCG())).round(3).tolist()
    [[0.091, 1.0], [0.636, 1.0]]
    """

    name: ClassVar[str] = "block-CG"
    blocks: ClassVar[bool] = True
    recycles: ClassVar[bool] = False
    spreads: ClassVar[bool] = False
    storage: ClassVar[str] = "5"

    def start(self, A, M, r):
        if not columns.are_together():
            return super().start(A, M, r)
        R = columns.gathered(r)
        space = _conjugate(A, rows_of(M, R), jnp.zeros(len(R), plain_norm(r).dtype))
        no = jnp.array(False)
        return BlockCGState(jnp.zeros_like(R), R, *space, row_norms(R), plain_norm(r), jnp.array(0), no, no)

    def advance(self, A, M, s, k, goal, limit):
        if not isinstance(s, BlockCGState):
            return super().advance(A, M, s, k, goal, limit)
        active = columns.gathered(s.residual_norm > goal)
        # The numbers are the lines of Ji and Li's algorithm 2. Its P is Y W here, which is not formed.
        c = _product(jnp.conj(s.W.T), inner(s.Y, s.R))
        alpha = _product(s.W, mul(s.signs[:, None], c))  # 4: α = (PᴴA P)⁻¹ PᴴR
        X = s.X + combined(jnp.where(active, alpha, 0), s.Y)  # 5
        # The residual of a column that is done goes on to give directions: without them those of the others would not
        # stay conjugate to the ones before the last. Of one of four that ended early, the others took 400 steps for 24.
        R = s.R - combined(alpha, s.AY)  # 6
        norms = row_norms(R)
        Z = rows_of(M, jnp.where((norms > jnp.finfo(norms.dtype).eps * s.first)[:, None], R, 0))
        # One column must not spoil the space of all.
        Z = jnp.where(jnp.isfinite(row_norms(Z))[:, None], Z, 0)
        removed = jnp.zeros_like(norms)
        # 8 and 9: Z + P β with β = -(PᴴA P)⁻¹ (A P)ᴴZ. Twice, since much of Z cancels: on a kernel matrix of condition
        # 1e5 16 columns took 279 steps with it once, 22 with it twice, CG 176.
        for _ in range(2):
            d = _product(jnp.conj(s.W.T), inner(s.AY, Z))
            Z = Z - combined(_product(s.W, mul(s.signs[:, None], d)), s.Y)
            removed = removed + jnp.sum(jnp.square(jnp.abs(d)), axis=0)
        space = _conjugate(A, Z, removed)
        own, broken = columns.own(active), active & ~jnp.any(c != 0, axis=0)
        return k + own, BlockCGState(
            X,
            R,
            *space,
            s.first,
            jnp.where(own, columns.own(norms), s.residual_norm),
            jnp.where(columns.own(broken), int(Status.breakdown), 0),
            s.positive | (own & jnp.any(s.signs > 0)),
            s.negative | (own & jnp.any(s.signs < 0)),
        )

    def finish(self, A, M, s):
        return columns.own(s.X) if isinstance(s, BlockCGState) else super().finish(A, M, s)


def _conjugate(A: Any, Y: Array, removed: Array) -> tuple[Array, Array, Array, Array]:
    """Y, A Y, W with Wᴴ(YᴴA Y)W = diag(signs), and the signs; zero columns of W for what depends on others.

    Args:
        A: The operator.
        Y: The rows.
        removed: The energy of what was taken out of each, beside which the rest may be rounding.
    """
    AY = rows_of(A, Y)
    G, eps = inner(Y, AY), float(jnp.finfo(Y.dtype).eps)
    rest = jnp.abs(jnp.diagonal(G)) > (DEPENDENT * eps) ** 2 * removed
    return Y, AY, *independent(jnp.where(rest[:, None] & rest, G, 0), DEPENDENT * eps)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
