"""Sparse Cholesky factorisations of Hermitian positive definite matrices, by CHOLMOD, refined as the others are."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.core.status import Status
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host import cholmod
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, NoFactor, RefinedFactor, judged
from jaxsolve.solvers.host.fill import predicted_fill
from jaxsolve.solvers.host.scaling import is_hermitian, widened
from jaxsolve.solvers.host.separator import ALWAYS

#: Entries of the factors over those of A where they are not predicted, for the account of memory.
_USUAL_FILL = 10


class CholmodFactor(RefinedFactor):
    """CHOLMOD's factors, with solutions that are refined."""

    def __init__(self, matrix: Any, found: cholmod.Numeric, nbytes: int):
        super().__init__(matrix, found.substitute, nbytes, "CHOLMOD, approximate minimum degree")
        self._found = found

    def log_determinant(self) -> tuple[complex, float]:
        """1 and log det A."""
        return 1, self._found.log_determinant()


@dataclasses.dataclass(frozen=True)
class Cholmod(AbstractRecipe):
    """A Cholesky factorisation in double precision, of one triangle of a Hermitian matrix.

    Args:
        pattern: The positions of the values.
        otherwise: What factorises a matrix that turns out not to be positive definite; None for nothing.
    """

    pattern: Pattern
    otherwise: AbstractRecipe | None = None

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        why = "" if is_hermitian(self.pattern, data) else "A is not Hermitian"
        if not why:
            values = widened(data)
            found = cholmod.Numeric(cholmod.analysed(self.pattern), values)
            if found.definite:
                matrix = scipy.sparse.csr_matrix(
                    (values, self.pattern.indices, self.pattern.indptr), self.pattern.shape
                )
                factor = CholmodFactor(matrix, found, self._nbytes(values))
                return judged(factor, lambda x: matrix @ x, matrix)
            why = "a pivot is not positive"
        if self.otherwise is not None:
            return self.otherwise.factor(data)
        return NoFactor(Status.not_positive_definite, f"CHOLMOD: {why}")

    def _nbytes(self, values: np.ndarray) -> int:
        entries = _USUAL_FILL * len(values)
        if self.pattern.shape[0] > ALWAYS:
            entries = min(entries, predicted_fill(self.pattern).entries / 2)
        return int(entries + len(values)) * (values.itemsize + 4)
