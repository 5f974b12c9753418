"""Linear: an intermediate value of the traced function, written as a sum of static maps of the unknown.

Every value that depends on the unknown x is

    y[s] = sum over terms, k of  factor[s, k] * x[columns[s, k]]
         + sum over scatters, e with rows[e] = s of  factor[e] * x[columns[e]]   (+ an offset that is not kept)

with `columns` and `rows` on the host (-1: nothing there) and factors that may be traced. Whether there is an offset
is known (`affine`); its value is f(0) and is computed by calling f.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jaxsolve.tracer.factors import full, is_host, is_number, is_scalar


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """One entry (or one per point of the trailing axes) for every element of a value.

    Attributes:
        columns: Element of x, or -1; shape (*value shape, *trailing axes that are summed over).
        factor: A number, or an array of the same rank with axes that are full or of size 1.
        conjugate: Whether the term acts on the conjugate of x.
    """

    columns: np.ndarray
    factor: Any = 1.0
    conjugate: bool = False

    @functools.cached_property
    def signature(self) -> tuple[Any, ...]:
        """Equal for terms of equal positions; samples of the positions tell most others apart."""
        flat, size = self.columns.flat, self.columns.size
        samples = tuple(int(flat[size * k // 8]) for k in range(8)) if size else ()
        return (self.columns.shape, self.conjugate, samples)

    def same_positions(self, other: "Term") -> bool:
        """Whether two terms read the same elements; by address first, then by content."""
        a, b = self.columns, other.columns
        if self.signature != other.signature:
            return False
        here, there = (c.__array_interface__["data"][0] for c in (a, b))
        return (here == there and a.strides == b.strides) or bool(np.array_equal(a, b))


@dataclasses.dataclass(frozen=True, eq=False)
class Scatter:
    """Entries at listed rows, for sums that put several contributions into one element.

    Attributes:
        rows: Element of the value, or -1; shape (e,).
        columns: Element of x, or -1; shape (e,).
        factor: A scalar or an array of shape (e,).
        conjugate: Whether the entries act on the conjugate of x.
    """

    rows: np.ndarray
    columns: np.ndarray
    factor: Any = 1.0
    conjugate: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """A value that depends linearly (or, with `affine`, up to an offset) on the unknown."""

    shape: tuple[int, ...]
    dtype: Any
    terms: tuple[Term, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    affine: bool = False

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def entries(self) -> int:
        """The number of stored positions, present or not."""
        return sum(t.columns.size for t in self.terms) + sum(s.columns.size for s in self.scatters)


def unknown(shape: tuple[int, ...], dtype: Any, start: int, integer: Any) -> Linear:
    """The unknown itself: element i of it is column start + i."""
    columns = np.arange(start, start + math.prod(shape), dtype=integer).reshape(shape)
    return Linear(shape, dtype, (Term(columns),))


def trailing(term: Term, rank: int) -> tuple[int, ...]:
    """The sizes of the axes of a term that are summed over."""
    return term.columns.shape[rank:]


def as_scatter(term: Term, shape: tuple[int, ...], dtype: Any) -> Scatter:
    """The same entries with their rows listed."""
    rows = np.arange(math.prod(shape), dtype=term.columns.dtype).reshape(shape)
    rows = np.broadcast_to(rows.reshape(shape + (1,) * (term.columns.ndim - len(shape))), term.columns.shape)
    factor = term.factor
    if not is_scalar(factor):
        factor = full(factor, term.columns.shape, factor.dtype).reshape(-1)
    return Scatter(rows.reshape(-1), term.columns.reshape(-1), factor, term.conjugate)


def is_zero(known: Any) -> bool:
    """Whether a value that does not depend on the unknown is known to be exactly zero."""
    if not is_host(known):
        return False
    return known == 0 if is_number(known) else not np.any(known)
