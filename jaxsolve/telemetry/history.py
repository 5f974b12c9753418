"""History: residual norms and iterates of a running solve, in buffers of fixed size."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.telemetry.trajectory import Trajectory

#: Bytes that the iterates of one call may take; of longer solves fewer iterates are kept.
MEMORY = 2**28
#: Residual norms kept at most: 0.5 MB.
MOST = 2**16
#: Iterations provided for where `max_iterations` is traced.
UNKNOWN_LIMIT = 1000


class Wish(NamedTuple):
    """What the open tapes want recorded."""

    every: int
    norms_only: bool


@dataclasses.dataclass(frozen=True)
class History:
    """The buffers of a solve: how many rows, and what is in them. Static under jit.

    Attributes:
        every: Iterations from one record to the next.
        rows: Records at most; when they are used up, only the last one is renewed, at the end.
        norms_only: Whether iterates are left out.
    """

    every: int
    rows: int
    norms_only: bool

    @classmethod
    def fitting(cls, wish: Wish, limit: int, vector_bytes: int) -> "History":
        """Buffers that hold a solve of `limit` iterations within the memory allowed.

        Args:
            wish: What is asked for.
            limit: The iteration limit.
            vector_bytes: The size of one iterate (of all systems of a batch).
        """
        most = MOST if wish.norms_only else max(2, min(MOST, MEMORY // max(vector_bytes, 1)))
        every = max(wish.every, math.ceil(limit / (most - 1)))
        return cls(every, math.ceil(limit / every) + 1, wish.norms_only)

    def start(self, x: Array, norm: Array) -> Trajectory:
        """Empty buffers with the first guess. One row more takes what is not kept."""
        rows = self.rows + 1
        empty = Trajectory(
            jnp.full(rows, -1, jnp.int32),
            jnp.full(rows, jnp.inf, norm.dtype),
            None if self.norms_only else jnp.zeros((rows, *x.shape), x.dtype),
        )
        return self._written(empty, jnp.array(0), jnp.array(0, jnp.int32), norm, lambda: x)

    def note(
        self, seen: Trajectory, before: Array, k: Array, norm: Array, x: Callable[[], Array]
    ) -> Trajectory:
        """The buffers after iteration k; iterations up to `before` are in them."""
        row = k // self.every
        # What is not kept is written to the spare row: a branch would copy the buffers.
        kept = (row > before // self.every) & (row < self.rows)
        return self._written(seen, jnp.where(kept, row, self.rows), k, norm, x)

    def settle(self, seen: Trajectory, k: Array, norm: Array, x: Array) -> Trajectory:
        """The buffers with the true residual at the end of a pass."""
        row = jnp.minimum((k + self.every - 1) // self.every, self.rows - 1)
        return self._written(seen, row, k, norm, lambda: x)

    def end(self, seen: Trajectory) -> Trajectory:
        """The buffers without the row of what was not kept."""
        return jax.tree.map(lambda leaf: leaf[: self.rows], seen)

    def _written(
        self, seen: Trajectory, row: Array, k: Array, norm: Array, x: Callable[[], Array]
    ) -> Trajectory:
        put = lax.dynamic_update_index_in_dim
        return Trajectory(
            put(seen.iterations, jnp.asarray(k, jnp.int32), row, 0),
            put(seen.residual_norm, jnp.asarray(norm, seen.residual_norm.dtype), row, 0),
            None if seen.x is None else put(seen.x, x(), row, 0),
        )
