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
from jaxsolve.solvers.host.scaling import largest, widened

# The road not taken: pardiso-mkl-jax, whose one primitive analyses, factorises and solves in every call, has no
# derivative and tells nothing of singular matrices. Its only dependency is mkl, which has PARDISO's C function
# (Developer Reference for oneMKL, "pardiso"): analysis once a pattern, factors once a matrix, transposed solves.

_ANALYSE, _FACTORISE, _SUBSTITUTE, _RELEASE = 11, 22, 33, -1
#: Real and complex matrices without symmetry.
_REAL, _COMPLEX = 11, 13
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
        matrix: With sorted columns.
    """

    def __init__(self, matrix: Any):
        self._indptr = np.ascontiguousarray(matrix.indptr, np.int32)
        self._indices = np.ascontiguousarray(matrix.indices, np.int32)
        self._values = np.ascontiguousarray(matrix.data)
        # PARDISO's own memory: 64 pointers, and 64 options of which 0 means "the defaults".
        self._state = np.zeros(64, np.int64)
        self._options = np.zeros(64, np.int32)
        self._options[0] = 1
        self._options[1] = 2  # nested dissection (METIS)
        self._options[9] = 13  # pivots below 1e-13 ‖A‖ are perturbed: the solution is checked afterwards
        self._options[10] = 1  # scaling
        self._options[12] = 1  # matching of large entries to the diagonal
        self._options[34] = 1  # indices from zero
        # One substitution at a time: it works in the state.
        self._lock = threading.Lock()
        nothing = np.zeros((matrix.shape[0], 1), matrix.dtype)
        self.error = self._run(_ANALYSE, nothing, nothing) or self._run(_FACTORISE, nothing, nothing)
        # Kilobytes, told by the analysis and the factorisation.
        self.nbytes = 1024 * int(self._options[15] + self._options[16]) + 12 * int(matrix.nnz)
        weakref.finalize(self, _release, self._state, self._options, matrix.shape[0], self._kind())

    def substitute(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        b = np.array(rhs, self._values.dtype, order="F")
        x = np.empty_like(b)
        with self._lock:
            self._options[11] = {"N": 0, "H": 1, "T": 2}[form]
            error = self._run(_SUBSTITUTE, b, x)
        if error:
            x[:] = np.nan
        return x

    def _kind(self) -> int:
        return _COMPLEX if np.iscomplexobj(self._values) else _REAL

    def _run(self, phase: int, b: np.ndarray, x: np.ndarray) -> int:
        return _call(
            self._state,
            self._options,
            self._kind(),
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
    """A complete LU factorisation in double precision, by all cores."""

    pattern: Pattern

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        # PARDISO fails on empty rows, and perturbs the pivots of others that are singular.
        if not (largest(self.pattern.indptr, np.abs(data)) > 0).all():
            return NoFactor(Status.singular, "PARDISO: a row is zero")
        matrix = scipy.sparse.csr_matrix(
            (widened(data), self.pattern.indices, self.pattern.indptr), shape=self.pattern.shape
        )
        found = _Numeric(matrix)
        if found.error:
            status = Status.singular if found.error in (-4, -7, -3) else Status.host_failure
            return NoFactor(status, f"PARDISO ended with error {found.error}")
        description = "PARDISO, nested dissection, matching and scaling"
        return checked(matrix, found.substitute, found.nbytes, description)
