"""Banded elimination: LAPACK's for three diagonals, a pivoted band LU in JAX for more."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import compiled
from jaxsolve.core.memory import require_memory
from jaxsolve.core.options import require_count
from jaxsolve.core.tree import common
from jaxsolve.core.vector import applied, mul, power_of_two
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.refinement import AbstractDirect
from jaxsolve.tracer.explicit_matrix import with_known_entries


class Banded(AbstractDirect):
    """Elimination with partial pivoting within a band, and refinement.

    Args:
        lower: Diagonals below the main one; None reads it off the pattern (or the values of a concrete array).
        upper: Diagonals above the main one.

    Raises:
        StructureError: If an option is no integer of at least 0, the band is not known, entries lie outside the
            declared one, or it does not fit into memory.
        NotConverged: Out of a solve: `singular` where a pivot is 0.

    Solves: A x = b with A of shape (n, n), real or complex, whose entries lie near the diagonal.
    Cost: about n (2 lower + upper) lower flops once; memory 2 lower + upper vectors.
    Source: Golub and Van Loan (2013), section 4.3.3.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = 2 * jnp.eye(4) - jnp.eye(4, k=1) - jnp.eye(4, k=-1)
    >>> [round(v, 3) for v in js.solve_linear(A, jnp.ones(4), js.Solve(js.Banded(lower=1, upper=1))).tolist()]
    [2.0, 3.0, 3.0, 2.0]
    """

    name: ClassVar[str] = "banded"
    needs: ClassVar[str] = "few diagonals next to the main one"
    storage: ClassVar[str] = "2 lower + upper"
    entries: ClassVar[bool] = True

    lower: int | None = None
    upper: int | None = None

    def __check_init__(self) -> None:
        for option in ("lower", "upper"):
            if getattr(self, option) is not None:
                require_count("Banded", option, getattr(self, option), least=0)

    def prepare(self, A: LinearOperator) -> LinearOperator:
        """The inverse by factors of the band."""
        # The band of a user's operator is read off its products, where they show it.
        A = A if A.known_bandwidth is not None else with_known_entries(A)
        lower, upper = self._band(A)
        # The diagonals, the factors with what pivoting adds above, and the multipliers.
        needed = (3 * lower + 2 * upper + 2) * A.shape[0] * np.dtype(A.dtype).itemsize
        what = f"a band of {lower} diagonals below and {upper} above the main one"
        require_memory(needed, f"`{self.name}`", what, "Use 'sparse-direct' or 'auto'.", on_device=True)
        return _factors(lower, upper, A)

    def _band(self, A: LinearOperator) -> tuple[int, int]:
        found = A.known_bandwidth
        if found is None:
            if self.lower is None or self.upper is None:
                raise StructureError(
                    "`banded` needs to know the band of A, which is traced and dense, or matrix-free. "
                    "Give it: js.Banded(lower=..., upper=...), or pass a js.SparseMatrix."
                )
            return self.lower, self.upper
        band = (
            found[0] if self.lower is None else self.lower,
            found[1] if self.upper is None else self.upper,
        )
        if found[0] > band[0] or found[1] > band[1]:
            raise StructureError(
                f"A has {found[0]} diagonals below and {found[1]} above the main one; `{self.name}` was told "
                f"{band[0]} and {band[1]}. Use js.Banded() or a general method."
            )
        return band


def _factorised(lower: int, upper: int, A: LinearOperator) -> LinearOperator:
    diagonals = _diagonals(A, lower, upper)
    unit = power_of_two(jnp.max(jnp.abs(diagonals), initial=0))
    scale = unit.astype(diagonals.dtype)
    if lower <= 1 and upper <= 1:
        dl, d, du = _diagonals(A, 1, 1) / scale
        return Tridiagonal(dl, d, du, unit)
    return BandFactors(*_factorise(diagonals / scale, lower, upper), unit, lower, upper)


_factors = compiled(_factorised, static=2)


def _diagonals(A: LinearOperator, lower: int, upper: int) -> Array:
    """Row k holds A[i, i + k - lower] at i; zero outside the matrix. Shape (lower + 1 + upper, n)."""
    n = A.shape[0]
    rows = jnp.arange(n)
    layout = A.by_diagonals()
    if layout is not None:
        zero = jnp.zeros(n, layout.dtype)
        stored = dict(zip(layout.offsets, layout.values, strict=True))
        return jnp.stack([stored.get(d, zero) for d in range(-lower, upper + 1)])
    matrix = A.as_matrix()
    columns = rows[None, :] + jnp.arange(-lower, upper + 1)[:, None]
    inside = (columns >= 0) & (columns < n)
    return jnp.where(inside, matrix[rows, jnp.clip(columns, 0, max(n - 1, 0))], 0)


class Tridiagonal(LinearOperator):
    """The inverse of a tridiagonal matrix, divided by `unit`, by LAPACK's pivoted elimination at every use."""

    dl: Array
    d: Array
    du: Array
    unit: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.d.shape[0], self.d.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.d.dtype

    def mv(self, x: Array) -> Array:
        """The solution for the right-hand side x."""
        dtype = common(x, self.dtype)
        dl, d, du = (v.astype(dtype) for v in (self.dl, self.d, self.du))
        if d.shape[0] < 3:
            # LAPACK's routine wants three rows: the matrix is written out.
            matrix = jnp.diag(d) + jnp.diag(dl[1:], -1) + jnp.diag(du[:-1], 1)
            return jnp.linalg.solve(matrix, x.astype(dtype)) / self.unit.astype(dtype)
        return lax.linalg.tridiagonal_solve(dl, d, du, x.astype(dtype)[:, None])[:, 0] / self.unit.astype(
            dtype
        )

    def transpose(self) -> LinearOperator:
        """The inverse of the transpose: the outer diagonals swapped."""
        return Tridiagonal(jnp.roll(self.du, 1), self.d, jnp.roll(self.dl, -1), self.unit)

    def conj(self) -> LinearOperator:
        """The conjugate."""
        return Tridiagonal(jnp.conj(self.dl), jnp.conj(self.d), jnp.conj(self.du), self.unit)


