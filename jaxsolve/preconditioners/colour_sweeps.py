"""Colour sweeps: rows of one colour are relaxed at once."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import mul
from jaxsolve.operators.ell import RowsOperator, gather, gather_or_zero, rows_operator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.colouring import colours_of
from jaxsolve.preconditioners.preconditioner import (
    inherited,
    is_self_transposed,
    reciprocal,
)

#: Each colour is one step of the compiled program.
MOST_COLOURS = 96


class ColourSweeps(LinearOperator):
    """The two half sweeps by colours, on vectors that are reordered by colour.

    Attributes:
        matrix: The matrix, for the transpose.
        inverses: D⁻¹ of each colour's rows.
        below: For each colour but the first, its rows in the columns of earlier colours.
        above: For each colour but the last, its rows in the columns of later colours.
        order: The rows by colour, and the place of each row in that order.
    """

    matrix: SparseMatrix
    inverses: tuple[Array, ...]
    below: tuple[RowsOperator, ...]
    above: tuple[RowsOperator, ...]
    order: tuple[Array, Array]
    omega: float = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.matrix.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.matrix.dtype

    @property
    def traits(self) -> Traits:
        """What is inherited from the matrix."""
        return inherited(self.matrix)

    def mv(self, x: Array) -> Array:
        """The sweep through the colours upwards, then downwards."""
        r = gather(x, self.order[0])
        sizes = [len(d) for d in self.inverses]
        ends = np.cumsum(sizes)
        y = mul(self.inverses[0], r[: sizes[0]])
        for c, L in enumerate(self.below, start=1):
            step = mul(self.inverses[c], r[ends[c - 1] : ends[c]] - self.omega * L.mv(y))
            y = jnp.concatenate([y, step])
        # (D + ωU) z = D y: z = y - ω D⁻¹ U z, from the last colour to the first.
        z = y[ends[-1] - sizes[-1] :]
        for c in range(len(sizes) - 2, -1, -1):
            step = y[ends[c] - sizes[c] : ends[c]] - mul(self.omega * self.inverses[c], self.above[c].mv(z))
            z = jnp.concatenate([step, z])
        return self.omega * (2 - self.omega) * gather(z, self.order[1])

    def transpose(self) -> LinearOperator:
        """The same sweeps with the transposed matrix, whose lower part is the transposed upper one."""
        if is_self_transposed(self.matrix):
            return self
        return colour_sweeps(self.matrix.transpose(), self.omega)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Rows by colour; for each colour the patterns and entries of its couplings below and above."""

    order: np.ndarray
    place: np.ndarray
    diagonals: tuple[np.ndarray, ...]
    below: tuple[tuple[Pattern, np.ndarray], ...]
    above: tuple[tuple[Pattern, np.ndarray], ...]


def colour_sweeps(A: SparseMatrix, omega: float) -> ColourSweeps:
    """The two half sweeps of a sparse matrix."""
    plan = _plan(A.pattern)
    inverse = reciprocal(A.diagonal())
    inverses = tuple(gather_or_zero(inverse, index_array(rows)) for rows in plan.diagonals)

    def coupling(pattern: Pattern, entries: np.ndarray) -> RowsOperator:
        return rows_operator(gather_or_zero(A.data, index_array(entries)), pattern)

    below = tuple(coupling(*part) for part in plan.below)
    above = tuple(coupling(*part) for part in plan.above)
    return ColourSweeps(A, inverses, below, above, (index_array(plan.order), index_array(plan.place)), omega)


@per_object
def _plan(pattern: Pattern) -> _Plan:
    colour = colours_of(pattern)
    count = int(colour.max(initial=0)) + 1
    if count > MOST_COLOURS:
        raise StructureError(
            f"preconditioner 'ssor' relaxes one colour of rows at a time; this pattern needs {count} colours "
            f"(at most {MOST_COLOURS}): its rows are too long. Use 'block-jacobi' or 'amg'."
        )
    order = np.argsort(colour, kind="stable").astype(np.int32)
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=np.int32)
    starts = np.searchsorted(colour[order], np.arange(count + 1))
    mine, theirs = colour[pattern.rows], colour[pattern.indices]
    below, above = [], []
    for c in range(count):
        height = int(starts[c + 1] - starts[c])
        rows, cols = place[pattern.rows], place[pattern.indices]
        if c > 0:
            below.append(_part(rows - starts[c], cols, (mine == c) & (theirs < c), (height, int(starts[c]))))
        if c + 1 < count:
            start = starts[c + 1]
            width = int(starts[-1] - start)
            above.append(_part(rows - starts[c], cols - start, (mine == c) & (theirs > c), (height, width)))
    diagonals = tuple(order[starts[c] : starts[c + 1]].copy() for c in range(count))
    return _Plan(order, place, diagonals, tuple(below), tuple(above))


def _part(
    rows: np.ndarray, cols: np.ndarray, inside: np.ndarray, shape: tuple[int, int]
) -> tuple[Pattern, np.ndarray]:
    entries = np.flatnonzero(inside)
    pattern, order, _ = Pattern.from_coo(rows[entries], cols[entries], shape)
    return pattern, (entries if order is None else entries[order]).astype(np.int64)
