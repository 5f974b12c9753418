"""Incomplete factorisations by SuperLU, with options that follow the structure and a check of what came out."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from jaxsolve.core import memory
from jaxsolve.operators.bipartite import paired_rows
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, Form, norm, probe
from jaxsolve.solvers.host.handle import Handle
from jaxsolve.solvers.host.scaling import equilibrated, has_symmetric_structure, widened

_LOG = logging.getLogger("jaxsolve.host")

#: SuperLU's symmetric mode without row exchanges: minimum degree on A + Aᵀ.
_SYMMETRIC: dict[str, Any] = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 0.0,
    "options": {"SymmetricMode": True},
}
#: ‖b - A M b‖ / ‖b‖ up to which the first factorisation is kept without trying others.
GOOD = 1.0
#: Additions to the unit diagonal that are tried in turn, the strategy of Manteuffel (1980).
SHIFTS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)


def _bytes_of_fill(pattern: Pattern, dtype: Any) -> int:
    """What SuperLU takes for a fill factor of 1, at once: values of L and of U, and indices (`dLUMemInit`)."""
    return pattern.nnz * (2 * np.result_type(dtype, np.float64).itemsize + 5)


def fill_that_fits(pattern: Pattern, dtype: Any) -> float:
    """The fill factor for which the memory that is taken unasked suffices."""
    return memory.SHARE * memory.available_bytes() / max(_bytes_of_fill(pattern, dtype), 1)


def require_room_for_incomplete(pattern: Pattern, dtype: Any, fill_factor: float, owner: str) -> None:
    """Refuses incomplete factors that don't fit into this machine.

    Raises:
        StructureError: If `fill_factor` times the entries of A need more than there is.
    """
    needed = fill_factor * _bytes_of_fill(pattern, dtype)
    what = f"{fill_factor:g} times the entries of A"
    instead = "Use a smaller fill_factor, js.ILU(level=0), or 'jacobi'."
    memory.require_memory(needed, f"preconditioner {owner!r}", what, instead)


@dataclasses.dataclass(frozen=True)
class Triangles:
    """The parts of (C P_after) (I + upper)⁻¹ pivots⁻¹ (I + lower)⁻¹ (P_before R), where P x = x[order].

    Attributes:
        lower: Strictly lower triangular CSR matrix.
        upper: Strictly upper triangular CSR matrix; the adjoint of `lower` where `hermitian`.
        pivots: Shape (n,).
        left: The diagonal of R.
        right: The diagonal of C.
        before: Order of P_before.
        after: Order of P_after.
        hermitian: Whether upper is the adjoint of lower.
    """

    lower: Any
    upper: Any
    pivots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    before: np.ndarray
    after: np.ndarray
    hermitian: bool


@dataclasses.dataclass(frozen=True)
class IncompleteLU(AbstractRecipe):
    """A threshold incomplete LU factorisation (Li and Shao 2011) of the equilibrated matrix.

    Symmetric patterns with a full diagonal are tried without row exchanges, others with COLAMD and pivoting. What is
    singular or does worse than nothing is tried again with less dropping, then after a matching has moved large entries
    to the diagonal, and at last without dropping; the best is kept.

    Args:
        pattern: The positions of the values.
        fill_factor: Entries of the factors at most, over those of the matrix.
        drop_tol: Entries smaller than this, relative to their column, are dropped.
        permutation: "auto", or one of SciPy's `permc_spec`, which is then the only try.
    """

    pattern: Pattern
    fill_factor: float
    drop_tol: float
    permutation: str

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The best factors of the matrix with these values."""
        matrix, left, right = equilibrated(self.pattern, widened(data))
        best: AbstractFactor = _diagonal(matrix, left, right)
        least = np.inf
        for name, order, options in self._tries(matrix, data):
            try:
                permuted = matrix if order is None else matrix[order]
                factors = Handle(scipy.sparse.linalg.spilu, permuted.tocsc(), **options)
            except (RuntimeError, MemoryError):
                continue
            found = _RowsOrdered(factors, order, matrix.dtype, name)
            quality = _quality(found, matrix)
            if quality < least:
                least = quality
                best = ScaledFactor(found, left, right)
            if quality <= GOOD:
                break
        return best

    def _tries(
        self, matrix: Any, data: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray | None, dict[str, Any]]]:
        limits = {"drop_tol": self.drop_tol, "fill_factor": self.fill_factor}
        if self.permutation != "auto":
            yield f"ILU, {self.permutation}", None, {**limits, "permc_spec": self.permutation}
            return
        if has_symmetric_structure(self.pattern, data):
            yield "ILU, minimum degree on A + Aᵀ, no row exchanges", None, {**limits, **_SYMMETRIC}
        yield "ILU, COLAMD, partial pivoting", None, limits
        tight = {"drop_tol": 1e-2 * self.drop_tol, "fill_factor": 3 * self.fill_factor}
        room = fill_that_fits(self.pattern, matrix.dtype)
        if room >= tight["fill_factor"]:
            yield "ILU, a hundredth of drop_tol", None, tight
        order = matched(matrix)
        if order is not None:
            yield "ILU, matched rows, COLAMD, threshold pivoting", order, {**limits, "diag_pivot_thresh": 0.1}
            yield "ILU, matched rows, minimum degree, no row exchanges", order, {**limits, **_SYMMETRIC}
        most = min(100 * self.fill_factor, room)
        if most > self.fill_factor:
            yield "LU without dropping", None, {"drop_tol": 0.0, "fill_factor": most}


