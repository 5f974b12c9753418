"""Entries of an inverse: by solves with unit vectors, some of them at a time, or estimated by random ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.staging import index_array

#: Numbers in the solutions that are held at once, and unit vectors at most.
NUMBERS, MOST = 2**22, 256

#: Solutions, as rows, for right-hand sides given as rows; differentiable, so that the entries are.
Solver = Callable[[Array], Array]


def entries_of_inverse(
    solve: Solver, n: int, dtype: np.dtype, rows: np.ndarray, columns: np.ndarray
) -> Array:
    """(A⁻¹)[rows, columns] by n solves, a block of unit vectors at a time.

    Args:
        solve: X of A X = E, with the vectors as rows.
        n: The size of A.
        dtype: That of the unit vectors.
        rows: Positions.
        columns: The same, in ascending order.
    """
    width = max(1, min(MOST, n, NUMBERS // max(n, 1)))
    starts = np.arange(0, n, width)
    bounds = np.searchsorted(columns, np.append(starts, n))
    most = int(np.diff(bounds).max(initial=0))
    if not most:
        return jnp.zeros(0, dtype)
    # Each block takes as many entries as the longest one: what fills it up is read twice.
    places = np.minimum(bounds[:-1, None] + np.arange(most), bounds[1:, None] - 1).clip(0)
    local = (columns[places] - starts[:, None]).clip(0, width - 1)

    def block(start: Array, of_rows: Array, of_columns: Array) -> Array:
        # In the last block some unit vectors lie beyond A: they are zero, and so is what is solved for them.
        units = (jnp.arange(n)[None, :] == start + jnp.arange(width)[:, None]).astype(dtype)
        return solve(units)[of_columns, of_rows]

    lists = tuple(index_array(np.ascontiguousarray(v)) for v in (starts, rows[places], local))
    if len(starts) == 1:
        return block(*(v[0] for v in lists))
    found = lax.map(lambda own: block(*own), lists)
    block_of = np.searchsorted(bounds, np.arange(len(rows)), side="right") - 1
    return found.reshape(-1)[index_array(block_of * most + np.arange(len(rows)) - bounds[block_of])]


def signs(key: Array, probes: int, n: int, dtype: np.dtype) -> Array:
    """Random vectors of ±1 as rows (Rademacher), which give the trace with the least variance of real ones."""
    return jax.random.rademacher(key, (probes, n), dtype=jnp.int32).astype(dtype)


def estimated_diagonal(solve: Solver, vectors: Array) -> Array:
    """The diagonal of A⁻¹ by Σ v ⊙ A⁻¹ v / Σ v ⊙ v, here over v of ±1 (Bekas, Kokiopoulou and Saad 2007)."""
    return jnp.mean(vectors * solve(vectors), axis=0)
