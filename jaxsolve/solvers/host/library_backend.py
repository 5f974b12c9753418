"""Backends given as functions: a library's factorisation of a SciPy matrix, refined and judged as the others are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsolve.core.status import Status
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, NoFactor, checked
from jaxsolve.solvers.host.scaling import to_csc, widened


@dataclasses.dataclass(frozen=True)
class LibraryBackend:
    """A backend by the function that factorises.

    Args:
        name: What it is called.
        factorise: Of a SciPy CSC matrix in double precision; returns substitute(rhs, form). Raises RuntimeError,
            LinAlgError or ArithmeticError for a singular matrix.
    """

    name: str
    factorise: Callable[[Any], Any]

    def __call__(self, pattern: Pattern) -> AbstractRecipe:
        """The recipe for a pattern."""
        return LibraryRecipe(pattern, self)


@dataclasses.dataclass(frozen=True)
class LibraryRecipe(AbstractRecipe):
    """The factorisation by a function, for matrices of a pattern."""

    pattern: Pattern
    backend: LibraryBackend

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        matrix = to_csc(self.pattern, widened(data))
        try:
            substitute = self.backend.factorise(matrix)
        except (RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
            return NoFactor(Status.singular, f"{self.backend.name}: {error}")
        # The memory is that of a library; a fill of ten is usual.
        size = 10 * matrix.nnz * (matrix.dtype.itemsize + 4)
        return checked(matrix, substitute, size, self.backend.name)
