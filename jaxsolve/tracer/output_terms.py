"""Output terms: the terms of all outputs of a function, with their rows."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import Equation, Jaxpr, Literal, Tracer, prims
from jaxsolve.core.errors import NotLinearError
from jaxsolve.tracer import factors
from jaxsolve.tracer.value import Linear, Scatter, Term


@dataclasses.dataclass(frozen=True)
class Piece:
    """A term or scatter of one output array.

    Attributes:
        entry: The term, without its factor where that is traced.
        shape: Of the output array.
        start: The first of its rows.
        traced: Which of the traced factors belongs to it, or None for a known one.
        sizes: The shape of the factor, its axes full or of size 1.
        first: The place of its first value among those of all pieces; see `placed`.
    """

    entry: Term | Scatter
    shape: tuple[int, ...]
    start: int
    traced: int | None
    sizes: tuple[int, ...]
    first: int = 0

    @property
    def count(self) -> int:
        """The number of values of the factor: 1 for a constant coefficient."""
        return math.prod(self.sizes)

    def places(self, integer: Any) -> np.ndarray:
        """For each entry the place of its value; flat."""
        places = np.arange(self.first, self.first + self.count, dtype=integer).reshape(self.sizes)
        return np.broadcast_to(places, self.entry.columns.shape).reshape(-1)

    @property
    def rows(self) -> np.ndarray:
        """The row of each entry (-1: none), flat."""
        entry, columns = self.entry, self.entry.columns
        integer = columns.dtype
        if isinstance(entry, Scatter):
            return np.where(entry.rows >= 0, entry.rows + integer.type(self.start), integer.type(-1))
        size = math.prod(self.shape)
        rows = np.arange(self.start, self.start + size, dtype=integer)
        return np.broadcast_to(rows[:, None], (size, columns.size // max(size, 1))).reshape(-1)

    def factor(self, values: Sequence[Any]) -> Any:
        """The factor, given the traced ones."""
        return self.entry.factor if self.traced is None else values[self.traced]

    def flat(self, values: Sequence[Any], dtype: Any) -> Any:
        """The values of the factor, one for all entries that share it."""
        return factors.full(self.factor(values), self.sizes, dtype).reshape(-1)


def pieces_of(outputs: Sequence[Any], real: np.ndarray) -> tuple[list[Piece], list[Any]]:
    """The pieces of the outputs of a reading, and the traced factors among theirs.

    Args:
        outputs: A `Linear` for each output array; others hold nothing.
        real: Whether each element of the unknown is real.

    Raises:
        NotLinearError: If conjugates of complex elements are left.
    """
    pieces, traced, start = [], [], 0
    conjugated: list[tuple[Piece, Any]] = []
    for y in outputs:
        for entry in (*y.terms, *y.scatters) if isinstance(y, Linear) else ():
            factor, number = entry.factor, None
            flipped = entry.conjugate and bool((~real[entry.columns[entry.columns >= 0]]).any())
            if isinstance(factor, Tracer):
                number, factor = len(traced), 0.0
                traced.append(entry.factor)
            sizes = np.shape(entry.factor) or (1,) * entry.columns.ndim
            known = dataclasses.replace(entry, factor=factor, conjugate=False)
            piece = Piece(known, y.shape, start, number, sizes)
            if flipped:
                conjugated.append((piece, y.dtype))
            else:
                pieces.append(piece)
        start += math.prod(np.shape(y) if not isinstance(y, Linear) else y.shape)
    if conjugated and not _cancel(conjugated, len(real)):
        raise NotLinearError(
            "the function depends on the complex conjugate of its first argument (by real, imag, conj or abs), so it "
            "is linear over the real numbers only and has no complex matrix. Pass the real and imaginary parts as "
            "two real arrays of a pytree."
        )
    return pieces, traced


def _cancel(conjugated: list[tuple[Piece, Any]], columns: int) -> bool:
    """Whether entries on conjugates are known to sum to exactly zero."""
    if any(piece.traced is not None for piece, _ in conjugated):
        return False
    rows = np.concatenate([piece.rows for piece, _ in conjugated]).astype(np.int64)
    cols = np.concatenate([piece.entry.columns.reshape(-1) for piece, _ in conjugated])
    values = [piece.flat([], np.complex128)[piece.places(np.int64)] for piece, _ in conjugated]
    values = np.concatenate(values)
    present = (rows >= 0) & (cols >= 0)
    _, inverse = np.unique(rows[present] * columns + cols[present], return_inverse=True)
    sums = np.zeros(inverse.max(initial=-1) + 1, complex)
    np.add.at(sums, inverse, values[present])
    return not sums.any()


def placed(pieces: Sequence[Piece], jaxpr: Jaxpr) -> list[Piece]:
    """The pieces with the places of their values; equal factors (of the two halves of a symmetric sum) share theirs.

    Args:
        pieces: The pieces.
        jaxpr: Computes the traced factors.
    """
    origins = _origins(jaxpr)
    places: dict[Any, tuple[int | None, int]] = {}
    out, first = [], 0
    for k, piece in enumerate(pieces):
        key = ("known", k) if piece.traced is None else origins[piece.traced]
        if key not in places:
            places[key] = (piece.traced, first)
            first += piece.count
        traced, own = places[key]
        out.append(dataclasses.replace(piece, traced=traced, first=own))
    return out


def _origins(jaxpr: Jaxpr) -> list[tuple[Any, int]]:
    """For each output of a jaxpr, the variable that it equals up to a sign, and that sign."""
    origins: dict[Any, tuple[Any, int]] = {}

    def origin(atom: Any) -> tuple[Any, int]:
        return (id(atom), 1) if isinstance(atom, Literal) else origins.get(atom, (atom, 1))

    equations: list[Equation] = jaxpr.eqns
    for eqn in equations:
        if eqn.primitive is prims.neg_p:
            atom, sign = eqn.invars[0], -1
        elif eqn.primitive is prims.mul_p and any(map(_is_sign, eqn.invars)):
            number, atom = sorted(eqn.invars, key=_is_sign, reverse=True)
            sign = int(np.real(number.val))
        else:
            continue
        if atom.aval.shape == eqn.outvars[0].aval.shape:
            base, before = origin(atom)
            origins[eqn.outvars[0]] = (base, sign * before)
    return [origin(atom) for atom in jaxpr.outvars]


def _is_sign(atom: Any) -> bool:
    return isinstance(atom, Literal) and np.ndim(atom.val) == 0 and abs(atom.val) == 1 and np.isreal(atom.val)


def concatenated(pieces: Sequence[Piece], values: Sequence[Any], dtype: Any) -> Any:
    """The values of the factors of all pieces, each once; on the host where all are."""
    once = {(piece.first, piece.count): piece for piece in pieces}
    parts = [once[place].flat(values, dtype) for place in sorted(once)]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate([np.empty(0, dtype), *parts])
    return jnp.concatenate([jnp.asarray(part) for part in parts])
