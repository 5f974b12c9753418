"""Where gathers read and scatters write: flat positions of the operand, computed in NumPy from known indices.

Semantics of `jax.lax.gather` and `jax.lax.scatter` (XLA, "Gather" and "Scatter"): the index vectors along the last axis
of `indices` give the corner of a window in the operand; what lies outside is clamped, filled or dropped by the mode.
"""

import math
from typing import Any

import numpy as np
from jax import lax


def gathered(indices: np.ndarray, shape: tuple[int, ...], params: dict[str, Any]) -> np.ndarray:
    """The flat position in an operand of `shape` that each element of a gather reads, -1 where it is filled."""
    numbers, mode = params["dimension_numbers"], params["mode"]
    clip = mode in (None, lax.GatherScatterMode.CLIP, lax.GatherScatterMode.PROMISE_IN_BOUNDS)
    return _windows(
        indices,
        shape,
        params["slice_sizes"],
        numbers.offset_dims,
        (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims),
        numbers.start_index_map,
        zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True),
        clip,
    )


def scattered(
    indices: np.ndarray, shape: tuple[int, ...], updates: tuple[int, ...], params: dict[str, Any]
) -> np.ndarray:
    """The flat position in an operand of `shape` that each element of the updates goes to, -1 where dropped."""
    numbers, mode = params["dimension_numbers"], params["mode"]
    skipped = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    window = iter(numbers.update_window_dims)
    sizes = [1 if d in skipped else updates[next(window)] for d in range(len(shape))]
    return _windows(
        indices,
        shape,
        sizes,
        numbers.update_window_dims,
        skipped,
        numbers.scatter_dims_to_operand_dims,
        zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True),
        mode == lax.GatherScatterMode.CLIP,
    )


def _windows(
    indices: np.ndarray,
    shape: tuple[int, ...],
    sizes: Any,
    offset_dims: Any,
    skipped: Any,
    index_map: Any,
    batching: Any,
    clip: bool,
) -> np.ndarray:
    strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    integer = np.int32 if math.prod(shape) < 2**31 else np.int64
    batch = indices.shape[:-1]
    corner = np.zeros(batch, integer)
    inside = np.ones(batch, bool)
    for k, d in enumerate(index_map):
        start, last = indices[..., k].astype(np.int64), shape[d] - sizes[d]
        inside &= (start >= 0) & (start <= last)
        # Corners outside are clamped in any case, so that their products with the strides do not overflow.
        corner = corner + (np.clip(start, 0, max(last, 0)) * strides[d]).astype(integer)
    for d, axis in batching:
        corner = corner + _along(np.arange(batch[axis], dtype=integer) * strides[d], axis, len(batch))
    rank = len(batch) + len(offset_dims)
    out_batch = [d for d in range(rank) if d not in offset_dims]

    def placed(array: np.ndarray) -> np.ndarray:
        full = [1] * rank
        for axis, size in zip(out_batch, batch, strict=True):
            full[axis] = size
        return array.reshape(full)

    positions = placed(corner)
    windows = [d for d in range(len(shape)) if d not in skipped]
    for axis, d in zip(offset_dims, windows, strict=True):
        positions = positions + _along(np.arange(sizes[d], dtype=integer) * strides[d], axis, rank)
    if clip or inside.all():
        return positions
    return np.where(placed(inside), positions, integer(-1))


def _along(vector: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return vector.reshape([-1 if d == axis else 1 for d in range(rank)])
