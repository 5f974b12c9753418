"""The methods under test, systems that fit them, and the driver compiled once for each method and shape."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.status import Status
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.driver import Control, Outcome, iterate
from jaxsolve.solvers.krylov.adaptive_cg import AdaptiveCG
from jaxsolve.solvers.krylov.bicg import BiCG
from jaxsolve.solvers.krylov.bicgstab import BiCGStab
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.krylov.cgs import CGS
from jaxsolve.solvers.krylov.cr import CR
from jaxsolve.solvers.krylov.fgmres import FGMRES
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.krylov.idr import IDR
from jaxsolve.solvers.krylov.lsmr import LSMR
from jaxsolve.solvers.krylov.lsqr import LSQR
from jaxsolve.solvers.krylov.minres import MINRES
from jaxsolve.solvers.krylov.tfqmr import TFQMR
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from tests.gallery import problems
from tests.gallery.methods import mostly_slow

#: For Hermitian matrices.
HERMITIAN = {"CG": CG(), "CG-adaptive": AdaptiveCG(), "minres": MINRES(), "CR": CR()}
#: For all square matrices.
SQUARE = {
    "biCG": BiCG(),
    "CGS": CGS(),
    "tfQMR": TFQMR(),
    "biCG-stab": BiCGStab(),
    "biCG-stab(2)": BiCGStab(2),
    "biCG-stab(4)": BiCGStab(4),
    "IDR(4)": IDR(4),
    "GMres": GMRES(),
    "fGMres": FGMRES(),
}
#: For matrices of any shape.
RECTANGULAR = {"lsqr": LSQR(), "lsmr": LSMR()}
METHODS: dict[str, AbstractMethod] = HERMITIAN | SQUARE | RECTANGULAR
#: One of each kind of recurrence in every run, the others in `-m slow`.
every_kind = pytest.mark.parametrize(
    "name", mostly_slow(METHODS, ["CG", "minres", "biCG-stab(2)", "GMres", "IDR(4)", "lsmr"])
)
#: Unknowns of most systems: one program for each method and dtype serves many tests, since compiling takes the time.
SIZE = 13


@eqx.filter_jit
def _run(method: AbstractMethod, A: Any, M: Any, b: Any, x0: Any, control: Control) -> Outcome:
    return iterate(method, A, M, b, x0, control, NullSpace())


def control(b: Any, rtol: Any = 1e-8, atol: Any = 0.0, max_iterations: Any = 500) -> Control:
    """The limits as arrays in the precision of b."""
    real = np.asarray(b).real.dtype
    return Control(jnp.asarray(rtol, real), jnp.asarray(atol, real), jnp.asarray(max_iterations))


def solve(method: AbstractMethod, A: Any, b: Any, M: Any = None, x0: Any = None, **limits: Any) -> Outcome:
    """The outcome of the driver on dense arrays (or operators)."""
    A, M = (v if v is None or isinstance(v, LinearOperator) else DenseMatrix(jnp.asarray(v)) for v in (A, M))
    x0 = None if x0 is None else jnp.asarray(x0)
    return _run(method, A, M, jnp.asarray(b), x0, control(b, **limits))


def status(outcome: Outcome) -> Status:
    """The status as a member of the enumeration."""
    return Status(int(outcome.status))


def fitting(name: str, n: int, dtype: Any) -> dict[str, np.ndarray]:
    """Matrices that the method is meant for."""
    definite, indefinite = problems.definite(n, 5120, dtype), problems.indefinite(n, 5121, dtype)
    if name == "CG":
        return {"definite": definite}
    if name in HERMITIAN:
        return {"definite": definite, "indefinite": indefinite}
    turned = problems.dominant(n, 5122, dtype) * (1j if np.iscomplexobj(definite) else -1)
    return {"definite": definite, "indefinite": indefinite, "turned": turned.astype(dtype)}


def preconditioner(name: str, A: np.ndarray) -> np.ndarray:
    """A rough inverse of A; positive definite (of the matrix |A|) where the method wants that."""
    nearly_one = np.eye(len(A)) + 0.1 * problems.random(*A.shape, seed=5123, dtype=A.dtype.type) / np.sqrt(
        len(A)
    )
    if name in HERMITIAN:
        values, vectors = np.linalg.eigh(A)
        root = (vectors / np.sqrt(np.abs(values))) @ nearly_one
        return (root @ root.conj().T).astype(A.dtype)
    return (np.linalg.inv(A) @ nearly_one).astype(A.dtype)
