"""Concatenation: values side by side along an axis."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.tracer import element_moves, factors, sums
from jaxsolve.tracer.factors import OPAQUE
from jaxsolve.tracer.rule_registry import depends
from jaxsolve.tracer.value import Linear, Term, is_zero


def join(inputs: Any, shapes: list[tuple[int, ...]], axis: int, shape: tuple[int, ...], dtype: Any) -> Linear:
    """Values and known arrays side by side; the t-th terms of all pieces become one term."""
    rank = len(shape)
    own = [list(x.terms) if depends(x) else [] for x in inputs]
    terms = []
    for chosen in sums.paired(own, rank):
        first = next(t for t in chosen if t is not None)
        lanes = first.columns.shape[rank:]
        absent = first.columns.dtype.type(-1)
        columns = np.concatenate(
            [
                np.broadcast_to(absent, s + lanes) if t is None else t.columns
                for t, s in zip(chosen, shapes, strict=True)
            ],
            axis,
        )
        terms.append(Term(columns, _joined(chosen, shapes, lanes, axis, dtype), first.conjugate))
    scatters, start = [], 0
    positions = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    for x, piece in zip(inputs, shapes, strict=True):
        if depends(x) and x.scatters:
            index = (slice(None),) * axis + (slice(start, start + piece[axis]),)
            place = np.full(positions.size, -1, np.int64)
            place[positions[index].reshape(-1)] = np.arange(x.size)
            scatters += [element_moves.relocate(s, place, x.size) for s in x.scatters]
        start += piece[axis]
    affine = any(x.affine if depends(x) else not is_zero(x) for x in inputs)
    return Linear(shape, dtype, tuple(terms), tuple(scatters), affine)


def _joined(chosen: Any, shapes: list[tuple[int, ...]], lanes: tuple[int, ...], axis: int, dtype: Any) -> Any:
    # Axes along which no piece has a full factor stay of size 1.
    rank = len(shapes[0]) + len(lanes)
    arrays = [t.factor for t in chosen if t is not None and not factors.is_scalar(t.factor)]
    lazy = [d != axis and all(c.shape[d] == 1 for c in arrays) for d in range(rank)]
    sizes = [tuple(1 if lazy[d] else n for d, n in enumerate(s + lanes)) for s in shapes]
    common, every = sums.joined_factor(chosen, sizes, dtype)
    return factors.concatenate(every, axis, dtype) if every else common


def stack(pieces: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> Any:
    """Values and known arrays as the elements of a new first axis."""
    if any(depends(p) for p in pieces):
        inner = (1, *shape[1:])
        rows = [element_moves.reshape(p, inner) if depends(p) else _reshaped(p, inner) for p in pieces]
        return join(rows, [inner] * len(rows), 0, shape, dtype)
    if any(p is OPAQUE for p in pieces):
        return OPAQUE
    if all(isinstance(p, np.ndarray) for p in pieces):
        return np.stack(pieces) if pieces else np.zeros(shape, dtype)
    return jnp.stack([jnp.asarray(p, dtype) for p in pieces])


def _reshaped(known: Any, shape: tuple[int, ...]) -> Any:
    return known if known is OPAQUE else known.reshape(shape)
