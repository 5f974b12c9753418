"""CHOLMOD inside of the package cvxopt: Cholesky factorisations of sparse Hermitian positive definite matrices.

cvxopt's own functions overwrite the symbolic factors with the numeric ones, so that a second matrix of the pattern is
ordered again. So the C functions are called (User Guide for CHOLMOD, Davis; Chen, Davis, Hager, Rajamanickam 2008): an
analysis a pattern, copied for each matrix.
"""

import ctypes
import functools
import importlib
import importlib.metadata
import threading
import weakref
from typing import Any

import numpy as np

from jaxsolve.core.errors import MissingBackendError
from jaxsolve.core.memo import per_object
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import Form

_POINTER = ctypes.c_void_p
_INT, _SIZE = ctypes.c_int, ctypes.c_size_t
#: Bytes for `cholmod_common`, which has 2.6 to 3 thousand.
_COMMON = 1 << 15
#: Where `print` is in it since CHOLMOD 1.0, and its default: warnings of matrices that are not definite.
_PRINT, _PRINT_DEFAULT = 144, 3
#: Upper triangle; 64-bit indices; real and complex numbers in double precision; A x = b, D x = b.
_UPPER, _LONG, _REAL, _COMPLEX, _A, _D = 1, 2, 1, 2, 0, 6


class _Sparse(ctypes.Structure):
    """`cholmod_sparse`."""

    _fields_ = (
        *((name, _SIZE) for name in ("nrow", "ncol", "nzmax")),
        *((name, _POINTER) for name in ("p", "i", "nz", "x", "z")),
        *((name, _INT) for name in ("stype", "itype", "xtype", "dtype", "sorted", "packed")),
    )


class _Dense(ctypes.Structure):
    """`cholmod_dense`."""

    _fields_ = (
        *((name, _SIZE) for name in ("nrow", "ncol", "nzmax", "d")),
        *((name, _POINTER) for name in ("x", "z")),
        *((name, _INT) for name in ("xtype", "dtype")),
    )


class _FactorHead(ctypes.Structure):
    """The first fields of `cholmod_factor`: n, and the column at which the factorisation failed (n for none)."""

    _fields_ = (("n", _SIZE), ("minor", _SIZE))


@functools.cache
def _library() -> Any:
    """The C library, or None where cvxopt is not installed or hides it (as on Windows)."""
    try:
        files = importlib.metadata.files("cvxopt") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [file.locate() for file in files if file.name.startswith(("libcholmod-", "libcholmod."))]
    if not found:
        return None
    try:
        # cvxopt's own module first: it loads what the library needs.
        importlib.import_module("cvxopt.cholmod")
        library = ctypes.CDLL(str(found[0]))
    except (ImportError, OSError):
        return None
    arguments = {
        "start": [_POINTER],
        "finish": [_POINTER],
        "analyze": [_POINTER, _POINTER],
        "copy_factor": [_POINTER, _POINTER],
        "factorize": [_POINTER, _POINTER, _POINTER],
        "solve": [_INT, _POINTER, _POINTER, _POINTER],
        "factor_to_sparse": [_POINTER, _POINTER],
        "free_factor": [_POINTER, _POINTER],
        "free_sparse": [_POINTER, _POINTER],
        "free_dense": [_POINTER, _POINTER],
    }
    returned = {
        "analyze": _POINTER,
        "copy_factor": _POINTER,
        "solve": ctypes.POINTER(_Dense),
        "factor_to_sparse": ctypes.POINTER(_Sparse),
    }
    for name, types in arguments.items():
        function = getattr(library, f"cholmod_l_{name}", None)
        if function is None:
            return None
        function.argtypes, function.restype = types, returned.get(name, _INT)
    return library


def has_cholmod() -> bool:
    """Whether CHOLMOD is there."""
    return _library() is not None


def require_cholmod() -> None:
    """Raises where CHOLMOD is missing.

    Raises:
        MissingBackendError: With the extra that installs it.
    """
    if not has_cholmod():
        raise MissingBackendError(
            "backend='cholmod' needs the package cvxopt (GPL-3): pip install 'jaxsolve[cholmod]'."
        )


def _call(name: str, *arguments: Any) -> Any:
    return getattr(_library(), f"cholmod_l_{name}")(*arguments)


class _Common:
    """CHOLMOD's parameters and work space; one thread at a time works in it."""

    def __init__(self) -> None:
        self.buffer = ctypes.create_string_buffer(_COMMON)
        self.lock = threading.Lock()
        _call("start", self.buffer)
        printing = _INT.from_buffer(self.buffer, _PRINT)
        if printing.value == _PRINT_DEFAULT:
            printing.value = 0
        weakref.finalize(self, _call, "finish", self.buffer)


