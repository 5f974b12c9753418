"""Direct solvers on the host: a factorisation made once, applied by callbacks, refined on the device."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import evaluated, is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.traits import Traits
from jaxsolve.operators.facts import proved
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.direct.dense_factors import LU
from jaxsolve.solvers.direct.refinement import AbstractDirect, RefinementState
from jaxsolve.solvers.direct.sparse.static_factors import static_factors
from jaxsolve.solvers.host.backends import DEFINITE, DEVICE, check_backend, minds_definiteness, recipe_for
from jaxsolve.solvers.host.fill import require_room_for_factors
from jaxsolve.solvers.host.host_inverse import host_inverse
from jaxsolve.solvers.host.lapack import LAPACK
from jaxsolve.solvers.host.scaling import is_hermitian
from jaxsolve.tracer.explicit_matrix import explicit


class HostState(RefinementState):
    """A refinement's state, and what the host said of the matrix."""

    status: Array


class AbstractHostDirect(AbstractDirect):
    """A factorisation by a library on the host.

    Made once where the matrix is known (while tracing), and once a solve where it is traced; equal matrices share one
    as long as `FACTORS` remembers. The adjoint solve uses the same factors, and so do all lanes of a vmap over
    right-hand sides.
    """

    needs: ClassVar[str] = "any square matrix"
    entries: ClassVar[bool] = True
    backend: eqx.AbstractVar[str]

    def __check_init__(self) -> None:
        check_backend(self.backend)

    def prepare(self, A: LinearOperator) -> LinearOperator:
        """The inverse by factors on the host."""
        if A.shape[0] != A.shape[1]:
            raise StructureError(
                f"`{self.name}` needs a square matrix; A has shape {A.shape}. Use `lsqr` or `QR`."
            )
        matrix = explicit(A)
        size = A.shape[0]
        facts = Traits(symmetric=matrix.traits.symmetric, hermitian=matrix.traits.hermitian)
        sparse = matrix.entries()
        if self.backend == DEVICE:
            return LU().prepare(matrix) if sparse is None else static_factors(sparse)
        if sparse is not None:
            if self.backend in DEFINITE:
                _require_hermitian(sparse, self.backend)
            require_room_for_factors(sparse.pattern, sparse.dtype, self.name)
            definite = minds_definiteness(self.backend) and _is_definite(sparse)
            recipe = recipe_for(self.backend, sparse.pattern, definite)
            return host_inverse(recipe, sparse.data, size, facts)
        with evaluated(matrix):
            values = matrix.as_matrix().reshape(-1)
        return host_inverse(LAPACK(size), values, size, facts)

    def judged(self, A: LinearOperator) -> LinearOperator:
        """The same, judged by the host where that factorises."""
        return AbstractDirect.judged(self, A) if self.backend == DEVICE else self.prepare(A)

    def undetermined(self, M: Any) -> Array | None:
        told = AbstractDirect.undetermined(self, M)
        return _status(M) == int(Status.singular) if told is None else told

    def start(self, A, M, r):
        s = AbstractDirect.start(self, A, M, r)
        return HostState(s.x, s.r, s.residual_norm, s.halt, _status(M))

    def step(self, A, M, s):
        t = AbstractDirect.step(self, A, M, s)
        return HostState(t.x, t.r, t.residual_norm, t.halt, s.status)

    def diagnose(self, s):
        return s.status


