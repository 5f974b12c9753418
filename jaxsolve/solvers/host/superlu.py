"""SuperLU through SciPy: sparse factorisations with options that follow the structure."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from jaxsolve.core.status import Status
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, Form, NoFactor, judged

#: Options for a symmetric pattern with a full diagonal: half the fill of the default column ordering (Poisson 512²:
#: 2.1 s against 4.0 s). A pivot may be 1000 times smaller than its column before rows are exchanged; refinement and
#: the check afterwards catch what that costs.
SYMMETRIC: dict[str, Any] = {
    "permc_spec": "MMD_AT_PLUS_A",
    "diag_pivot_thresh": 1e-3,
    "options": {"SymmetricMode": True},
}


class ScaledLU(AbstractFactor):
    """SuperLU's factors of R A C, with diagonal R and C of powers of two.

    Args:
        factors: `scipy.sparse.linalg.SuperLU`.
        left: The diagonal of R.
        right: The diagonal of C.
        description: What was done.
    """

    def __init__(self, factors: Any, left: np.ndarray, right: np.ndarray, dtype: np.dtype, description: str):
        self._factors = factors
        self._left = left
        self._right = right
        self.dtype = dtype
        self.description = description
        # Values and row indices; SuperLU stores the latter once a supernode.
        self.nbytes = int(factors.nnz) * (dtype.itemsize + 4)

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        before, after = (self._left, self._right) if form == "N" else (self._right, self._left)
        return after[:, None] * self._factors.solve(before[:, None] * rhs, form)


@dataclasses.dataclass(frozen=True)
class SuperLU(AbstractRecipe):
    """A complete LU factorisation in double precision.

    Symmetric patterns with a full diagonal are ordered by minimum degree on A + Aᵀ and keep diagonal pivots where
    they can; others by COLAMD with partial pivoting, which is also the second try where the first fails.

    Args:
        pattern: The positions of the values.
    """

    pattern: Pattern

    def factor(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        if not np.isfinite(data).all():
            return NoFactor(Status.invalid_input, "the matrix holds NaN or infinity")
        matrix, left, right = equilibrated(self.pattern, widened(data))
        result: AbstractFactor = NoFactor(Status.singular, "not tried")
        for description, options in self._tries(data):
            result = complete(matrix, left, right, description, options)
            if result.status == Status.converged:
                return result
        return result

    def _tries(self, data: np.ndarray) -> list[tuple[str, dict[str, Any]]]:
        tries: list[tuple[str, dict[str, Any]]] = [("SuperLU, COLAMD, partial pivoting", {})]
        if has_symmetric_structure(self.pattern, data):
            tries.insert(0, ("SuperLU, minimum degree on A + Aᵀ, diagonal pivots", SYMMETRIC))
        return tries


def complete(
    matrix: Any, left: np.ndarray, right: np.ndarray, description: str, options: Any
) -> AbstractFactor:
    """The complete factors of a scaled CSC matrix, or what went wrong."""
    try:
        factors = scipy.sparse.linalg.splu(matrix, **options)
    except RuntimeError as error:
        return NoFactor(Status.singular, f"{description}: {error}")
    found = ScaledLU(factors, left, right, matrix.dtype, description)
    return judged(found, lambda x: (matrix @ (x / right[:, None])) / left[:, None], len(left))


def widened(data: np.ndarray) -> np.ndarray:
    """Values in double precision: single precision loses what refinement would have to recover."""
    return data.astype(np.result_type(data.dtype, np.float64), copy=False)


def has_symmetric_structure(pattern: Pattern, data: np.ndarray) -> bool:
    """Whether (i, j) is an entry whenever (j, i) is, and no diagonal entry is missing or zero."""
    if not pattern.is_symmetric or (pattern.diagonal_positions >= pattern.nnz).any():
        return False
    return bool((data[pattern.diagonal_positions] != 0).all())


def equilibrated(pattern: Pattern, data: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """R A C as CSC with largest entries of rows and columns near 1, and the diagonals of R and C.

    Powers of two round nothing, and a symmetric matrix is scaled symmetrically.
    """
    magnitudes = np.abs(data)
    rows, columns = pattern.rows, pattern.indices
    other, order = pattern.transpose()
    left = largest(pattern.indptr, magnitudes)
    if pattern.is_symmetric:
        left = right = inverse_power(np.sqrt(np.maximum(left, largest(other.indptr, magnitudes[order]))))
    else:
        left = inverse_power(left)
        right = inverse_power(largest(other.indptr, (magnitudes * left[rows])[order]))
    return to_csc(pattern, data * (left[rows] * right[columns])), left, right


def largest(indptr: np.ndarray, magnitudes: np.ndarray) -> np.ndarray:
    """The largest of each segment of magnitudes; 0 for an empty one."""
    result = np.zeros(len(indptr) - 1, magnitudes.dtype)
    filled = np.diff(indptr) > 0
    if filled.any():
        result[filled] = np.maximum.reduceat(magnitudes, indptr[:-1][filled])
    return result


def inverse_power(magnitudes: np.ndarray) -> np.ndarray:
    """The power of two nearest above 1 / magnitude; 1 for zero."""
    _, exponents = np.frexp(np.where(magnitudes > 0, magnitudes, 1))
    return np.ldexp(np.ones_like(magnitudes), 1 - exponents)


def to_csc(pattern: Pattern, data: np.ndarray) -> Any:
    """The SciPy CSC matrix of values in CSR order; the permutation is found once a pattern."""
    columns, order = pattern.transpose()
    return scipy.sparse.csc_matrix((data[order], columns.indices, columns.indptr), shape=pattern.shape)
