"""Symmetric successive over-relaxation by colours, so that each half sweep is a few large steps."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import per_object
from jaxsolve.core.options import require_number
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.ell import RowsOperator, gather, gather_or_zero, rows_operator
from jaxsolve.operators.operator import LinearOperator, Wrapper
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.blocks_on_mesh import BlocksOnMesh, blocks_on_mesh
from jaxsolve.preconditioners.graph import colours_of
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    as_square,
    inherited,
    is_self_transposed,
    reciprocal,
    with_entries,
)

#: Each colour is one step of the compiled program.
MOST_COLOURS = 96


class SSOR(AbstractPreconditioner):
    """Symmetric over-relaxation, ω(2 - ω) (D + ωU)⁻¹ D (D + ωL)⁻¹, rows ordered by the colours of the graph.

    Rows of one colour are not coupled and are relaxed at once; with ω = 1 this is symmetric Gauss-Seidel. A dense
    matrix keeps its order and is relaxed by triangular solves.

    Args:
        omega: Relaxation factor; above 1 loses with two colours.

    Raises:
        StructureError: If `omega` is not between 0 and 2; from `build`, if the entries of A are not known, or its
            graph needs too many colours.

    Builds: an operator of shape (n, n) in the dtype of A; positive definite where A is, for 0 < ω < 2.
    Cost: set-up a permutation of the entries, application 2 products.
    Source: Saad (2003), sections 4.1.2, 10.2.1 and 12.4.3.

    >>> A = jnp.array([[2.0, 1.0], [0.0, 4.0]])
    >>> jnp.allclose(SSOR().build(A).as_matrix() @ A, jnp.eye(2)).item()  # exact for a triangle
    True
    """

    name: ClassVar[str] = "ssor"
    cost: ClassVar[str] = "set-up a permutation of the entries, application 2 products"

    omega: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require_number("SSOR", "omega", self.omega, 0, 2)
        if not 0 < self.omega < 2:
            raise StructureError(f"SSOR needs 0 < omega < 2; got {self.omega}.")

    def build_on_mesh(self, A: Any) -> BlocksOnMesh:
        """The sweeps over the rows and columns of each device of a mesh."""
        return blocks_on_mesh(A, self, self.build)

    def build(self, A: Any) -> LinearOperator:
        """The two half sweeps as an operator."""
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        A = as_square(A, self.name)
        array = A.dense_form
        if array is not None:
            return TriangularSweeps(array, self.omega, inherited(A))
        return _colour_sweeps(with_entries(A, self.name), self.omega)


class TriangularSweeps(Wrapper):
    """The two half sweeps of a dense matrix in its own order."""

    operator: DenseMatrix
    omega: float = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """Forward and backward substitution."""
        dtype = common(self.operator.matrix, x)
        A, x = self.operator.matrix.astype(dtype), x.astype(dtype)
        d = 1 / reciprocal(jnp.diagonal(A))
        D = jnp.diag(d)
        solve = jax.scipy.linalg.solve_triangular
        y = solve(D + self.omega * jnp.tril(A, -1), x, lower=True)
        z = solve(D + self.omega * jnp.triu(A, 1), d * y)
        return self.omega * (2 - self.omega) * z

    def transpose(self) -> LinearOperator:
        """The same sweeps with the transposed matrix."""
        if is_self_transposed(self):
            return self
        return TriangularSweeps(self.operator.transpose(), self.omega, self.facts.T)


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
        return _colour_sweeps(self.matrix.transpose(), self.omega)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Rows by colour; for each colour the patterns and entries of its couplings below and above."""

    order: np.ndarray
    place: np.ndarray
    diagonals: tuple[np.ndarray, ...]
    below: tuple[tuple[Pattern, np.ndarray], ...]
    above: tuple[tuple[Pattern, np.ndarray], ...]


def _colour_sweeps(A: SparseMatrix, omega: float) -> ColourSweeps:
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
