"""FSAI: a factorised sparse approximate inverse from many small dense solves at once."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import per_object
from jaxsolve.core.options import require_count, require_flag
from jaxsolve.core.staging import index_array
from jaxsolve.operators.diagonal import Diagonal
from jaxsolve.operators.ell import gather, gather_or_zero
from jaxsolve.operators.operator import Declared, LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.graph import neighbours, require_room_for_product
from jaxsolve.preconditioners.local_blocks import padded_rows, piece_positions
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, inherited, with_entries
from jaxsolve.preconditioners.xla_barriers import after

#: Rows of a group are padded to one of these widths: few programs, and at most half of the slots unused.
WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
#: Entries of a row (of unit pivot) and pivots (of a matrix of unit diagonal) beyond 1 / (ROUNDING eps) are noise.
ROUNDING = 16


class FSAI(AbstractPreconditioner):
    """A factorised sparse approximate inverse, M = Gᴴ G with a sparse triangular G.

    Row i of G minimises the distance of G L from the identity (A = L Lᴴ, which is never computed) over the
    positions J of its row: it is the last row of the inverse of the small matrix A[J, J], scaled. All rows are
    found at once by batched dense solves, and an application is two sparse products: no recurrences, so that set-up
    and application suit a GPU, traced values and vmap. Matrices that are not symmetric get two factors, H D G, the
    same way. Rows whose small matrix is singular (or not definite, where that is needed) fall back to Jacobi.

    Args:
        power: G has the lower pattern of A (1), of A² (2), ...; each step costs about as much as it gains on a CPU.
        definite: Whether the operator has to be Hermitian positive definite; None: where A is.

    Raises:
        StructureError: If `power` is less than 1; from `build`, if the entries of A are not known, or its rows are
            so long that the small matrices would take gigabytes.

    Builds: an operator of shape (n, n) in the dtype of A; positive definite by construction where A is, or where
        the method needs it.
    Cost: set-up about n w³ flops for w entries in a row of G; application two products with the factors, 1 to 3
        products with A.
    Source: Kolotilina and Yeremin, Factorized sparse approximate inverse preconditionings I (1993).

    >>> A = SparseMatrix.from_dense(jnp.array([[4.0, 2.0], [2.0, 5.0]])).declare(positive_definite=True)
    >>> jnp.allclose(FSAI().build(A).as_matrix(), jnp.linalg.inv(A.as_matrix())).item()
    True
    """

    name: ClassVar[str] = "fsai"
    needs: ClassVar[str] = "known entries; positive definite is natural"
    cost: ClassVar[str] = "set-up n w^3 for w entries in a row of G, application 1 to 3 products"

    power: int = eqx.field(static=True, default=1)
    definite: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require_count("FSAI", "power", self.power)
        require_flag("FSAI", "definite", self.definite)

    def suited(self, definite: bool) -> "FSAI":
        """The same with a positive definite result where a method needs one (CG, MINRES)."""
        return dataclasses.replace(self, definite=True) if definite and self.definite is None else self

    def build(self, A: Any) -> LinearOperator:
        """The product of the factors."""
        matrix = with_entries(A, self.name)
        facts = inherited(matrix)
        definite = facts.positive_definite if self.definite is None else self.definite
        plan = _plan(matrix.pattern, self.power)
        scale = _scale(matrix)
        rows, columns = index_array(matrix.pattern.rows), index_array(matrix.pattern.indices)
        scaled = matrix.data * (gather(scale, rows) * gather(scale, columns)).astype(matrix.dtype)
        found = []
        for group in plan.groups:
            solve = _definite_rows if definite else _rows
            data = after(found[-1][2][0], scaled) if found else scaled
            found.append(solve(data, group))
        lower, upper, pivots = (_together([part[k] for part in found]) for k in range(3))
        lower_rows = index_array(plan.pattern.rows)
        spread = gather(scale, index_array(plan.pattern.indices))
        pivots = gather(pivots, index_array(plan.row_places))

        def factor(values: Array) -> SparseMatrix:
            return SparseMatrix(gather(values, index_array(plan.places)) * spread, plan.pattern)

        G = factor(lower)
        if definite:
            G = SparseMatrix(G.data * gather(jnp.sqrt(pivots), lower_rows), plan.pattern)
            return Declared(G.H.layout() @ G.layout(), inherited(matrix.declare(positive_definite=True)))
        if facts.symmetric:
            H = G.T
        elif facts.hermitian:
            H = G.H
        else:
            H = factor(upper).T
        return Declared(H.layout() @ (Diagonal(pivots) @ G.layout()), facts)


@dataclasses.dataclass(frozen=True)
class _Group:
    """Rows of G of about one length.

    Attributes:
        positions: Shape (count, width, width): where the entries of A[J, J] are in A.
        unused: Shape (count, width): whether a slot is padding; the row itself is in the last slot.
    """

    positions: np.ndarray
    unused: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is known of G before its values.

    Attributes:
        pattern: The pattern of G.
        groups: Its rows by length.
        places: Where each entry of G is in the concatenated solutions of the groups.
        row_places: The place of each row in the concatenated groups.
    """

    pattern: Pattern
    groups: tuple[_Group, ...]
    places: np.ndarray
    row_places: np.ndarray


