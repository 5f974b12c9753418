"""Factor: a factorisation held by the host, and what every recipe for one shares."""

import abc
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from jaxsolve.core.status import Status
from jaxsolve.core.store import Store

Form = Literal["N", "T", "H"]

#: All factorisations that programs refer to. 64 matrices in turn (or one vmap of any number), 2 GiB.
FACTORS = Store(most=64, most_bytes=2**31)
#: Rounding units of |A| |x| + |b| that a residual may keep.
ROUNDING = 8
#: κ eps from which on A is called singular, as on the device.
SINGULAR = 0.1
#: Improvements of one solution at most.
REFINEMENTS = 3


class AbstractFactor(abc.ABC):
    """A factorisation of one matrix of shape (n, n).

    Attributes:
        dtype: Of the factors, in which they solve.
        nbytes: Memory held, estimated.
        description: What was done, for people.
        status: 0; `Status.singular` where the matrix is singular to working precision (the factors may still solve a
            system whose right-hand side is in the range); any other `Status` where there are no factors.
    """

    dtype: np.dtype
    nbytes: int
    description: str
    status: Status = Status.converged

    @abc.abstractmethod
    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs` (n, k), of the dtype of the factors, with A, Aᵀ or Aᴴ."""

    def log_determinant(self) -> tuple[complex, float]:
        """Sign (unit phase) and log|det A|."""
        raise NotImplementedError(f"{self.description} does not tell its pivots")


class AbstractRecipe(abc.ABC):
    """How a matrix is factorised: a frozen dataclass, so that equal recipes share factors and compiled programs."""

    def factor(self, data: np.ndarray) -> AbstractFactor:
        """The factorisation of the matrix with these values, in CSR order where it is sparse."""
        # One pass: the sum of finite numbers is finite but for overflow.
        with np.errstate(all="ignore"):
            if not np.isfinite(data.sum()) and not np.isfinite(data).all():
                return NoFactor(Status.invalid_input, "the matrix holds NaN or infinity")
        return self.factor_finite(data)

    @abc.abstractmethod
    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The same for values that are known to be finite."""


class NoFactor(AbstractFactor):
    """A factorisation that failed; it solves nothing and says why."""

    def __init__(self, status: Status, description: str):
        self.dtype = np.dtype(np.complex128)
        self.nbytes = 0
        self.description = description
        self.status = status

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """NaN."""
        return np.full_like(rhs, np.nan)

    def log_determinant(self) -> tuple[complex, float]:
        """0 and -inf of a singular matrix."""
        return (0, -np.inf) if self.status == Status.singular else (np.nan, np.nan)


class RefinedFactor(AbstractFactor):
    """The factors of a library, with solutions that are refined.

    Args:
        matrix: What was factorised, a NumPy or SciPy matrix in the dtype of the factors.
        substitute: x by the factors, for the columns of a right-hand side and a form.
        nbytes: Memory held, estimated.
        description: What was done, for people.
    """

    def __init__(
        self,
        matrix: Any,
        substitute: Callable[[np.ndarray, Form], np.ndarray],
        nbytes: int,
        description: str,
    ):
        values = matrix if isinstance(matrix, np.ndarray) else matrix.data
        self.dtype = values.dtype
        self.nbytes = nbytes
        self.description = description
        self._matrix = matrix
        self._magnitude = float(np.abs(values).max(initial=0))
        self._substitute = substitute

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        product = products(self._matrix, form)
        return refined(lambda r: self._substitute(r, form), product, rhs, self._magnitude)


def apply(factor: AbstractFactor, rows: np.ndarray, transposed: bool) -> np.ndarray:
    """The solutions for right-hand sides given as rows (k, n), as rows of the same dtype.

    Args:
        factor: What solves.
        rows: Right-hand sides; complex ones are taken apart where the factors are real.
        transposed: Whether to solve with Aᵀ.
    """
    form: Form = "T" if transposed else "N"
    dtype = factor.dtype
    if np.iscomplexobj(rows) and not np.issubdtype(dtype, np.complexfloating):
        parts = np.concatenate([np.real(rows), np.imag(rows)]).astype(dtype)
        solved = factor.solve(parts.T, form).T
        return (solved[: len(rows)] + 1j * solved[len(rows) :]).astype(rows.dtype)
    solved = factor.solve(rows.astype(dtype, copy=False).T, form).T
    return (solved if np.iscomplexobj(rows) else np.real(solved)).astype(rows.dtype, copy=False)


def refined(
    solve: Callable[[np.ndarray], np.ndarray],
    product: Callable[[np.ndarray], np.ndarray],
    rhs: np.ndarray,
    magnitude: float,
) -> np.ndarray:
    """x of A x = rhs by factors, improved by its residual until the backward error is one of rounding.

    The test costs one product; a well conditioned factorisation passes it at once, and another substitution, which
    costs ten products and more, is spared (Higham 2002, section 12.2).

    Args:
        solve: x by the factors.
        product: A x.
        rhs: Shape (n, k).
        magnitude: Of the largest entries of A.
    """
    rounding = ROUNDING * np.finfo(rhs.dtype).eps
    with np.errstate(all="ignore"):
        x = solve(rhs)
        r = rhs - product(x)
        error, size = _largest(r), _largest(rhs)
        for _ in range(REFINEMENTS):
            if (error <= rounding * (magnitude * _largest(x) + size)).all():
                break
            better = x + solve(r)
            r = rhs - product(better)
            left = _largest(r)
            gained = left < 0.5 * error
            if not gained.any():
                break
            x = np.where(gained, better, x)
            error = np.where(gained, left, 0)
    return x


def products(matrix: Any, form: Form) -> Callable[[np.ndarray], np.ndarray]:
    """x ↦ A x, Aᵀ x or Aᴴ x for a NumPy or SciPy matrix."""
    if form == "N":
        return lambda x: matrix @ x
    transpose = matrix.T
    if form == "T" or not np.iscomplexobj(matrix):
        return lambda x: transpose @ x
    return lambda x: (transpose @ x.conj()).conj()


def _largest(columns: np.ndarray) -> np.ndarray:
    return np.abs(columns).max(axis=0, initial=0)


def judged(
    factor: AbstractFactor, product: Callable[[np.ndarray], np.ndarray], matrix: Any
) -> AbstractFactor:
    """The same factor, marked singular where it cannot solve for a right-hand side outside of all null spaces.

    Also where the condition number in good units leaves no digit of x, as in `judged_inverse`: one step of inverse
    iteration from the probe.

    Args:
        factor: Has to solve to a residual below 1 %. (A residual is about the condition number times the rounding
            unit: what fails here has no correct digit.)
        product: x ↦ A x on NumPy columns.
        matrix: A, a NumPy or SciPy matrix.
    """
    sizes, rows = _in_units_of_rows(abs(matrix))
    sizes, columns = _in_units_of_rows(sizes.T)
    squares = np.square(sizes) if isinstance(sizes, np.ndarray) else sizes.power(2)
    size = np.sqrt(squares.sum(axis=1).max())
    s = probe(len(rows), factor.dtype)
    with np.errstate(all="ignore"):
        x = factor.solve(rows * s, "N")
        t = columns * x
        back = rows * factor.solve(columns * (t / norm(t)), "H")
        left = norm((rows * s - product(x)) / rows)
        # Not >, so that NaN counts as failed.
        if not (left <= 1e-2 * norm(s) and size * norm(back) * np.finfo(s.dtype).eps <= SINGULAR):
            factor.status = Status.singular
    return factor


def norm(x: np.ndarray) -> float:
    """‖x‖ without BLAS, which wakes its threads: 5 ms for 18 000 numbers where other programs keep the cores busy.

    >>> norm(np.array([3.0, 4.0j]))
    5.0
    """
    return float(np.sqrt((np.abs(x) ** 2).sum()))


def checked(
    matrix: Any, substitute: Callable[[np.ndarray, Form], np.ndarray], nbytes: int, description: str
) -> AbstractFactor:
    """A `RefinedFactor`, judged."""
    found = RefinedFactor(matrix, substitute, nbytes, description)
    return judged(found, lambda x: matrix @ x, matrix)


def _in_units_of_rows(sizes: Any) -> tuple[Any, np.ndarray]:
    """Rows divided by their largest entry, and these as a column."""
    found, dense = sizes.max(axis=1), isinstance(sizes, np.ndarray)
    largest = np.array(found if dense else found.todense()).reshape(-1, 1)
    largest[largest == 0] = 1
    return sizes / largest if dense else sizes.multiply(1 / largest).tocsr(), largest


def probe(size: int, dtype: Any) -> np.ndarray:
    """A fixed vector (n, 1) that looks random, equidistributed by the golden ratio."""
    return (np.modf(np.arange(1, size + 1) * 0.6180339887498949)[0] - 0.5).astype(dtype)[:, None]
