"""LAPACK through SciPy: dense factorisations on the host."""

import dataclasses
import warnings

import numpy as np
import scipy.linalg

from jaxsolve.core.status import Status
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, Form, NoFactor, checked
from jaxsolve.solvers.host.scaling import widened


@dataclasses.dataclass(frozen=True)
class LAPACK(AbstractRecipe):
    """A dense LU factorisation in double precision of n² values in C order."""

    size: int

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values."""
        matrix = widened(data).reshape(self.size, self.size)
        with warnings.catch_warnings():
            # An exactly zero pivot is told by the infinities it makes.
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            factors = scipy.linalg.lu_factor(matrix, check_finite=False)
        if (np.diagonal(factors[0]) == 0).any():
            return NoFactor(Status.singular, "LAPACK: a pivot is exactly zero")

        def substitute(rhs: np.ndarray, form: Form) -> np.ndarray:
            trans = {"N": 0, "T": 1, "H": 2}[form]
            return scipy.linalg.lu_solve(factors, rhs, trans=trans, check_finite=False)

        return checked(matrix, substitute, 2 * matrix.nbytes, "LAPACK, LU with partial pivoting")