class SparseDirect(AbstractHostDirect):
    """Sparse LU factorisation by a library of the host or by the program itself, and refinement on the device.

    Args:
        backend: "superlu" (in SciPy), "klu" (package klujax; for circuits), "pardiso" (package mkl; for large
            matrices on several cores), "cholmod" (package cvxopt; for Hermitian positive definite ones), or "auto":
            CHOLMOD where it is installed and A is declared positive definite, or proved so by a dominant diagonal,
            else SuperLU. "device" eliminates in the program, without a callback: for many sets of values on one
            pattern under `vmap`, for `jax.export` and for accelerators; rows are exchanged where values are known
            beforehand, else never, and patterns of more than 5 million products are refused. Dense matrices are
            factorised by LAPACK with any.

    Raises:
        ValueError: If there is no such backend.
        MissingBackendError: From a solve, if its package is not installed.
        StructureError: If the factors are predicted not to fit into memory; with "cholmod", if A is not Hermitian;
            with "device", if the positions leave A singular, or the elimination is too large.
        NotConverged: Out of a solve: `singular` where the backend finds A so; with "cholmod" `not_positive_definite`;
            with "device" `breakdown` where a pivot vanished and refinement did not make up for it.

    Solves: A x = b with A of shape (n, n), real or complex, of known entries; in double precision inside, with
        "device" in the precision of A.
    Cost: once by the fill, O(n^1.5) flops for a mesh in the plane, O(n²) in space; one callback a right-hand side
        (none with "device"); memory its factors.
    Source: Davis (2006), Direct Methods for Sparse Linear Systems; KLU, SuperLU, PARDISO or CHOLMOD by backend;
        "device": Li and Demmel (1998), Making sparse Gaussian elimination scalable by static pivoting.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = js.SparseMatrix.from_dense(jnp.array([[2.0, 1.0], [0.0, 4.0]]))
    >>> js.solve_linear(A, jnp.array([4.0, 8.0]), js.Solve(js.SparseDirect("superlu"))).tolist()
    [1.0, 2.0]
    """

    name: ClassVar[str] = "sparse-direct"
    backend: str = eqx.field(static=True, default="auto")


class SciPyDirect(AbstractHostDirect):
    """SciPy's SuperLU (LAPACK for a dense matrix) on the host, and refinement on the device.

    Args:
        backend: "superlu"; others as in `SparseDirect`.

    Raises:
        ValueError: If there is no such backend.
        StructureError: If the factors are predicted not to fit into memory.
        NotConverged: Out of a solve: `singular` where SuperLU finds A so.

    Solves: A x = b with A of shape (n, n), real or complex, of known entries; in double precision inside.
    Cost: that of `SparseDirect`: one callback a right-hand side; memory its factors.
    Source: Demmel, Eisenstat, Gilbert, Li, Liu (1999), A supernodal approach to sparse partial pivoting.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = js.SparseMatrix.from_dense(jnp.array([[2.0, 1.0], [0.0, 4.0]]))
    >>> js.solve_linear(A, jnp.array([4.0, 8.0]), js.Solve(js.SciPyDirect())).tolist()
    [1.0, 2.0]
    """

    name: ClassVar[str] = "scipy-direct"
    backend: str = eqx.field(static=True, default="superlu")


def _is_definite(A: SparseMatrix) -> bool:
    """Whether a matrix is declared, or proved by its values, to be Hermitian positive definite."""
    if A.traits.positive_definite:
        return True
    concrete = A.data.ndim == 1 and not is_traced(A.data)
    return concrete and A.pattern.is_symmetric and proved(A).get("positive_definite", False)


def _require_hermitian(A: SparseMatrix, backend: str) -> None:
    """Refuses what is seen not to be Hermitian."""
    known = A.data.ndim == 1 and not is_traced(A.data)
    if not A.pattern.is_symmetric or (known and not is_hermitian(A.pattern, np.asarray(A.data))):
        raise StructureError(
            f"backend={backend!r} factorises Hermitian positive definite matrices; A differs from its adjoint, or has "
            "gaps on its diagonal. Use backend='auto', which takes any matrix."
        )


def _status(M: Any) -> Array:
    """The status of the factorisation inside of what the driver wrapped around it."""
    while not hasattr(M, "status"):
        M = getattr(M, "operator", None)
        if M is None:
            return jnp.array(int(Status.converged), jnp.int32)
    return M.status
