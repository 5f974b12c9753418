"""KLU, for circuits: the C library inside of the package klujax, called on the host.

The road not taken: klujax's XLA calls (its `klujax_cpp` has them too, without klujax's change of JAX's configuration).
A substitution by one costs 2 µs in a compiled loop, where a callback costs 45. But with klujax 0.5.2

* a numeric handle is an address, solved with in the work space behind it and without a lock: two threads with one
  factorisation get wrong solutions without a word (1678 of 6000 for a tridiagonal matrix of 2000), and a handle that
  has been freed (by the store, by a `with` statement) ends the process;
* a factorisation of a singular matrix is an error that ends the program, for all lanes of a vmap, and no status;
* handles made in a compiled program are never freed: 0.2 MB a factorisation of 2000 unknowns.

The calls without numeric handles factorise in every call, also for the adjoint and for each further right-hand side. So
the C functions of KLU (User Guide for KLU, Davis and Palamadai Natarajan) are called, which have none of this.
"""

import ctypes
import dataclasses
import functools
import importlib.util
import threading
import weakref
from typing import Any

import numpy as np

from jaxsolve.core.errors import MissingBackendError
from jaxsolve.core.memo import per_object
from jaxsolve.core.status import Status
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import AbstractFactor, AbstractRecipe, Form, NoFactor, checked
from jaxsolve.solvers.host.scaling import to_csc, widened


class _Common(ctypes.Structure):
    """The leading fields of `klu_common`; the rest is room for what KLU counts there."""

    _fields_ = (
        ("tol", ctypes.c_double),
        ("memgrow", ctypes.c_double),
        ("initmem_amd", ctypes.c_double),
        ("initmem", ctypes.c_double),
        ("maxwork", ctypes.c_double),
        ("btf", ctypes.c_int),
        ("ordering", ctypes.c_int),
        ("scale", ctypes.c_int),
        ("user_order", ctypes.c_void_p),
        ("user_data", ctypes.c_void_p),
        ("halt_if_singular", ctypes.c_int),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


_POINTER = ctypes.c_void_p
_INT = ctypes.c_int


@functools.cache
def _library() -> Any:
    """The C library, or None where klujax is not installed or hides it."""
    found = importlib.util.find_spec("klujax_cpp")
    if found is None or found.origin is None:
        return None
    library = ctypes.CDLL(found.origin)
    if not hasattr(library, "klu_analyze"):
        return None
    arguments = {
        "klu_defaults": [_POINTER],
        "klu_analyze": [_INT, _POINTER, _POINTER, _POINTER],
        "klu_factor": [_POINTER] * 5,
        "klu_z_factor": [_POINTER] * 5,
        "klu_solve": [_POINTER, _POINTER, _INT, _INT, _POINTER, _POINTER],
        "klu_z_solve": [_POINTER, _POINTER, _INT, _INT, _POINTER, _POINTER],
        "klu_tsolve": [_POINTER, _POINTER, _INT, _INT, _POINTER, _POINTER],
        "klu_z_tsolve": [_POINTER, _POINTER, _INT, _INT, _POINTER, _INT, _POINTER],
        "klu_free_symbolic": [_POINTER, _POINTER],
        "klu_free_numeric": [_POINTER, _POINTER],
        "klu_z_free_numeric": [_POINTER, _POINTER],
    }
    for name, types in arguments.items():
        function = getattr(library, name)
        function.argtypes = types
        function.restype = _POINTER if name.endswith(("analyze", "factor")) else _INT
    return library


def require_klu() -> None:
    """Raises where KLU is missing.

    Raises:
        MissingBackendError: With the extra that installs it.
    """
    if _library() is None:
        raise MissingBackendError("backend='klu' needs the package klujax: pip install 'jaxsolve[klu]'.")


def _common() -> _Common:
    common = _Common()
    _library().klu_defaults(ctypes.byref(common))
    return common


class _Symbolic:
    """The orderings of one pattern; made once, shared by all its matrices."""

    def __init__(self, pattern: Pattern):
        columns, _ = pattern.transpose()
        self.indptr = np.ascontiguousarray(columns.indptr, np.int32)
        self.indices = np.ascontiguousarray(columns.indices, np.int32)
        common = _common()
        self.pointer = _library().klu_analyze(
            pattern.shape[0], self.indptr.ctypes.data, self.indices.ctypes.data, ctypes.byref(common)
        )
        weakref.finalize(self, _free, "klu_free_symbolic", self.pointer)


@per_object
def _symbolic(pattern: Pattern) -> _Symbolic:
    return _Symbolic(pattern)


def _free(name: str, pointer: int | None) -> None:
    if pointer:
        getattr(_library(), name)(ctypes.byref(ctypes.c_void_p(pointer)), ctypes.byref(_common()))


class _Numeric:
    """The factors of one matrix."""

    def __init__(self, symbolic: _Symbolic, values: np.ndarray):
        self._symbolic = symbolic
        self._dtype = values.dtype
        self._prefix = "klu_z_" if np.iscomplexobj(values) else "klu_"
        # KLU solves in work space of the factors, so only one thread at a time may.
        self._lock = threading.Lock()
        common = _common()
        make = getattr(_library(), f"{self._prefix}factor")
        self.pointer = make(
            symbolic.indptr.ctypes.data,
            symbolic.indices.ctypes.data,
            values.ctypes.data,
            symbolic.pointer,
            ctypes.byref(common),
        )
        weakref.finalize(self, _free, f"{self._prefix}free_numeric", self.pointer)

    def substitute(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        x = np.array(rhs, self._dtype, order="F")
        name = "solve" if form == "N" else "tsolve"
        options = [int(form == "H")] if self._prefix == "klu_z_" and form != "N" else []
        with self._lock:
            getattr(_library(), f"{self._prefix}{name}")(
                self._symbolic.pointer,
                self.pointer,
                x.shape[0],
                x.shape[1],
                x.ctypes.data,
                *options,
                ctypes.byref(_common()),
            )
        return x


@dataclasses.dataclass(frozen=True)
class KLU(AbstractRecipe):
    """A complete LU factorisation in double precision, by block triangular form and AMD."""

    pattern: Pattern

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        symbolic = _symbolic(self.pattern)
        if not symbolic.pointer:
            return NoFactor(Status.singular, "KLU: the pattern is structurally singular")
        matrix = to_csc(self.pattern, widened(data))
        found = _Numeric(symbolic, matrix.data)
        if not found.pointer:
            return NoFactor(Status.singular, "KLU: a pivot is exactly zero")
        # The matrix, and fill of twice the entries: KLU is for matrices with next to none.
        size = 5 * matrix.data.nbytes
        return checked(matrix, found.substitute, size, "KLU, block triangular form, AMD")
