"""Probing: the matrix of an operation whose positions are known, by one derivative for each colour of its columns.

Used for long loops, whose positions are found by walking them without values.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import Equation
from jaxsolve.tracer import element_moves, sums
from jaxsolve.tracer.colouring import colour_columns
from jaxsolve.tracer.dense_coupling import derivatives
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.products import scale, total
from jaxsolve.tracer.rule_registry import Scope, depends
from jaxsolve.tracer.value import Linear, Scatter, as_scatter, unknown


@dataclasses.dataclass(frozen=True)
class Positions:
    """The entries of one output: which of its elements read which of the elements of the inputs.

    Attributes:
        rows: Element of the output.
        cols: Element of the inputs that depend on the unknown, counted through.
        conjugate: Whether conjugates of them occur.
    """

    rows: np.ndarray
    cols: np.ndarray
    conjugate: bool


def positions_of(x: Any, columns: int) -> Positions:
    """The distinct positions of a value over `columns` unknowns."""
    if not depends(x):
        return Positions(np.empty(0, np.int64), np.empty(0, np.int64), False)
    scatters = [as_scatter(t, x.shape, x.dtype) for t in x.terms] + list(x.scatters)
    keys = [np.empty(0, np.int64)]
    for s in scatters:
        present = (s.rows >= 0) & (s.columns >= 0)
        keys.append(s.rows[present].astype(np.int64) * columns + s.columns[present])
    rows, cols = np.divmod(np.unique(np.concatenate(keys)), max(columns, 1))
    return Positions(rows, cols, any(s.conjugate for s in scatters))


def from_positions(found: Positions, shape: tuple[int, ...], dtype: Any, affine: bool) -> Linear:
    """The opaque value with these positions."""
    scatter = Scatter(found.rows, found.cols, OPAQUE, found.conjugate)
    return Linear(shape, dtype, (), (scatter,) if len(found.rows) else (), affine)


def local_unknowns(inputs: Sequence[Any]) -> tuple[list[Any], int]:
    """Inputs for a walk without values (fresh unknowns, OPAQUE where traced), and the number of fresh unknowns."""
    out, count = [], 0
    for value in inputs:
        if depends(value):
            fresh = unknown(value.shape, value.dtype, count, np.int64)
            out.append(Linear(fresh.shape, fresh.dtype, fresh.terms, (), value.affine))
            count += value.size
        else:
            out.append(value if is_host(value) else OPAQUE)
    return out, count


def probe(
    scope: Scope, eqn: Equation, inputs: Sequence[Any], found: Sequence[Positions], wanted: Sequence[bool]
) -> tuple[list[Linear], int]:
    """The wanted outputs of an equation with known positions, and the number of colours (products) it took."""
    linear = [k for k, value in enumerate(inputs) if depends(value)]
    sizes = [inputs[k].size for k in linear]
    outputs = [v.aval for v, want in zip(eqn.outvars, wanted, strict=True) if want]
    starts = np.concatenate([[0], np.cumsum([math.prod(out.shape) for out in outputs])]).astype(np.int64)
    rows = np.concatenate([f.rows + start for f, start in zip(found, starts, strict=False)])
    cols = np.concatenate([f.cols for f in found])
    colours = colour_columns(rows, cols, (int(starts[-1]), sum(sizes)))
    count = int(colours.max(initial=-1)) + 1

    def seeds() -> list[Any]:
        hot = jnp.asarray(colours) == jnp.arange(count)[:, None]
        cuts = np.cumsum(sizes)[:-1]
        avals = [eqn.invars[k].aval for k in linear]
        pieces = jnp.split(hot, cuts.tolist(), axis=1)
        return [p.reshape(count, *a.shape).astype(a.dtype) for p, a in zip(pieces, avals, strict=True)]

    products = None if scope.opaque else derivatives(eqn, inputs, linear, seeds, wanted)
    results = []
    for k, (out, positions) in enumerate(zip(outputs, found, strict=True)):
        values: Any = OPAQUE
        if products is not None:
            values = products[k].reshape(count, -1)[colours[positions.cols], positions.rows]
        pieces, start = [], 0
        for q, size in zip(linear, sizes, strict=True):
            mine = np.flatnonzero((positions.cols >= start) & (positions.cols < start + size))
            some = values if values is OPAQUE or len(mine) == len(positions.cols) else values[mine]
            pieces.append(_applied(inputs[q], positions.rows[mine], positions.cols[mine] - start, some, out))
            start += size
        results.append(sums.add(pieces, out.dtype))
    return results, count


def _applied(x: Linear, rows: np.ndarray, cols: np.ndarray, values: Any, out: Any) -> Linear:
    """The sum of values[e] * x[cols[e]] into element rows[e] of the output; rows are sorted."""
    size = math.prod(out.shape)
    counts = np.bincount(rows, minlength=size)
    width = int(counts.max(initial=0))
    if width * size > 4 * len(rows) + 1024:
        y = scale(element_moves.take(x, cols), values, out.dtype)
        return element_moves.dispatch(y, rows, out.shape)
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    entry = np.full((size, width), -1, np.int64)
    entry[rows, rank] = np.arange(len(rows))
    there = np.maximum(entry, 0)
    source = np.where(entry >= 0, cols[there], -1) if len(cols) else entry
    weights = values if values is OPAQUE else values[there]
    return element_moves.reshape(
        total(scale(element_moves.take(x, source), weights, out.dtype), [1]), out.shape
    )