@per_object
def _plan(pattern: Pattern, power: int) -> _Plan:
    n = pattern.shape[0]
    lower = _lower(pattern, power)
    sizes = np.diff(lower.indptr)
    if sizes.max(initial=0) > WIDTHS[-1]:
        raise StructureError(
            f"preconditioner 'fsai' solves a dense system for each row of its factor; one of them has "
            f"{sizes.max()} entries (at most {WIDTHS[-1]}). Use a smaller power, 'block-jacobi', 'ilu' or 'amg'."
        )
    kinds = np.searchsorted(WIDTHS, sizes)
    groups = []
    places, row_places = np.empty(lower.nnz, np.int32), np.empty(n, np.int32)
    start, first = 0, 0
    for kind in np.unique(kinds):
        rows, width = np.flatnonzero(kinds == kind), WIDTHS[kind]
        entries = np.flatnonzero((kinds == kind)[lower.rows])
        labels = np.searchsorted(rows, lower.rows[entries])
        table = padded_rows(labels, lower.indices[entries], len(rows), width, n)
        where = padded_rows(labels, entries, len(rows), width, -1).reshape(-1)
        places[where[where >= 0]] = start + np.flatnonzero(where >= 0)
        row_places[rows] = first + np.arange(len(rows))
        groups.append(_Group(piece_positions(pattern, table, FSAI.name), table == n))
        start, first = start + table.size, first + len(rows)
    return _Plan(lower, tuple(groups), places, row_places)


def _lower(pattern: Pattern, power: int) -> Pattern:
    """The lower triangle, diagonal included, of the symmetrised pattern to a power."""
    n = pattern.shape[0]
    graph = (neighbours(pattern).astype(bool) + scipy.sparse.eye_array(n, dtype=bool)).tocsr()
    reach = graph
    for _ in range(power - 1):
        require_room_for_product(reach, graph, f"preconditioner {FSAI.name!r}")
        reach = reach @ graph
    coo = reach.tocoo()
    below = coo.col <= coo.row
    return Pattern.from_coo(coo.row[below], coo.col[below], (n, n))[0]


def _scale(A: SparseMatrix) -> Array:
    """1 / √|a_ii|, and for small a_ii that of the row's largest entry, so that thresholds are free of units."""
    sizes = jnp.abs(A.data)
    largest = jnp.zeros(A.shape[0], sizes.dtype).at[index_array(A.pattern.rows)].max(sizes)
    d = jnp.abs(A.diagonal())
    d = jnp.where(d > 1e-3 * largest, d, largest)
    return lax.rsqrt(jnp.where(d > 0, d, 1))


def _pieces(data: Array, group: _Group) -> tuple[Array, Array]:
    """The small matrices, ones on the diagonal of unused slots; and the last unit vectors."""
    blocks = gather_or_zero(data, index_array(group.positions))
    width = group.unused.shape[1]
    eye = jnp.eye(width, dtype=data.dtype)
    blocks = blocks + jnp.where(index_array(group.unused)[:, :, None], eye, 0)
    return blocks, jnp.broadcast_to(eye[:, -1:], (*group.unused.shape, 1))


def _definite_rows(data: Array, group: _Group) -> tuple[Array, Array, Array]:
    """The last columns of conj(A[J, J])⁻¹ over their last entries, twice, and the last entries."""
    blocks, last = _pieces(data, group)
    L = jnp.linalg.cholesky(jnp.conj(blocks), symmetrize_input=False)
    # A = L Lᴴ: Lᴴ y = L⁻¹ e = e / l for the last unit vector e, and the last entry of y is 1 / l².
    y = lax.linalg.triangular_solve(L, last, left_side=True, lower=True, transpose_a=True, conjugate_a=True)
    pivot = L[:, -1, -1].real
    y = y[..., 0] * pivot[:, None].astype(y.dtype)
    return _usable(y, y, 1 / pivot**2, last[..., 0])


def _rows(data: Array, group: _Group) -> tuple[Array, Array, Array]:
    """The last row and the last column of A[J, J]⁻¹ over their common last entry, and that entry."""
    blocks, last = _pieces(data, group)
    factors = jax.scipy.linalg.lu_factor(blocks)
    row, column = (jax.scipy.linalg.lu_solve(factors, last, trans)[..., 0] for trans in (1, 0))
    pivot = row[:, -1]
    return _usable(row / pivot[:, None], column / column[:, -1:], pivot, last[..., 0])


def _usable(row: Array, column: Array, pivot: Array, instead: Array) -> tuple[Array, Array, Array]:
    """The same with unit vectors and pivots in place of what is not finite or far too large."""
    limit = 1 / (ROUNDING * jnp.finfo(row.dtype).eps)
    sizes = jnp.max(jnp.abs(row), axis=-1) + jnp.max(jnp.abs(column), axis=-1)
    # NaN compares false.
    fine = (sizes < limit) & (jnp.abs(pivot) < limit) & (pivot != 0)
    row, column = (jnp.where(fine[:, None], part, instead) for part in (row, column))
    return row, column, jnp.where(fine, pivot, 1)


def _together(parts: list[Array]) -> Array:
    return jnp.concatenate([part.reshape(-1) for part in parts])
