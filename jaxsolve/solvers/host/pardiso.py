"""PARDISO of Intel's oneMKL, for large matrices: the C library inside of the package mkl, called on the host."""

import ctypes
import dataclasses
import functools
import importlib.metadata
import threading
import weakref
from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.core.errors import MissingBackendError
from jaxsolve.core.status import Status
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, Form, NoFactor, checked
from jaxsolve.solvers.host.scaling import is_hermitian, largest, widened

# The road not taken: pardiso-mkl-jax, whose one primitive analyses, factorises and solves in every call, has no
# derivative and tells nothing of singular matrices. Its only dependency is mkl, which has PARDISO's C function
# (Developer Reference for oneMKL, "pardiso"): analysis once a pattern, factors once a matrix, transposed solves.

_ANALYSE, _FACTORISE, _SUBSTITUTE, _RELEASE = 11, 22, 33, -1
#: PARDISO's `mtype` by (complex, kind): without symmetry, Hermitian, and positive definite. Of the last two it reads
#: the upper triangle. Seconds of one thread, grid of 32³: 0.49, 0.36 and 0.34; CHOLMOD 0.29, SuperLU 1.36.
_GENERAL, _HERMITIAN, _DEFINITE = range(3)
_TYPES = {
    (False, _GENERAL): 11,
    (False, _HERMITIAN): -2,
    (False, _DEFINITE): 2,
    (True, _GENERAL): 13,
    (True, _HERMITIAN): -4,
    (True, _DEFINITE): 4,
}
_DESCRIPTIONS = (
    "PARDISO, nested dissection, matching and scaling",
    "PARDISO, L D Lᴴ, nested dissection, matching and scaling",
    "PARDISO, L Lᴴ, nested dissection",
)
_INT = ctypes.c_int32


@functools.cache
def _library() -> Any:
    """The C library, or None where mkl is not installed."""
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    names = ("libmkl_rt.so", "libmkl_rt.dylib", "libmkl_rt.dll", "mkl_rt")
    found = [file.locate() for file in files if file.name.startswith(names)]
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    library.pardiso.restype = None
    return library


def require_pardiso() -> None:
    """Raises where PARDISO is missing.

    Raises:
        MissingBackendError: With the extra that installs it.
    """
    if _library() is None:
        raise MissingBackendError("backend='pardiso' needs the package mkl: pip install 'jaxsolve[pardiso]'.")


class _Numeric:
    """PARDISO's factors of a CSR matrix.

    Args:
        matrix: With sorted columns; the upper triangle of a Hermitian one.
        kind: `_GENERAL`, `_HERMITIAN` or `_DEFINITE`.
    """

    def __init__(self, matrix: Any, kind: int):
        self._type = _TYPES[np.iscomplexobj(matrix.data), kind]
        self._hermitian = kind != _GENERAL
        self._indptr = np.ascontiguousarray(matrix.indptr, np.int32)
        self._indices = np.ascontiguousarray(matrix.indices, np.int32)
        self._values = np.ascontiguousarray(matrix.data)
        # PARDISO's own memory: 64 pointers, and 64 options of which 0 means "the defaults".
        self._state = np.zeros(64, np.int64)
        self._options = np.zeros(64, np.int32)
        self._options[0] = 1
        self._options[1] = 2  # nested dissection (METIS)
        self._options[9] = 13  # pivots below 1e-13 ‖A‖ are perturbed: the solution is checked afterwards
        self._options[10] = kind != _DEFINITE  # scaling
        self._options[12] = kind != _DEFINITE  # matching of large entries to the diagonal
        self._options[20] = 1  # pivots of one and two rows, of Hermitian matrices
        self._options[34] = 1  # indices from zero
        # One substitution at a time: it works in the state.
        self._lock = threading.Lock()
        nothing = np.zeros((matrix.shape[0], 1), matrix.dtype)
        self.error = self._run(_ANALYSE, nothing, nothing) or self._run(_FACTORISE, nothing, nothing)
        # Kilobytes, told by the analysis and the factorisation.
        self.nbytes = 1024 * int(self._options[15] + self._options[16]) + 12 * int(matrix.nnz)
        weakref.finalize(self, _release, self._state, self._options, matrix.shape[0], self._type)

    def substitute(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        if self._hermitian and form == "T":
            # Aᵀ is the conjugate of A.
            return self.substitute(rhs.conj(), "N").conj()
        b = np.array(rhs, self._values.dtype, order="F")
        x = np.empty_like(b)
        with self._lock:
            self._options[11] = 0 if self._hermitian else {"N": 0, "H": 1, "T": 2}[form]
            error = self._run(_SUBSTITUTE, b, x)
        if error:
            x[:] = np.nan
        return x

    def _run(self, phase: int, b: np.ndarray, x: np.ndarray) -> int:
        return _call(
            self._state,
            self._options,
            self._type,
            phase,
            len(self._indptr) - 1,
            (self._values, self._indptr, self._indices),
            b,
            x,
        )


def _call(
    state: np.ndarray,
    options: np.ndarray,
    kind: int,
    phase: int,
    size: int,
    matrix: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    b: np.ndarray | None,
    x: np.ndarray | None,
) -> int:
    """One call of PARDISO; its error, 0 for none."""
    error = _INT(0)
    columns = 1 if b is None else b.shape[1]

    def number(value: int) -> Any:
        return ctypes.byref(_INT(value))

    def address(array: np.ndarray | None) -> Any:
        return ctypes.c_void_p(None if array is None else array.ctypes.data)

    _library().pardiso(
        address(state),
        number(1),
        number(1),
        number(kind),
        number(phase),
        number(size),
        *(address(part) for part in matrix or (None, None, None)),
        address(None),
        number(columns),
        address(options),
        number(0),
        address(b),
        address(x),
        ctypes.byref(error),
    )
    return error.value


def _release(state: np.ndarray, options: np.ndarray, size: int, kind: int) -> None:
    _call(state, options, kind, _RELEASE, size, None, None, None)


@dataclasses.dataclass(frozen=True)
class Pardiso(AbstractRecipe):
    """A complete factorisation in double precision, by all cores.

    L Lᴴ of a matrix that is known to be definite, L D Lᴴ of one that is Hermitian up to rounding, else L U. What fails
    as one of the former is tried as the next.

    Args:
        pattern: The positions of the values.
        definite: Whether the matrices are known to be Hermitian positive definite.
    """

    pattern: Pattern
    definite: bool = False

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        # PARDISO fails on empty rows, and perturbs the pivots of others that are singular.
        if not (largest(self.pattern.indptr, np.abs(data)) > 0).all():
            return NoFactor(Status.singular, "PARDISO: a row is zero")
        matrix = scipy.sparse.csr_matrix(
            (widened(data), self.pattern.indices, self.pattern.indptr), shape=self.pattern.shape
        )
        hermitian = is_hermitian(self.pattern, data)
        result: AbstractFactor = NoFactor(Status.singular, "not tried")
        for kind in (_DEFINITE, _HERMITIAN, _GENERAL):
            fits = (hermitian, hermitian and self.definite)
            if kind != _GENERAL and not fits[kind - 1]:
                continue
            found = _Numeric(matrix if kind == _GENERAL else scipy.sparse.triu(matrix, format="csr"), kind)
            if found.error:
                status = Status.singular if found.error in (-4, -7, -3) else Status.host_failure
                result = NoFactor(status, f"PARDISO ended with error {found.error}")
                continue
            result = checked(matrix, found.substitute, found.nbytes, _DESCRIPTIONS[kind])
            if result.status == Status.converged:
                break
        return result
