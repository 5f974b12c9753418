"""Memory: the inverse Hessian of L-BFGS, applied in few operations on all pairs of the last steps together."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import dot, norm


class Memory(eqx.Module):
    """The last pairs of a step s and the change y of the gradient along it, the oldest one overwritten.

    With R the part of SᵀY in which no y is older than its s, and D its diagonal,
    H = γ I + [S γY] [[R⁻ᵀ (D + γ YᵀY) R⁻¹, -R⁻ᵀ], [-R⁻¹, 0]] [S γY]ᵀ. The rows of R may come in any order, and those of
    pairs that are no more in R⁻¹ are zero. Two loops over the pairs (Nocedal & Wright, algorithm 7.4) are some forty
    operations one after the other.

    Attributes:
        steps: Rows s, shape (memory, n); row k holds every pair of number k modulo memory.
        changes: Rows y.
        inverse: R⁻¹.
        curvatures: D, shape (memory,).
        squares: YᵀY.
        scale: γ = s·y / y·y of the last pair.
        count: Pairs noted so far.

    Source: Byrd, Nocedal & Schnabel (1994), Representations of quasi-Newton matrices, theorem 2.2.
    """

    steps: Array
    changes: Array
    inverse: Array
    curvatures: Array
    squares: Array
    scale: Array
    count: Array

    @classmethod
    def empty(cls, memory: int, x: Array) -> "Memory":
        """No pairs, and room for so many of vectors like x."""
        rows, square = jnp.zeros((memory, x.shape[0]), x.dtype), jnp.zeros((memory, memory), x.dtype)
        return cls(rows, rows, square, square[0], square, square[0, 0], jnp.array(0, jnp.int32))

    @property
    def known(self) -> Array:
        """Whether there is a pair."""
        return self.count > 0

    def noted(self, s: Array, y: Array) -> "Memory":
        """With one more pair, unless its curvature is not positive: that would make the Hessian indefinite."""
        curved = dot(s, y)
        useful = curved > jnp.finfo(s.dtype).eps * norm(s) * norm(y)
        memory = self.steps.shape[0]
        row = self.count % memory
        steps, changes = (
            lax.dynamic_update_index_in_dim(rows, jnp.where(useful, new, rows[row]), row, 0)
            for rows, new in ((self.steps, s), (self.changes, y))
        )
        here = (jnp.arange(memory, dtype=row.dtype) == row) & useful
        old = jnp.where(here[:, None] | here[None, :], 0, self.inverse)
        # The last column of the inverse of [[R, Sᵀy], [0, s·y]].
        column = (here.astype(old.dtype) - old @ (steps @ y)) / jnp.where(useful, curved, 1)
        squares = changes @ y
        return Memory(
            steps,
            changes,
            jnp.where(here, column[:, None], old),
            jnp.where(here, curved, self.curvatures),
            jnp.where(here, squares[:, None], jnp.where(here[:, None], squares, self.squares)),
            jnp.where(useful, curved / jnp.where(useful, dot(y, y), 1), self.scale),
            self.count + useful.astype(self.count.dtype),
        )

    def forgotten(self, forget: Array) -> "Memory":
        """Empty where `forget`."""
        inverse, count = jnp.where(forget, 0, self.inverse), jnp.where(forget, 0, self.count)
        return eqx.tree_at(lambda m: (m.inverse, m.count), self, (inverse, count))

    def applied(self, v: Array, first: Array) -> Array:
        """H v; `first` v where there are no pairs."""
        scale = jnp.where(self.known, self.scale, first)
        u = self.inverse @ (self.steps @ v)
        w = (self.curvatures * u + scale * (self.squares @ u - self.changes @ v)) @ self.inverse
        return scale * (v - u @ self.changes) + w @ self.steps