@functools.cache
def _common() -> _Common:
    return _Common()


def _free(kind: str, pointer: int | None) -> None:
    if pointer:
        common = _common()
        with common.lock:
            _call(f"free_{kind}", ctypes.byref(_POINTER(pointer)), common.buffer)


class Symbolic:
    """The order and the structure of the factors of one pattern, for real or complex matrices alike."""

    def __init__(self, pattern: Pattern):
        self.size = pattern.shape[0]
        # The rows of A are the columns of Aᵀ = conj(A).
        self.indptr = np.ascontiguousarray(pattern.indptr, np.int64)
        self.indices = np.ascontiguousarray(pattern.indices, np.int64)
        common = _common()
        with common.lock:
            self.pointer = _call("analyze", ctypes.byref(self.matrix(np.ones(pattern.nnz))), common.buffer)
        weakref.finalize(self, _free, "factor", self.pointer)

    def matrix(self, values: np.ndarray) -> _Sparse:
        """CHOLMOD's view of A from the values of conj(A) by rows, for as long as they live."""
        kind = _COMPLEX if np.iscomplexobj(values) else _REAL
        places = (array.ctypes.data for array in (self.indptr, self.indices))
        return _Sparse(
            self.size,
            self.size,
            len(values),
            *places,
            None,
            values.ctypes.data,
            None,
            _UPPER,
            _LONG,
            kind,
            0,
            1,
            1,
        )


@per_object
def analysed(pattern: Pattern) -> Symbolic:
    """The analysis of a pattern, made once."""
    return Symbolic(pattern)


class Numeric:
    """The factors of one matrix.

    Attributes:
        definite: Whether all pivots are positive.
    """

    def __init__(self, symbolic: Symbolic, values: np.ndarray):
        self._symbolic, self._dtype = symbolic, values.dtype
        values = np.ascontiguousarray(values.conj())
        common = _common()
        with common.lock:
            self._pointer = _call("copy_factor", symbolic.pointer, common.buffer)
            weakref.finalize(self, _free, "factor", self._pointer)
            done = _call("factorize", ctypes.byref(symbolic.matrix(values)), self._pointer, common.buffer)
        head = _FactorHead.from_address(self._pointer)
        self.definite = bool(done) and head.minor == symbolic.size
        if self.definite:
            # Small or very sparse matrices are factorised as L D Lᴴ, which minds zero pivots alone; else D = I.
            inverse = np.real(self._solved(_D, np.ones((symbolic.size, 1), self._dtype)))
            self.definite = bool((inverse > 0).all())

    def substitute(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        # Aᴴ = A and Aᵀ = conj(A).
        return self._solved(_A, rhs.conj()).conj() if form == "T" else self._solved(_A, rhs)

    def log_determinant(self) -> float:
        """log det A, from the diagonal of the factor: of L Lᴴ twice that of L, of L D Lᴴ that of D."""
        inverse = np.real(self._solved(_D, np.ones((self._symbolic.size, 1), self._dtype)))
        if (inverse != 1).any():
            return float(-np.log(inverse).sum())
        common = _common()
        with common.lock:
            copy = _call("copy_factor", self._pointer, common.buffer)
            found = _call("factor_to_sparse", copy, common.buffer)
        try:
            n, sparse = self._symbolic.size, found.contents
            starts = np.ctypeslib.as_array(ctypes.cast(sparse.p, ctypes.POINTER(ctypes.c_int64)), (n + 1,))
            step = 2 if np.iscomplexobj(np.empty(0, self._dtype)) else 1
            values = ctypes.cast(sparse.x, ctypes.POINTER(ctypes.c_double))
            # Columns are sorted, so that the diagonal comes first.
            pivots = np.ctypeslib.as_array(values, (step * int(starts[-1]),))[step * starts[:-1]]
            return float(2 * np.log(pivots).sum())
        finally:
            _free("sparse", ctypes.cast(found, _POINTER).value)
            _free("factor", copy)

    def _solved(self, system: int, rhs: np.ndarray) -> np.ndarray:
        b = np.array(rhs, self._dtype, order="F")
        n, k = b.shape
        kind = _COMPLEX if np.iscomplexobj(b) else _REAL
        side = _Dense(n, k, n * k, n, b.ctypes.data, None, kind, 0)
        common = _common()
        with common.lock:
            found = _call("solve", system, self._pointer, ctypes.byref(side), common.buffer)
        if not found:
            return np.full_like(b, np.nan)
        size = n * k * b.itemsize
        raw = np.ctypeslib.as_array(
            ctypes.cast(found.contents.x, ctypes.POINTER(ctypes.c_uint8)), (size,)
        ).copy()
        _free("dense", ctypes.cast(found, _POINTER).value)
        return raw.view(b.dtype).reshape(k, n).T
