"""History: residual norms and iterates of a running solve, in buffers of fixed size."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

#: Bytes that the iterates of one call may take; of longer solves fewer iterates are kept.
MEMORY = 2**28
#: Residual norms kept at most: 0.5 MB.
MOST = 2**16
#: Iterations provided for where `max_iterations` is traced.
UNKNOWN_LIMIT = 1000


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["iterations", "residual_norm", "x"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Trajectory:
    """How a solve went, iteration by iteration.

    Attributes:
        iterations: Shape (..., k): the number of iterations at each record, increasing; -1 where there is none (in
            a batch, after the last iteration of a system; while traced, up to the end of the buffer).
        residual_norm: Shape (..., k): ‖b - A x‖, NaN where there is none (infinite while traced, so that
            `jax_debug_nans` finds nothing). Computed from x at the start and the end; in between the estimate of
            the method.
        x: Iterates in the structure of the solution, each leaf of shape (..., k, *leaf); None if not asked for.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> with js.SolveTape(record_trajectories=True) as solves:
    ...     x = js.solve_linear(jnp.diag(jnp.array([1.0, 2.0])), jnp.ones(2), js.Solve("CG"))
    >>> trajectory = solves[0].trajectory
    >>> len(trajectory), trajectory.iterations.tolist(), trajectory.x.shape
    (3, [0, 1, 2], (3, 2))
    """

    iterations: Any
    residual_norm: Any
    x: Any = None

    def __len__(self) -> int:
        return np.shape(self.iterations)[-1]

    def trimmed(self) -> "Trajectory":
        """The same as NumPy arrays, without the rows that no system of the batch has used."""
        used = np.asarray(self.iterations) >= 0
        rows = np.flatnonzero(used.reshape(-1, used.shape[-1]).any(0)) if used.size else np.arange(0)
        lead = used.ndim - 1
        norms = np.where(used, np.asarray(self.residual_norm), np.nan)
        whole = dataclasses.replace(self, residual_norm=norms.astype(self.residual_norm.dtype))
        return jax.tree.map(lambda leaf: np.take(np.asarray(leaf), rows, axis=lead), whole)


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
