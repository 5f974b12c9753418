"""LAPACK through SciPy: dense factorisations on the host."""

import dataclasses
import warnings

import numpy as np
import scipy.linalg

from jaxsolve.core.status import Status
from jaxsolve.solvers.host.factor import (
    AbstractFactor,
    AbstractRecipe,
    Form,
    NoFactor,
    judged,
    products,
    refined,
)
from jaxsolve.solvers.host.scaling import widened


class DenseLU(AbstractFactor):
    """LAPACK's LU factors with partial pivoting, refined in solves."""

    def __init__(self, factors: tuple[np.ndarray, np.ndarray], matrix: np.ndarray):
        self._factors = factors
        self._matrix = matrix
        self._magnitude = float(np.abs(matrix).max(initial=0))
        self.dtype = factors[0].dtype
        self.nbytes = factors[0].nbytes + matrix.nbytes
        self.description = "LAPACK, LU with partial pivoting"

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        trans = {"N": 0, "T": 1, "H": 2}[form]
        return refined(
            lambda r: scipy.linalg.lu_solve(self._factors, r, trans=trans, check_finite=False),
            products(self._matrix, form),
            rhs,
            self._magnitude,
        )


@dataclasses.dataclass(frozen=True)
class LAPACK(AbstractRecipe):
    """A dense LU factorisation in double precision of n² values in C order."""

    size: int

    def factor(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values."""
        if not np.isfinite(data).all():
            return NoFactor(Status.invalid_input, "the matrix holds NaN or infinity")
        matrix = widened(data).reshape(self.size, self.size)
        with warnings.catch_warnings():
            # An exactly zero pivot is told by the infinities it makes.
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
            found = DenseLU(scipy.linalg.lu_factor(matrix, check_finite=False), matrix)
        if (np.diagonal(found._factors[0]) == 0).any():
            return NoFactor(Status.singular, "LAPACK: a pivot is exactly zero")
        return judged(found, lambda x: matrix @ x, self.size)
