"""Trajectory: what came out of a recorded solve."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np


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
