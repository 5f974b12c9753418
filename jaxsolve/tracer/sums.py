"""Sums of values, with terms that read the same elements merged into one."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.core.tree import common
from jaxsolve.tracer import factors
from jaxsolve.tracer.factors import is_number, is_scalar
from jaxsolve.tracer.value import Linear, Scatter, Term, as_scatter, trailing

#: From this many terms on, terms that differ only in where they are absent are merged too.
MANY_TERMS = 12


def add(parts: Sequence[Linear], dtype: Any, affine: bool = False) -> Linear:
    """The sum of values of one shape."""
    terms = merge([t for part in parts for t in part.terms])
    if len(terms) > MANY_TERMS:
        terms = packed(merge_shifts(terms, parts[0].shape), parts[0].shape)
    scatters = _merge_scatters([s for part in parts for s in part.scatters])
    return Linear(
        parts[0].shape, dtype, tuple(terms), tuple(scatters), affine or any(p.affine for p in parts)
    )


def scaled(x: Linear, number: complex) -> Linear:
    """The value times a Python number."""
    terms = tuple(Term(t.columns, factors.times(t.factor, number), t.conjugate) for t in x.terms)
    scatters = tuple(
        Scatter(s.rows, s.columns, factors.times(s.factor, number), s.conjugate) for s in x.scatters
    )
    return Linear(x.shape, x.dtype, terms, scatters, x.affine)


def merge(terms: Sequence[Term]) -> list[Term]:
    """The same sum with one term for each distinct map; known factors that cancel take the term with them."""
    out: list[Term] = []
    places: dict[tuple[Any, ...], list[int]] = {}
    for term in terms:
        alike = places.setdefault(term.signature, [])
        match = next((k for k in alike if out[k].same_positions(term)), None)
        if match is None:
            alike.append(len(out))
            out.append(term)
        else:
            out[match] = Term(term.columns, factors.plus(out[match].factor, term.factor), term.conjugate)
    return [t for t in out if not (is_number(t.factor) and t.factor == 0)]


def united(x: Linear) -> Linear:
    """The value with the diagonals that several scattered sums left behind (a graph Laplacian's) in one term."""
    if not x.scatters or len(x.terms) < 2:
        return x
    return dataclasses.replace(x, terms=tuple(merge_shifts(x.terms, x.shape)))


def compacted(x: Linear, columns: int) -> Linear:
    """The value with every unknown once in each element, where chained products list it more than twice.

    Args:
        x: The value.
        columns: The number of unknowns; 0 leaves the value alone.
    """
    if not columns or x.entries <= 2 * x.size * max(columns, MANY_TERMS):
        return x
    entries = [*(as_scatter(t, x.shape, x.dtype) for t in x.terms), *x.scatters]
    terms = [
        _listed([s for s in entries if s.conjugate == flag], x, columns, flag)
        for flag in (False, True)
        if any(s.conjugate == flag for s in entries)
    ]
    return dataclasses.replace(x, terms=tuple(terms), scatters=())


def _listed(entries: Sequence[Scatter], x: Linear, columns: int, conjugate: bool) -> Term:
    rows, cols = (
        np.concatenate(a).astype(np.int64) for a in zip(*((s.rows, s.columns) for s in entries), strict=True)
    )
    size = x.size * columns
    places = np.where((rows >= 0) & (cols >= 0), rows * columns + cols, size)
    present = np.bincount(places, minlength=size + 1)[:size] > 0
    shape = (*x.shape, columns)
    own = np.broadcast_to(np.arange(columns, dtype=entries[0].columns.dtype), shape)
    own = np.where(present.reshape(shape), own, own.dtype.type(-1))
    if any(s.factor is factors.OPAQUE for s in entries):
        return Term(own, factors.OPAQUE, conjugate)
    dtype = common(x.dtype, *(s.factor for s in entries if not is_number(s.factor)))
    dtype = common(dtype, np.complex64) if any(isinstance(s.factor, complex) for s in entries) else dtype
    values = [factors.full(s.factor, s.rows.shape, dtype) for s in entries]
    if all(factors.is_host(v) for v in values):
        summed = np.zeros(size + 1, dtype)
        np.add.at(summed, places, np.concatenate(values))
        return Term(own, summed[:size].reshape(shape), conjugate)
    every = jnp.concatenate([jnp.asarray(v) for v in values])
    return Term(own, jnp.zeros(size, dtype).at[places].add(every, mode="drop").reshape(shape), conjugate)


def merge_shifts(terms: Sequence[Term], shape: tuple[int, ...]) -> list[Term]:
    """Merges terms that read elements at one and the same distance, and differ only in where they are absent."""
    shifts: dict[tuple[int, bool], Term] = {}
    rest: list[Term] = []
    own = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
    for term in terms:
        shift = _shift(term, own)
        if shift is None:
            rest.append(term)
            continue
        key = (shift, term.conjugate)
        if key in shifts:
            term = _overlay(shifts[key], term)
        shifts[key] = term
    return [*shifts.values(), *rest]


def packed(terms: Sequence[Term], shape: tuple[int, ...]) -> list[Term]:
    """One term for many that are mostly absent and have the same number: it lists what is present along a last axis.

    Sums by halves (`associative_scan`) interleave terms of all distances: without this, twice as many a level.
    """
    alike: dict[tuple[Any, bool], list[Term]] = {}
    rest: list[Term] = []
    for term in terms:
        if is_number(term.factor) and _present(term) < 0.5:
            alike.setdefault((term.factor, term.conjugate), []).append(term)
        else:
            rest.append(term)
    for (number, conjugate), group in alike.items():
        if len(group) <= MANY_TERMS:
            rest += group
            continue
        columns = np.concatenate([_listed_last(t, shape) for t in group], axis=-1)
        columns = np.sort(columns, axis=-1)
        width = int(np.count_nonzero(columns >= 0, axis=-1).max(initial=0))
        if width:
            rest.append(Term(columns[..., columns.shape[-1] - width :], number, conjugate))
    return rest


def _listed_last(term: Term, shape: tuple[int, ...]) -> np.ndarray:
    return term.columns.reshape(*shape, math.prod(trailing(term, len(shape))))


def _present(term: Term) -> float:
    """The share of elements that are present, among a thousand."""
    flat = term.columns.reshape(-1)
    sample = flat[:: max(len(flat) // 1000, 1)]
    return np.count_nonzero(sample >= 0) / max(len(sample), 1)


def _shift(term: Term, own: np.ndarray) -> int | None:
    if term.columns.ndim != own.ndim or not term.columns.size:
        return None
    present = term.columns >= 0
    first = int(np.argmax(present))
    distance = int(term.columns.flat[first]) - first
    return distance if ((term.columns - own == distance) | ~present).all() else None


def _overlay(a: Term, b: Term) -> Term:
    """The sum of two terms that agree wherever both are present."""
    here, there = a.columns >= 0, b.columns >= 0
    columns = np.where(here, a.columns, b.columns)
    if (here == there).all():
        return Term(columns, factors.plus(a.factor, b.factor), a.conjugate)
    if not (here & there).any():
        return Term(columns, factors.select(here, a.factor, b.factor), a.conjugate)
    one, other = factors.select(here, a.factor, 0.0), factors.select(there, b.factor, 0.0)
    return Term(columns, factors.plus(one, other), a.conjugate)


def _merge_scatters(scatters: Sequence[Scatter]) -> list[Scatter]:
    out: list[Scatter] = []
    for s in scatters:
        for k, o in enumerate(out):
            if o.conjugate == s.conjugate and _same(o.rows, s.rows) and _same(o.columns, s.columns):
                out[k] = Scatter(o.rows, o.columns, factors.plus(o.factor, s.factor), o.conjugate)
                break
        else:
            out.append(s)
    return [s for s in out if not (is_number(s.factor) and s.factor == 0)]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.shape == b.shape and bool(np.array_equal(a, b)))


def overlaid(below: Linear, above: Linear, hit: np.ndarray, dtype: Any, affine: bool = False) -> Linear:
    """The sum of two values of which one is absent where `hit` is True and the other where it is False.

    Terms with the same scalar factor, or with host factors, are joined in pairs, so that a loop that writes one
    element a step ends with as many terms as one step.
    """
    rank = len(below.shape)
    lower, upper = [t for t in below.terms if _on_host(t)], [t for t in above.terms if _on_host(t)]
    terms = [t for t in (*below.terms, *above.terms) if not _on_host(t)]
    for one, other in paired([lower, upper], rank):
        if one is None or other is None:
            terms += [t for t in (one, other) if t is not None]
            continue
        mask = hit.reshape(hit.shape + (1,) * (one.columns.ndim - rank))
        factor = factors.select(mask, other.factor, one.factor)
        terms.append(Term(np.where(mask, other.columns, one.columns), factor, one.conjugate))
    affine = affine or below.affine or above.affine
    return Linear(below.shape, dtype, tuple(terms), (*below.scatters, *above.scatters), affine)


def _on_host(t: Term) -> bool:
    return is_scalar(t.factor) or factors.is_host(t.factor)


def paired(parts: Sequence[Sequence[Term]], rank: int) -> Iterator[list[Term | None]]:
    """Terms of several values that can stand in one term where the values do not overlap.

    One term for the t-th term of every part, instead of one for each term of each: `jnp.roll` stays one term.
    """
    left = [list(part) for part in parts]
    while any(left):
        first = next(part[0] for part in left if part)
        yield [_partner(part, first, rank) for part in left]


def _partner(part: list[Term], wanted: Term, rank: int) -> Term | None:
    fits = [
        t
        for t in part
        if t.columns.shape[rank:] == wanted.columns.shape[rank:] and t.conjugate == wanted.conjugate
    ]
    best = next(
        (t for t in fits if factors.same_number([t.factor, wanted.factor])), fits[0] if fits else None
    )
    if best is not None:
        part.remove(best)
    return best


def joined_factor(
    chosen: Sequence[Term | None], shapes: Sequence[tuple[int, ...]], dtype: Any
) -> tuple[Any, list[Any]]:
    """The common scalar factor of paired terms, or None and the factors broadcast to the given shapes."""
    present = [t.factor for t in chosen if t is not None]
    if factors.same_number(present):
        return present[0], []
    if any(f is factors.OPAQUE for f in present):
        return factors.OPAQUE, []
    return None, [
        factors.full(0.0 if t is None else t.factor, shape, dtype)
        for t, shape in zip(chosen, shapes, strict=True)
    ]