@dataclasses.dataclass(frozen=True)
class IncompleteCholesky(AbstractRecipe):
    """A threshold incomplete factorisation L |D| Lᴴ: Hermitian positive definite whatever the matrix is.

    The factors L and D are those of SuperLU's incomplete LU in symmetric mode. (Its U is not D Lᴴ, because both drop
    for themselves, and U⁻¹ L⁻¹ ruins conjugate gradients: 1000 iterations without convergence on Poisson 32³ against
    43 for L |D| Lᴴ.)

    Args:
        pattern: The positions of the values.
        fill_factor: Entries of L and U at most, over those of the matrix.
        drop_tol: Entries smaller than this, relative to their column, are dropped.
        permutation: "auto" for minimum degree on A + Aᵀ, or one of SciPy's `permc_spec`, for rows and columns alike.
    """

    pattern: Pattern
    fill_factor: float
    drop_tol: float
    permutation: str = "auto"

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors for the smallest shift of the diagonal that gives good ones."""
        matrix, left, right = equilibrated(self.pattern, widened(data))
        best: AbstractFactor = _diagonal(matrix, left, right)
        least = np.inf
        identity = scipy.sparse.identity(len(left), matrix.dtype, format="csc")
        options, ordering = _SYMMETRIC, "minimum degree"
        if self.permutation != "auto":
            options, ordering = {**_SYMMETRIC, "permc_spec": self.permutation}, self.permutation
        for shift in SHIFTS:
            shifted = matrix if shift == 0 else (matrix + shift * identity).tocsc()
            try:
                factors = Handle(
                    scipy.sparse.linalg.spilu,
                    shifted,
                    drop_tol=self.drop_tol,
                    fill_factor=self.fill_factor,
                    **options,
                )
                found = _SquareRoot(factors, f"incomplete Cholesky, {ordering}, shift {shift:g}")
            except (RuntimeError, MemoryError):
                continue
            quality = _quality(found, matrix)
            found.positive()
            if quality < least:
                least = quality
                best = ScaledFactor(found, left, right)
            if quality <= GOOD:
                break
        return best


class _SquareRoot(AbstractFactor):
    """P L D Lᴴ Pᵀ from SuperLU's factors in symmetric mode."""

    def __init__(self, factors: Any, description: str):
        if (factors.perm_r != factors.perm_c).any():
            raise RuntimeError("rows were exchanged")
        lower = factors.L.tocsc()
        self.dtype = lower.dtype
        self.description = description
        self._order = np.argsort(factors.perm_c)
        self._back = factors.perm_c.copy()
        self._pivots = factors.U.diagonal().real
        if not (np.isfinite(self._pivots).all() and self._pivots.all()):
            raise RuntimeError("a pivot vanished")
        # The complete factors of a unit lower triangular matrix are itself and the identity, so that SuperLU's
        # compiled substitutions serve for both L and Lᴴ.
        self._lower = Handle(
            scipy.sparse.linalg.splu,
            lower,
            permc_spec="NATURAL",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        self.nbytes = int(self._lower.nnz) * (self.dtype.itemsize + 4)

    def positive(self) -> None:
        """Makes the pivots positive, which makes this a preconditioner for indefinite matrices too."""
        self._pivots = np.abs(self._pivots)

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        if form == "T":
            return self.solve(rhs.conj(), "N").conj()
        y = self._lower.solve(np.asfortranarray(rhs[self._order]))
        y = self._lower.solve(y / self._pivots[:, None], "H")
        return y[self._back]

    def triangles(self, left: np.ndarray, right: np.ndarray) -> Triangles:
        """The factors themselves."""
        lower = _strict(self._lower.L)
        upper = lower.conj().T.tocsr()
        return Triangles(lower, upper, self._pivots, left, right, self._order, self._back, True)


class _RowsOrdered(AbstractFactor):
    """SuperLU's factors of a matrix whose rows were put in another order."""

    def __init__(self, factors: Any, order: np.ndarray | None, dtype: np.dtype, description: str):
        self.dtype = dtype
        self.nbytes = int(factors.nnz) * (dtype.itemsize + 4)
        self.description = description
        self._factors = factors
        self._order = order

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        if self._order is None:
            return self._factors.solve(rhs, form)
        if form == "N":
            return self._factors.solve(rhs[self._order], form)
        solved = self._factors.solve(rhs, form)
        result = np.empty_like(solved)
        result[self._order] = solved
        return result

    def triangles(self, left: np.ndarray, right: np.ndarray) -> Triangles:
        """The factors themselves."""
        lower, upper = self._factors.L, self._factors.U
        pivots = upper.diagonal()
        before = np.argsort(self._factors.perm_r)
        before = before if self._order is None else self._order[before]
        strict = scipy.sparse.csr_matrix(scipy.sparse.triu(scipy.sparse.diags(1 / pivots) @ upper, 1))
        after = self._factors.perm_c
        return Triangles(_strict(lower), strict, pivots, left, right, before, after, False)


class ScaledFactor(AbstractFactor):
    """Factors of R A C, used for A."""

    def __init__(self, inner: "_RowsOrdered | _SquareRoot | _Diagonal", left: np.ndarray, right: np.ndarray):
        self.dtype = inner.dtype
        self.nbytes = inner.nbytes
        self.description = inner.description
        self._inner = inner
        self._left = left[:, None]
        self._right = right[:, None]

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        before, after = (self._left, self._right) if form == "N" else (self._right, self._left)
        return after * self._inner.solve(before * rhs, form)

    def triangles(self) -> Triangles | None:
        """The factors themselves, None where there are no triangles."""
        if isinstance(self._inner, _Diagonal):
            return None
        return self._inner.triangles(self._left[:, 0], self._right[:, 0])


class _Diagonal(AbstractFactor):
    """The last resort, which always exists."""

    def __init__(self, diagonal: np.ndarray):
        self.dtype = diagonal.dtype
        self.nbytes = diagonal.nbytes
        self.description = "the diagonal (no incomplete factorisation exists)"
        magnitude = np.abs(diagonal)
        self._inverse = 1 / np.where(magnitude > 0, magnitude, 1)[:, None]

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        return self._inverse * rhs


def _strict(lower: Any) -> Any:
    return scipy.sparse.csr_matrix(scipy.sparse.tril(lower, -1))


def _diagonal(matrix: Any, left: np.ndarray, right: np.ndarray) -> AbstractFactor:
    return ScaledFactor(_Diagonal(matrix.diagonal()), left, right)


def _quality(factor: AbstractFactor, matrix: Any) -> float:
    """‖b - A M b‖ / ‖b‖ for one vector; infinite where M b is not finite."""
    b = probe(matrix.shape[0], matrix.dtype)
    with np.errstate(all="ignore"):
        ratio = norm(b - matrix @ factor.solve(b, "N")) / norm(b)
    _LOG.debug("%s: leaves %.2g of a residual", factor.description, ratio)
    return ratio if np.isfinite(ratio) else np.inf


def matched(matrix: Any) -> np.ndarray | None:
    """The order of the rows that makes the smallest diagonal entry as large as it can be; None if there is none.

    A bottleneck matching by bisection over the binary exponents, each a Hopcroft-Karp matching. (The matching of
    largest product would be better; SciPy's `min_weight_full_bipartite_matching` ran for minutes on 13 000 rows.)
    """
    rows = matrix.tocsr()
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    _, exponents = np.frexp(np.abs(rows.data))
    present = rows.data != 0
    levels = np.unique(exponents[present])
    best = None
    low, high = 0, len(levels) - 1
    while low <= high:
        middle = (low + high) // 2
        kept = present & (exponents >= levels[middle])
        order = paired_rows(row[kept], rows.indices[kept], rows.shape)
        if (order >= 0).all():
            best, low = order, middle + 1
        else:
            high = middle - 1
    return best
