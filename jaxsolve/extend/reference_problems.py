"""The systems on which laws are checked: small bands and grids, of each kind that methods declare."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsolve.core.traits import traits_for
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.method import AbstractMethod

#: Unknowns of systems for methods: no multiple of anything.
SIZE = 13
#: The grid of matrices for preconditioners.
GRID = (6, 7)
#: The residual that systems on the grid can be asked for in single precision: their exact adjoint solution, rounded,
#: leaves 1.5e-6, and ε ‖A‖ ‖x‖ / ‖b‖ is 1.6e-5.
SINGLE = 3e-5
#: The kinds of systems, from special to general.
KINDS = ("definite", "indefinite", "general")


def precision() -> Any:
    """The real dtype of the session."""
    return jnp.zeros(()).dtype


def complex_of(dtype: Any) -> Any:
    """The complex dtype of the same precision."""
    return jnp.result_type(dtype, jnp.complex64)


def vector(n: int, seed: int, dtype: Any) -> np.ndarray:
    """Normal random numbers, complex where the dtype is."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n)
    if np.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.normal(size=n)
    return values.astype(dtype)


def kinds_of(method: AbstractMethod) -> tuple[str, ...]:
    """The kinds of systems that a method says it solves."""
    words = method.needs.lower()
    if "positive_definite" in method.wants or ("definite" in words and "indefinite" not in words):
        return KINDS[:1]
    return KINDS[:2] if method.wants else KINDS


def band(kind: str, dtype: Any, n: int = SIZE, seed: int = 7621) -> SparseMatrix:
    """A tridiagonal matrix of a kind, so that band solvers have it too; Hermitian but for "general"."""
    upper = vector(n - 1, seed, dtype) / 2
    lower = vector(n - 1, seed + 1, dtype) / 2 if kind == "general" else upper.conj()
    # Dominated by its diagonal, and indefinite where the signs alternate.
    signs = np.where(np.arange(n) % 3 == 0, -1, 1) if kind == "indefinite" else np.ones(n)
    diagonal = signs * (3 + np.abs(vector(n, seed + 2, np.float64)))
    offsets: Any = [-1, 0, 1]
    A = scipy.sparse.diags_array(
        [lower, diagonal.astype(dtype), upper], offsets=offsets, shape=(n, n), dtype=np.dtype(dtype)
    )
    return SparseMatrix.from_scipy(A.tocsr())


def insulated(dtype: Any, n: int = SIZE) -> SparseMatrix:
    """The second difference with insulated ends: symmetric, singular, constants are its null space."""
    diagonal = np.full(n, 2.0)
    diagonal[[0, -1]] = 1
    offsets: Any = [-1, 0, 1]
    A = scipy.sparse.diags_array(
        [-np.ones(n - 1), diagonal, -np.ones(n - 1)], offsets=offsets, dtype=np.dtype(dtype)
    )
    return SparseMatrix.from_scipy(A.tocsr())


def grid(dtype: Any, symmetric: bool = True, seed: int = 577) -> SparseMatrix:
    """Diffusion on a grid with coefficients that vary tenfold, and with drift where it is not to be symmetric."""
    rows, columns = GRID
    rng = np.random.default_rng(seed)
    number = np.arange(rows * columns).reshape(GRID)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    i, j = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    k = 10.0 ** rng.uniform(-0.5, 0.5, len(i))
    drift = np.zeros(len(i)) if symmetric else 0.3 * k
    if np.issubdtype(dtype, np.complexfloating):
        k = k * np.exp(0.3j * rng.normal(size=len(i)))
    off = scipy.sparse.coo_array(
        (np.concatenate([-k - drift, -np.conj(k) + drift]), (np.concatenate([i, j]), np.concatenate([j, i]))),
        shape=(rows * columns, rows * columns),
    ).tocsr()
    A = off + scipy.sparse.diags_array(np.asarray(abs(off).sum(axis=1)).ravel() + 0.1)
    found = SparseMatrix.from_scipy(A.tocsr().astype(np.dtype(dtype)))
    facts = traits_for(np.issubdtype(dtype, np.complexfloating), positive_definite=symmetric)
    return SparseMatrix(found.data, found.pattern, facts)


def dense(A: Any) -> np.ndarray:
    """The matrix in NumPy's double precision."""
    A = np.asarray(A.as_matrix())
    return A.astype(np.complex128 if np.iscomplexobj(A) else np.float64)
