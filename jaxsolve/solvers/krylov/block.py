"""What block methods share: products with rows, and the part of a set of rows that is independent."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import mul
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.turns import take_turns


def rows_of(A: LinearOperator | None, V: Array) -> Array:
    """A times each row; V where there is no A."""
    if A is None:
        return V
    return lax.map(A.mv, V) if take_turns(V.shape[1], A) else jax.vmap(A.mv)(V)


def row_norms(V: Array) -> Array:
    """The norms of rows of ordinary size."""
    return jnp.sqrt(jnp.sum(jnp.square(V.real) + jnp.square(V.imag), axis=1))


def independent(G: Array, least: float) -> tuple[Array, Array]:
    """W with Wᴴ G W = diag(signs); zero columns and signs in place of what depends on others.

    Cholesky's elimination with the largest diagonal next, which also inverts its factor. A loop of small steps: calls
    of LAPACK for matrices of 16 to 64 rows cost more where other threads are busy.

    Args:
        G: The inner products of rows, Hermitian, shape (k, k).
        least: What is nothing, beside 1, where rows are scaled to |g_ii| = 1.
    """
    sizes = jnp.sqrt(jnp.abs(jnp.diagonal(G).real))
    live = jnp.isfinite(sizes) & (sizes > 0)
    scales = jnp.where(live, 1 / jnp.where(live, sizes, 1), 0)
    G = jnp.where(live[:, None] & live, mul(scales[:, None] * scales, (G + jnp.conj(G.T)) / 2), 0)

    def left(G: Array) -> Array:
        return jnp.abs(jnp.diagonal(G).real)

    def eliminated(carry: tuple) -> tuple:
        G, T, pivots = carry
        j = jnp.argmax(left(G))
        g, row = G[j, j].real, G[j]
        others = (jnp.arange(len(G)) != j) & (pivots == 0)
        step = jnp.where(others, mul(1 / g, row), 0)
        G = jnp.where(others[:, None] & others, G - jnp.outer(jnp.conj(row), step), 0)
        return G, T - jnp.outer(T[:, j], step), pivots.at[j].set(g)

    start = G, jnp.eye(len(G), dtype=G.dtype), jnp.zeros_like(scales)
    _, T, pivots = lax.while_loop(lambda carry: jnp.max(left(carry[0])) > least, eliminated, start)
    signs = jnp.sign(pivots)
    lengths = jnp.where(signs != 0, 1 / jnp.sqrt(jnp.where(signs != 0, jnp.abs(pivots), 1)), 0)
    return mul(scales[:, None] * lengths, T), signs
