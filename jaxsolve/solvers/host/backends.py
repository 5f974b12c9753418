"""Which library factorises: names to recipes."""

from collections.abc import Callable

from jaxsolve.core.names import nearest
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.cholmod import has_cholmod, require_cholmod
from jaxsolve.solvers.host.factor import AbstractRecipe
from jaxsolve.solvers.host.klu import KLU, require_klu
from jaxsolve.solvers.host.pardiso import Pardiso, require_pardiso
from jaxsolve.solvers.host.sparse_cholesky import Cholmod
from jaxsolve.solvers.host.superlu import SuperLU


def _klu(pattern: Pattern) -> AbstractRecipe:
    require_klu()
    return KLU(pattern)


def _pardiso(pattern: Pattern) -> AbstractRecipe:
    require_pardiso()
    return Pardiso(pattern)


def _cholmod(pattern: Pattern) -> AbstractRecipe:
    require_cholmod()
    return Cholmod(pattern)


#: Elimination as a part of the program, for sparse matrices of a static pattern.
DEVICE = "device"
#: SuperLU is the automatic choice: it is always there, and twice as fast as KLU on grids. CHOLMOD is for matrices that
#: are known to be definite: new values in 0.21 to 0.38 of the time on grids, in elasticity and on bcsstk16.
BACKENDS: dict[str, Callable[[Pattern], AbstractRecipe]] = {
    "auto": SuperLU,
    "superlu": SuperLU,
    "klu": _klu,
    "pardiso": _pardiso,
    "cholmod": _cholmod,
}
#: Those that take Hermitian positive definite matrices alone.
DEFINITE = ("cholmod",)


def minds_definiteness(backend: str) -> bool:
    """Whether a backend takes another road for matrices that are known to be definite."""
    return backend == "pardiso" or (backend == "auto" and has_cholmod())


def recipe_for(backend: str, pattern: Pattern, definite: bool = False) -> AbstractRecipe:
    """The recipe of a backend for a pattern.

    Args:
        backend: Its name; "auto" takes CHOLMOD for definite matrices where it is installed, "pardiso" L Lᴴ.
        pattern: Of the matrices.
        definite: Whether they are known to be Hermitian positive definite.

    Raises:
        ValueError: If there is no such backend.
        MissingBackendError: If its package is not installed.
    """
    check_backend(backend)
    if backend == "auto" and definite and has_cholmod():
        return Cholmod(pattern, otherwise=SuperLU(pattern))
    if backend == "pardiso" and definite:
        require_pardiso()
        return Pardiso(pattern, definite=True)
    return BACKENDS[backend](pattern)


def check_backend(backend: str) -> None:
    """Raises where there is no such backend.

    Raises:
        ValueError: With the names of those that there are.
    """
    if backend != DEVICE and backend not in BACKENDS:
        known = [*BACKENDS, DEVICE]
        near = nearest(backend, known) if isinstance(backend, str) else ""
        raise ValueError(f"unknown backend {backend!r}; known backends: {', '.join(known)}.{near}")
