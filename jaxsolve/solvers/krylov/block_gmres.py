"""Block GMRES, for many right-hand sides of one matrix."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core import columns
from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, plain_norm
from jaxsolve.solvers.krylov.block import independent, row_norms, rows_of
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.krylov.kept_space import combined, inner
from jaxsolve.solvers.method import State

#: Products depend on others where the rest of one has less than this share of its energy, in rounding errors.
DEPENDENT = 100


class BlockGMRESState(State):
    """Of all columns: iterates, residuals, next directions; Z and Q = A Z of each step, Q orthonormal."""

    X: Array
    R: Array
    D: Array
    Z: Array
    Q: Array
    steps: Array
    residual_norm: Array
    halt: Array
    x: None = None


class BlockGMRES(GMRES):
    """Restarted GMRES that searches for all columns of `js.solve_linear_many` in one space.

    The residual of each column is the least one over the Krylov spaces of all. Products that depend on others are left
    out (breakdown-free). A column ends by its own tolerance and is left alone from there. A single right-hand side, and
    each lane of `jax.vmap`, is solved by `GMRES`.

    Args:
        restart: Steps of a cycle, at least 1.

    Raises:
        ValueError: If `restart` is no integer of at least 1.
        NotConverged: Out of a solve: `breakdown` where no direction is left, `stagnation` where a cycle gains nothing.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone.
    Cost: one product with A, one preconditioner application and 8 (restart + 2) k n operations an iteration and column,
        of k columns; 2 restart + 5 vectors of storage a column.
    Source: Walker and Zhou (1994), A simpler GMRES; its blocks: Liu and Zhong (2008), Simpler block GMRES.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, B = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([[3.0, 1.0], [4.0, 8.0]])
    >>> js.solve_linear_many(A, B, js.Solve(js.BlockGMRES())).round(3).tolist()
    [[1.0, -0.5], [1.0, 2.0]]
    """

    name: ClassVar[str] = "block-GMres"
    blocks: ClassVar[bool] = True
    recycles: ClassVar[bool] = False
    spreads: ClassVar[bool] = False
    storage: ClassVar[str] = "2 restart + 5"

    def start(self, A, M, r):
        if not columns.are_together():
            return super().start(A, M, r)
        R = columns.gathered(r)
        # One column must not spoil the space of all.
        R = jnp.where(jnp.isfinite(row_norms(R))[:, None], R, 0)
        basis = jnp.zeros((max(1, min(self.restart, r.shape[0])), *R.shape), R.dtype)
        none = jnp.array(0)
        return BlockGMRESState(jnp.zeros_like(R), R, _directions(R), basis, basis, none, plain_norm(r), none)

    def advance(self, A, M, s, k, goal, limit):
        if not isinstance(s, BlockGMRESState):
            return super().advance(A, M, s, k, goal, limit)
        active = columns.gathered(s.residual_norm > goal)
        Z = rows_of(M, s.D)
        Q = rows_of(A, Z)
        Z, Q, found = _orthonormal(Z, Q, *(v.reshape(-1, v.shape[-1]) for v in (s.Z, s.Q)))
        c = inner(Q, s.R)
        X = s.X + combined(jnp.where(active, c, 0), Z)
        R = s.R - combined(c, Q)
        norms = row_norms(R)
        steps = s.steps + 1
        own = columns.own(active)
        halt = jnp.where(steps == len(s.Q), int(Status.stagnation), 0)
        halt = jnp.where(jnp.any(found), halt, int(Status.breakdown))
        return k + own, BlockGMRESState(
            X,
            R,
            Q,
            lax.dynamic_update_index_in_dim(s.Z, Z, s.steps, 0),
            lax.dynamic_update_index_in_dim(s.Q, Q, s.steps, 0),
            steps,
            jnp.where(own, columns.own(norms), s.residual_norm),
            halt,
        )

    def finish(self, A, M, s):
        return columns.own(s.X) if isinstance(s, BlockGMRESState) else super().finish(A, M, s)


def _directions(R: Array) -> Array:
    """Rows of norm 1; zero rows stay."""
    norms = row_norms(R)
    return mul(jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0)[:, None], R)


def _orthonormal(Z: Array, Q: Array, old_Z: Array, old_Q: Array) -> tuple[Array, Array, Array]:
    """Z and Q = A Z with Q orthonormal to itself and to old rows; zero rows in place of what depends on others.

    Both are done twice, since much of Q may cancel (Giraud, Langou, Rozložník (2005): twice is enough).
    """
    tiny, removed = DEPENDENT * float(jnp.finfo(Q.dtype).eps), jnp.zeros(len(Q), row_norms(Q).dtype)
    usable = (jnp.isfinite(row_norms(Q)) & jnp.isfinite(row_norms(Z)))[:, None]
    Z, Q = jnp.where(usable, Z, 0), jnp.where(usable, Q, 0)
    for _ in range(2):
        c = inner(old_Q, Q)
        Z, Q = Z - combined(c, old_Z), Q - combined(c, old_Q)
        removed = removed + jnp.sum(jnp.square(jnp.abs(c)), axis=0)
    rest = jnp.square(row_norms(Q)) > tiny**2 * removed
    for _ in range(2):
        G = jnp.where(rest[:, None] & rest, inner(Q, Q), 0)
        W, signs = independent(G, tiny)
        Z, Q, rest = combined(W, Z), combined(W, Q), signs > 0
    return Z, Q, rest
