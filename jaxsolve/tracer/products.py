"""Products of a value with known factors: elementwise, and contracted as by a matrix."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.core.tree import common
from jaxsolve.tracer import factors
from jaxsolve.tracer.element_moves import reshape, take, transpose
from jaxsolve.tracer.factors import OPAQUE, is_host, is_number, is_scalar
from jaxsolve.tracer.refusal import TooLarge
from jaxsolve.tracer.value import Linear, Scatter, Term

#: Positions that one value may hold; 4 bytes each. Beyond, an operator is too dense to be worth its entries.
MOST_ENTRIES = 100_000_000


def scale(x: Linear, known: Any, dtype: Any, divide: bool = False, affine: bool | None = None) -> Linear:
    """The value times (or divided by) a known array of the same shape, or a scalar.

    Entries whose factor is known to be exactly zero leave the pattern.
    """
    combine = factors.over if divide else factors.times
    affine = x.affine if affine is None else affine
    factor = factors.compact(known)
    if is_number(factor) and not factor and not divide:
        return Linear(x.shape, dtype, affine=affine)
    zero = None if divide else _zeros_of(factor)
    terms = []
    for t in x.terms:
        lanes = (1,) * (t.columns.ndim - len(x.shape))
        columns = t.columns
        if zero is not None:
            columns = np.where(zero.reshape(zero.shape + lanes), columns.dtype.type(-1), columns)
        k = factor if is_scalar(factor) else factor.reshape(factor.shape + lanes)
        terms.append(Term(columns, combine(t.factor, k), t.conjugate))
    scatters = [_scale_scatter(s, factor, x.shape, combine, zero) for s in x.scatters]
    return Linear(x.shape, dtype, tuple(terms), tuple(scatters), affine)


def _zeros_of(known: Any) -> np.ndarray | None:
    """The mask of the exact zeros of a host array, None where there are none."""
    if not isinstance(known, np.ndarray):
        return None
    zero = np.equal(known, 0)
    return zero if zero.any() else None


def _scale_scatter(
    s: Scatter, known: Any, shape: tuple[int, ...], combine: Any, zero: np.ndarray | None
) -> Scatter:
    if is_scalar(known):
        return Scatter(s.rows, s.columns, combine(s.factor, known), s.conjugate)
    rows = np.maximum(s.rows, 0)
    columns = s.columns
    if zero is not None:
        columns = np.where(np.broadcast_to(zero, shape).reshape(-1)[rows], columns.dtype.type(-1), columns)
    every = factors.full(known, shape, known.dtype).reshape(-1)
    picked = every[rows] if is_host(every) else jnp.take(every, rows, mode="clip")
    return Scatter(s.rows, columns, combine(s.factor, picked), s.conjugate)


def keep(x: Linear, mask: Any, dtype: Any) -> Linear:
    """The value where a mask of its shape (or a scalar) holds, nothing elsewhere.

    A host mask takes positions away; a traced one sets factors to zero, whatever they were (also not a number).
    """
    if isinstance(mask, np.ndarray) and not mask.ndim:
        mask = np.broadcast_to(mask, x.shape)
    terms = []
    for t in x.terms:
        lanes = (1,) * (t.columns.ndim - len(x.shape))
        m = mask if is_scalar(mask) else mask.reshape(mask.shape + lanes)
        if isinstance(m, np.ndarray):
            columns = np.where(m, t.columns, t.columns.dtype.type(-1))
            terms.append(Term(columns, t.factor, t.conjugate))
        else:
            terms.append(Term(t.columns, _where(m, t.factor, dtype), t.conjugate))
    scatters = []
    for s in x.scatters:
        rows = np.maximum(s.rows, 0)
        if isinstance(mask, np.ndarray):
            columns = np.where(mask.reshape(-1)[rows], s.columns, s.columns.dtype.type(-1))
            scatters.append(Scatter(s.rows, columns, s.factor, s.conjugate))
        else:
            m = mask if is_scalar(mask) else jnp.take(mask.reshape(-1), rows, mode="clip")
            scatters.append(Scatter(s.rows, s.columns, _where(m, s.factor, dtype), s.conjugate))
    return Linear(x.shape, dtype, tuple(terms), tuple(scatters), x.affine)


def _where(mask: Any, factor: Any, dtype: Any) -> Any:
    if mask is OPAQUE or factor is OPAQUE:
        return OPAQUE
    return jnp.where(mask, factor if not is_number(factor) else jnp.asarray(factor, common(dtype, factor)), 0)


def total(x: Linear, axes: Sequence[int]) -> Linear:
    """`lax.reduce_sum`: the summed axes become trailing axes of the terms; copies nothing."""
    rank = len(x.shape)
    kept = [d for d in range(rank) if d not in axes]
    shape = tuple(x.shape[d] for d in kept)

    def turn(c: Any) -> Any:
        # Summed axes of size 1 vanish, so that terms of equal maps stay comparable.
        real = [a for a in axes if x.shape[a] != 1]
        c = c.transpose((*kept, *axes, *range(rank, c.ndim)))
        lead = len(kept)
        sizes = [c.shape[lead + list(axes).index(a)] for a in real]
        return c.reshape((*c.shape[:lead], *sizes, *c.shape[rank:]))

    terms = tuple(
        Term(turn(t.columns), t.factor if is_scalar(t.factor) else turn(t.factor), t.conjugate)
        for t in x.terms
    )
    scatters = x.scatters
    if scatters:
        rows = np.arange(math.prod(shape), dtype=np.int64)
        rows = np.broadcast_to(
            rows.reshape([x.shape[d] if d in kept else 1 for d in range(rank)]), x.shape
        ).reshape(-1)
        scatters = tuple(
            Scatter(
                np.where(s.rows >= 0, rows[s.rows], -1).astype(s.columns.dtype),
                s.columns,
                s.factor,
                s.conjugate,
            )
            for s in scatters
        )
    return Linear(shape, x.dtype, terms, scatters, x.affine)


def contract(
    x: Linear,
    known: Any,
    known_shape: tuple[int, ...],
    dims: tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]],
    dtype: Any,
    known_first: bool = False,
) -> Linear:
    """`lax.dot_general` of a value and a known array.

    Args:
        x: The value.
        known: Host or traced array, or OPAQUE.
        known_shape: Its shape.
        dims: Contracted axes of x and of `known`, batch axes of x and of `known`.
        dtype: Of the result.
        known_first: Whether the free axes of `known` come before those of x in the result.

    Raises:
        TraceError: If the result would hold more than `MOST_ENTRIES` positions.
    """
    x = as_maps(x)
    xc, kc, xb, kb = (list(d) for d in dims)
    xf = [d for d in range(len(x.shape)) if d not in xc and d not in xb]
    kf = [d for d in range(len(known_shape)) if d not in kc and d not in kb]
    if isinstance(known, np.ndarray) and not xb and len(xc) == 1 and is_sparse(known):
        rows = known.transpose([*kf, *kc])
        return _contract_sparse(x, rows, xc[0], dtype, known_first)
    batch, shape_x, shape_k = [x.shape[d] for d in xb], [x.shape[d] for d in xf], [known_shape[d] for d in kf]
    summed = [x.shape[d] for d in xc]
    shape = tuple(batch + shape_k + shape_x if known_first else batch + shape_x + shape_k)
    lanes = [t.columns.shape[len(x.shape) :] for t in x.terms]
    within_budget(sum(math.prod(shape) * math.prod(summed) * math.prod(k) for k in lanes))

    def arrange(a: Any, axes: list[list[int]], rest: int, mine: bool) -> Any:
        b, f, c = axes
        a = a.transpose((*b, *f, *c, *range(len(b) + len(f) + len(c), a.ndim)))
        sizes, other = list(a.shape), [1] * (len(kf) if mine else len(xf))
        free = sizes[len(b) : len(b) + len(f)]
        free = other + free if mine == known_first else free + other
        return a.reshape(sizes[: len(b)] + free + sizes[len(b) + len(f) :] + [1] * rest)

    known = OPAQUE if known is OPAQUE else arrange(known, [kb, kf, kc], 0, False)
    terms = []
    for t, k in zip(x.terms, lanes, strict=True):
        every = (*shape, *summed, *k)
        columns = np.broadcast_to(arrange(t.columns, [xb, xf, xc], 0, True), every)
        other = known if known is OPAQUE else known.reshape(known.shape + (1,) * len(k))
        if isinstance(other, np.ndarray):
            zero = other == 0
            if zero.all():
                continue
            if zero.any():
                columns = np.where(zero, columns.dtype.type(-1), columns)
            other = factors.compact(other)
        factor = t.factor if is_scalar(t.factor) else arrange(t.factor, [xb, xf, xc], 0, True)
        terms.append(_squeezed(Term(columns, factors.times(factor, other), t.conjugate), len(shape)))
    return Linear(shape, dtype, tuple(terms), (), x.affine)


def _squeezed(t: Term, rank: int) -> Term:
    """The term without trailing axes of size 1."""
    axes = tuple(d for d in range(rank, t.columns.ndim) if t.columns.shape[d] == 1)
    if not axes:
        return t
    return Term(
        t.columns.squeeze(axes), t.factor if is_scalar(t.factor) else t.factor.squeeze(axes), t.conjugate
    )


def is_sparse(known: np.ndarray) -> bool:
    """Whether a host array is worth treating by its non-zero entries."""
    return known.size > 64 and bool(np.count_nonzero(known) * 4 < known.size)


def _contract_sparse(x: Linear, rows: np.ndarray, axis: int, dtype: Any, known_first: bool) -> Linear:
    """Contraction with the last axis of a mostly zero host array: its rows by lists of their non-zeros."""
    free = rows.shape[:-1]
    rows = rows.reshape(-1, rows.shape[-1])
    counts = np.count_nonzero(rows, axis=1)
    width = int(counts.max(initial=0))
    order = np.argsort(rows == 0, axis=1, kind="stable")[:, :width]
    weight = np.take_along_axis(rows, order, axis=1)
    last = [d for d in range(len(x.shape)) if d != axis]
    x = transpose(x, [axis, *last])
    positions = np.arange(x.size).reshape(x.shape)[order]
    weight = weight.reshape(weight.shape + (1,) * len(last))
    positions = np.where(weight == 0, -1, positions)
    within_budget(sum(positions.size * math.prod(t.columns.shape[len(x.shape) :]) for t in x.terms))
    y = total(scale(take(x, positions), np.broadcast_to(weight, positions.shape), dtype), [1])
    shape = (*free, *y.shape[1:])
    y = reshape(y, shape)
    if known_first:
        return y
    return transpose(y, [*range(len(free), len(shape)), *range(len(free))])


def as_maps(x: Linear) -> Linear:
    """The value with scatters written as terms, one trailing axis as wide as the fullest element.

    Raises:
        TraceError: If a few elements are so much fuller than the rest that this would not fit `MOST_ENTRIES`.
    """
    if not x.scatters:
        return x
    terms = list(x.terms)
    for s in x.scatters:
        present = np.flatnonzero((s.rows >= 0) & (s.columns >= 0))
        present = present[np.argsort(s.rows[present], kind="stable")]
        rows = s.rows[present]
        counts = np.bincount(rows, minlength=x.size)
        width = int(counts.max(initial=0))
        within_budget(width * x.size)
        rank = np.arange(present.size) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = np.full((x.size, width), -1, np.int64)
        entry[rows, rank] = present
        inside = np.maximum(entry, 0)
        columns = np.where(entry >= 0, s.columns[inside], -1) if present.size else entry
        factor = s.factor
        if not is_scalar(factor):
            factor = factor[inside] if is_host(factor) else jnp.take(factor, inside, mode="clip")
            factor = factor.reshape(*x.shape, width)
        columns = columns.astype(s.columns.dtype).reshape(*x.shape, width)
        terms.append(Term(columns, factor, s.conjugate))
    return Linear(x.shape, x.dtype, tuple(terms), (), x.affine)


def within_budget(entries: int) -> None:
    """Refuses values of too many positions, before they are written.

    Raises:
        TooLarge: If there are more than `MOST_ENTRIES`.
    """
    if entries > MOST_ENTRIES:
        raise TooLarge(
            f"a product inside the function couples so many elements that its matrix needs {entries:.1e} entries "
            f"(limit {MOST_ENTRIES:.0e}). Keep this operator matrix-free: pass the function without a "
            "preconditioner that needs entries."
        )
