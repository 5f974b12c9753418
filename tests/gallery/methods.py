"""A fitting system for each method, and the errors by which solutions are judged."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sps

from jaxsolve.solvers.direct.banded import Banded
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery import problems

#: One method of each family, for laws that cost a compilation each; the others are for `-m slow`.
FAMILIES = ("CG", "biCG-stab", "GMres", "lsmr", "LU")
every_method = pytest.mark.parametrize("name", METHODS)


def mostly_slow(names: Iterable[str], quick: Iterable[str]) -> list[Any]:
    """Parameters for `parametrize`: the quick ones for every run, the others for `-m slow`."""
    quick = set(quick)
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


every_family = pytest.mark.parametrize("name", mostly_slow(METHODS, FAMILIES))
#: Unknowns of the laws' systems: small, and no multiple of anything.
SIZE = 13


def made(name: str) -> AbstractMethod:
    """The method of a name; with its band where that cannot be read off a traced matrix."""
    return Banded(2, 2) if name == "banded" else METHODS[name]()


def matrix(name: str, n: int = SIZE, dtype: type = np.float64, seed: int = 7621) -> np.ndarray:
    """A matrix that the method must be able to solve: as general as the method's declared needs allow."""
    wants = made(name).wants
    if name in ("tridiagonal", "banded"):
        band = 1 if name == "tridiagonal" else 2
        A = problems.dominant(n, seed, dtype)
        return np.triu(np.tril(A, band), -band)
    if "positive_definite" in wants or name == "CG-adaptive":
        return problems.definite(n, seed, dtype)
    if wants:
        return problems.indefinite(n, seed, dtype)
    return problems.dominant(n, seed, dtype)


def system(
    name: str, n: int = SIZE, dtype: type = np.float64, seed: int = 7621
) -> tuple[np.ndarray, np.ndarray]:
    """A fitting matrix and a right-hand side without structure."""
    return matrix(name, n, dtype, seed), problems.random(n, seed=seed + 1, dtype=dtype)


def hermitian_only(name: str) -> bool:
    """Whether the method is for symmetric (Hermitian) matrices."""
    return bool(made(name).wants)


def relative_residual(A: Any, x: Any, b: Any) -> float:
    """‖b - A x‖ / ‖b‖ in double precision NumPy, apart from the package."""
    wide = np.complex128 if np.iscomplexobj(A) or np.iscomplexobj(b) else np.float64
    A = A.astype(wide) if sps.issparse(A) else np.asarray(A, wide)
    x, b = (np.asarray(v, wide) for v in (x, b))
    return float(np.linalg.norm(b - A @ x) / np.linalg.norm(b))


def distance(x: Any, y: Any) -> float:
    """‖x - y‖ / ‖y‖."""
    x, y = np.asarray(x), np.asarray(y)
    return float(np.linalg.norm(x - y) / (np.linalg.norm(y) or 1))