class BandFactors(LinearOperator):
    """The inverse of a band matrix by its pivoted factors.

    Args:
        pivots: For each column, how many rows below the diagonal the pivot was; shape (n,).
        multipliers: The column of L below the diagonal; shape (n, lower).
        rows: The row of U from the diagonal on; shape (n, lower + upper + 1).
        unit: The size of A's entries, by which the factors were divided.
        lower: Diagonals below the main one.
        upper: Diagonals above.
        transposed: Whether this is the inverse of the transpose.
    """

    pivots: Array
    multipliers: Array
    rows: Array
    unit: Array
    lower: int = eqx.field(static=True)
    upper: int = eqx.field(static=True)
    transposed: bool = eqx.field(static=True, default=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.rows.shape[0], self.rows.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the factors."""
        return self.rows.dtype

    def mv(self, x: Array) -> Array:
        """The solution for the right-hand side x, by two sweeps."""
        x = x.astype(common(x, self.dtype))
        solved = self._transposed_solve(x) if self.transposed else self._solve(x)
        return solved / self.unit.astype(solved.dtype)

    def _solve(self, b: Array) -> Array:
        kl = self.lower

        def eliminate(window, column):
            pivot, multipliers, entry = column
            window = _swap(jnp.append(window, entry), pivot)
            return window[1:] - mul(multipliers, window[0]), window[0]

        padded = jnp.concatenate([b, jnp.zeros(kl, b.dtype)])
        _, y = lax.scan(eliminate, padded[:kl], (self.pivots, self.multipliers, padded[kl:]))

        def substitute(later, row):
            u, entry = row
            x = (entry - applied(u[1:], later)) / u[0].astype(entry.dtype)
            return jnp.append(x, later)[:-1], x

        width = self.rows.shape[1] - 1
        return lax.scan(substitute, jnp.zeros(width, b.dtype), (self.rows, y), reverse=True)[1]

    def _transposed_solve(self, b: Array) -> Array:
        # Aᵀ = Uᵀ L₁ᵀP₁ ... : forward with Uᵀ, then the eliminations undone from the last column on.
        width, kl = self.rows.shape[1] - 1, self.lower

        def substitute(pending, row):
            u, entry = row
            y = (entry - pending[0]) / u[0].astype(entry.dtype)
            return jnp.append(pending[1:], 0) + mul(u[1:], y), y

        _, y = lax.scan(substitute, jnp.zeros(width, b.dtype), (self.rows, b))

        def undo(window, column):
            pivot, multipliers, entry = column
            head = entry - applied(multipliers, window)
            window = _swap(jnp.concatenate([head[None], window]), pivot)
            return window[:-1], window[-1]

        first, rest = lax.scan(undo, jnp.zeros(kl, b.dtype), (self.pivots, self.multipliers, y), reverse=True)
        return jnp.concatenate([first, rest])[: b.shape[0]]

    def transpose(self) -> LinearOperator:
        """The inverse of the transpose, by the same factors."""
        return BandFactors(
            self.pivots, self.multipliers, self.rows, self.unit, self.lower, self.upper, not self.transposed
        )

    def conj(self) -> LinearOperator:
        """The conjugate."""
        multipliers, rows = jnp.conj(self.multipliers), jnp.conj(self.rows)
        return BandFactors(self.pivots, multipliers, rows, self.unit, self.lower, self.upper, self.transposed)


def _factorise(diagonals: Array, lower: int, upper: int) -> tuple[Array, Array, Array]:
    """Band LU with partial pivoting (Golub & Van Loan 2013, section 4.3.3): pivots, multipliers, rows of U.

    Args:
        diagonals: As `_diagonals` returns them.
        lower: Diagonals below the main one.
        upper: Diagonals above.
    """
    n, width = diagonals.shape[1], 2 * lower + upper + 1
    width = lower + upper + 1
    # Row i of the band starts at column i - lower. It is shifted, so that the window's rows start at the pivot.
    band = diagonals.T
    band = jnp.concatenate([band, jnp.zeros((lower, width), band.dtype)])

    def eliminate(window, incoming):
        # window[j] is row k + j from column k on, j < lower; the incoming row is k + lower, whose first is column k.
        window = jnp.concatenate([window, incoming[None]])
        pivot = jnp.argmax(jnp.abs(window[:, 0]))
        window = _swap(window, pivot)
        top = window[0]
        # A zero column leaves U singular: the sweep divides by zero and the driver reports it.
        multipliers = window[1:, 0] / jnp.where(top[0] == 0, 1, top[0])
        rest = window[1:] - multipliers[:, None] * top[None, :]
        return jnp.pad(rest[:, 1:], ((0, 0), (0, 1))), (pivot, multipliers, top)

    # The first rows reach to the left of column 0: they are moved to start there.
    first = jnp.zeros((lower, width), band.dtype)
    for i in range(lower):
        first = first.at[i, : width - lower + i].set(band[i, lower - i :])
    _, (pivots, multipliers, rows) = lax.scan(eliminate, first, band[lower : lower + n])
    return pivots, multipliers, rows


def _swap(v: Array, pivot: Array) -> Array:
    """v with entries (rows) 0 and `pivot` exchanged."""
    return v.at[0].set(v[pivot]).at[pivot].set(v[0])
