"""Movements: values whose elements are elements of another value, in new places.

Columns move as NumPy views; factors move by the same operation on the device, along the axes on which they are full.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.tracer import factors
from jaxsolve.tracer.factors import is_host, is_scalar
from jaxsolve.tracer.value import Linear, Scatter, Term, as_scatter, trailing

_Move = Callable[[Any, int], Any]


def _move(x: Linear, shape: tuple[int, ...], columns: _Move, factor: _Move, affine: bool = False) -> Linear:
    """Applies a movement to arrays with trailing axes: `columns` to full ones, `factor` to lazily broadcast ones."""
    terms = tuple(
        Term(columns(t.columns, k), t.factor if is_scalar(t.factor) else factor(t.factor, k), t.conjugate)
        for t in x.terms
        for k in [t.columns.ndim - len(x.shape)]
    )
    scatters = x.scatters
    if scatters:
        positions = columns(np.arange(x.size).reshape(x.shape), 0)
        scatters = tuple(relocate(s, positions, x.size) for s in scatters)
    return Linear(shape, x.dtype, terms, scatters, x.affine or affine)


def relocate(scatter: Scatter, positions: np.ndarray, size: int) -> Scatter:
    """The entries of the value whose element q is element positions[q] (-1: none) of a value of `size` elements."""
    flat = positions.reshape(-1)
    present = np.flatnonzero(flat >= 0)
    copies = np.bincount(flat[present], minlength=size)
    if copies.max(initial=0) <= 1:
        target = np.full(size + 1, -1, scatter.columns.dtype)
        target[flat[present]] = present
        return Scatter(target[scatter.rows], scatter.columns, scatter.factor, scatter.conjugate)
    order = present[np.argsort(flat[present], kind="stable")]
    starts = np.cumsum(copies) - copies
    repeats = np.where(scatter.rows >= 0, copies[scatter.rows], 0)
    entry = np.repeat(np.arange(scatter.rows.size), repeats)
    rank = np.arange(entry.size) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    rows = order[starts[scatter.rows[entry]] + rank].astype(scatter.columns.dtype)
    factor = scatter.factor if is_scalar(scatter.factor) else scatter.factor[entry]
    return Scatter(rows, scatter.columns[entry], factor, scatter.conjugate)


def cut(
    x: Linear, starts: Sequence[int], limits: Sequence[int], strides: Sequence[int] | None = None
) -> Linear:
    """`lax.slice`."""
    steps = [1] * len(x.shape) if strides is None else list(strides)
    index = tuple(slice(int(a), int(b), int(s)) for a, b, s in zip(starts, limits, steps, strict=True))
    shape = tuple(len(range(size)[s]) for size, s in zip(x.shape, index, strict=True))

    def factor(c: Any, k: int) -> Any:
        return _cut_lazy(c, index, x.shape)

    return _move(x, shape, lambda c, k: c[index], factor)


def _cut_lazy(c: Any, index: tuple[slice, ...], shape: tuple[int, ...]) -> Any:
    kept = [s if c.shape[d] == shape[d] else slice(0, 1, 1) for d, s in enumerate(index)]
    if is_host(c):
        return c[tuple(kept)]
    rest = [slice(0, size, 1) for size in c.shape[len(index) :]]
    every = kept + rest
    return lax.slice(c, [s.start for s in every], [s.stop for s in every], [s.step for s in every])


def reverse(x: Linear, axes: Sequence[int]) -> Linear:
    """`lax.rev`."""
    axes = tuple(axes)

    def factor(c: Any, k: int) -> Any:
        return np.flip(c, axes) if is_host(c) else lax.rev(c, axes)

    return _move(x, x.shape, lambda c, k: np.flip(c, axes), factor)


def transpose(x: Linear, permutation: Sequence[int]) -> Linear:
    """`lax.transpose`."""
    rank = len(x.shape)

    def turn(c: Any, k: int) -> Any:
        return c.transpose((*permutation, *range(rank, rank + k)))

    return _move(x, tuple(x.shape[p] for p in permutation), turn, turn)


def reshape(x: Linear, shape: tuple[int, ...]) -> Linear:
    """`lax.reshape`, C order."""
    rank = len(x.shape)

    def factor(c: Any, k: int) -> Any:
        kept = iter([size for size, old in zip(c.shape, x.shape, strict=False) if old != 1])
        if [size for size in x.shape if size != 1] == [size for size in shape if size != 1]:
            return c.reshape(tuple(1 if size == 1 else next(kept) for size in shape) + c.shape[rank:])
        if all(size == 1 for size in c.shape[:rank]):
            return c.reshape((1,) * len(shape) + c.shape[rank:])
        return factors.full(c, x.shape + c.shape[rank:], c.dtype).reshape(shape + c.shape[rank:])

    moved = _move(
        Linear(x.shape, x.dtype, x.terms, (), x.affine),
        shape,
        lambda c, k: c.reshape(shape + c.shape[rank:]),
        factor,
    )
    return Linear(shape, x.dtype, moved.terms, x.scatters, x.affine)


def broadcast(x: Linear, shape: tuple[int, ...], axes: Sequence[int]) -> Linear:
    """`lax.broadcast_in_dim`; copies nothing."""
    rank = len(x.shape)

    def spread(c: Any) -> Any:
        sizes = [1] * len(shape)
        for axis, size in zip(axes, c.shape, strict=False):
            sizes[axis] = size
        return c.reshape(tuple(sizes) + c.shape[rank:])

    return _move(
        x, shape, lambda c, k: np.broadcast_to(spread(c), shape + c.shape[rank:]), lambda c, k: spread(c)
    )


def pad(x: Linear, config: Sequence[tuple[int, int, int]], affine: bool = False) -> Linear:
    """`lax.pad` with nothing (or, with `affine`, a constant) in the margins; negative and interior padding too."""
    config = [(int(low), int(high), int(interior)) for low, high, interior in config]
    sizes = [
        size + max(size - 1, 0) * i + low + high for size, (low, high, i) in zip(x.shape, config, strict=True)
    ]

    def columns(c: Any, k: int) -> Any:
        return factors.pad(c, config + [(0, 0, 0)] * k, -1)

    def factor(c: Any, k: int) -> Any:
        lazy = [one if c.shape[d] == x.shape[d] else (0, 0, 0) for d, one in enumerate(config)]
        return factors.pad(c, lazy + [(0, 0, 0)] * k, 0)

    return _move(x, tuple(sizes), columns, factor, affine)


def take(
    x: Linear, positions: np.ndarray, on_factor: Callable[[Any], Any] | None = None, affine: bool = False
) -> Linear:
    """The value whose element q is element positions[q] of x (flat, C order), or nothing where that is -1.

    Args:
        x: The value.
        positions: Host integers of the new shape.
        on_factor: The same movement of a traced array of x's shape; by default an indexing with `positions`.
        affine: Whether something else than zero stands where positions are -1.
    """
    shape, rank = positions.shape, len(x.shape)
    inside = np.maximum(positions, 0)
    hole = positions < 0 if (positions < 0).any() else None

    def columns(c: Any, k: int) -> Any:
        if not x.size:
            return np.full(shape + c.shape[rank:], -1, c.dtype)
        moved = c.reshape(x.size, *c.shape[rank:])[inside]
        return moved if hole is None else np.where(hole.reshape(shape + (1,) * k), c.dtype.type(-1), moved)

    def factor(c: Any, k: int) -> Any:
        if all(size == 1 for size in c.shape[:rank]):
            return c.reshape((1,) * len(shape) + c.shape[rank:])
        every = factors.full(c, x.shape + c.shape[rank:], c.dtype)
        if on_factor is not None and not is_host(c):
            return factors.lanes(on_factor, k)(every)
        every = every.reshape(-1, *c.shape[rank:])
        return every[inside] if is_host(c) else jnp.take(every, inside, axis=0, mode="clip")

    return _move(x, shape, columns, factor, affine)


def dispatch(
    x: Linear, targets: np.ndarray, shape: tuple[int, ...], on_factor: Callable[[Any], Any] | None = None
) -> Linear:
    """The sum that adds element q of x to element targets[q] (flat, -1: nowhere) of a value of `shape`.

    Args:
        x: The value.
        targets: Host integers of x's shape.
        shape: Of the result.
        on_factor: The same sum of traced arrays of x's shape.
    """
    flat = targets.reshape(-1)
    present = np.flatnonzero(flat >= 0)
    size = math.prod(shape)
    source = np.full(size, -1, flat.dtype)
    source[flat[present]] = present
    if np.count_nonzero(source >= 0) == present.size:
        return take(x, source.reshape(shape), on_factor)
    terms, scatters = [], []
    for t in x.terms:
        if not trailing(t, len(x.shape)) and on_factor and np.array_equal(t.columns, targets):
            # The diagonal of a graph Laplacian: all contributions to row i are of column i.
            own = np.where(source >= 0, np.arange(size), -1).astype(t.columns.dtype).reshape(shape)
            terms.append(Term(own, _summed(t.factor, x, targets, own, on_factor), t.conjugate))
        else:
            scatters.append(as_scatter(t, x.shape, x.dtype))
    scatters += list(x.scatters)
    moved = tuple(
        Scatter(
            np.where(s.rows >= 0, flat[s.rows], -1).astype(s.columns.dtype), s.columns, s.factor, s.conjugate
        )
        for s in scatters
    )
    return Linear(shape, x.dtype, tuple(terms), moved, x.affine)


def _summed(
    factor: Any, x: Linear, targets: np.ndarray, own: np.ndarray, on_factor: Callable[[Any], Any]
) -> Any:
    if factor is factors.OPAQUE:
        return factor
    every = factors.full(factor, x.shape, x.dtype)
    if not is_host(every):
        return on_factor(every)
    out = np.zeros(own.size + 1, x.dtype)
    np.add.at(out, targets.reshape(-1), every.reshape(-1))
    return out[:-1].reshape(own.shape)
