"""SciPyKrylov: a whole solve by SciPy in one callback."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse.linalg import LinearOperator as HostOperator

from jaxsolve.core.host_call import host_call
from jaxsolve.core.status import Status
from jaxsolve.core.vector import plain_norm
from jaxsolve.solvers.host.scipy_methods import RUN, Answer, Task
from jaxsolve.solvers.method import AbstractMethod, State


class SciPyState(State):
    """What SciPy returned.

    Attributes:
        x: The correction.
        r: Right-hand side.
        residual_norm: ‖r - A x‖ as computed on the host.
        halt: Why it stopped before the goal.
        products: Products with A and its adjoint on the host.
    """

    x: Array
    r: Array
    residual_norm: Array
    halt: Array
    products: Array


#: The name of each kind in `Solve(name)`.
NAMES = {
    "cg": "scipy-CG",
    "gmres": "scipy-GMres",
    "lgmres": "scipy-lGMres",
    "bicg": "scipy-biCG",
    "bicgstab": "scipy-biCG-stab",
    "cgs": "scipy-CGS",
    "qmr": "scipy-QMR",
    "gcrotmk": "scipy-GCrotMK",
    "minres": "scipy-minres",
    "tfqmr": "scipy-tfQMR",
    "lsqr": "scipy-lsqr",
    "lsmr": "scipy-lsmr",
}


class _ByKind:
    """A fact that depends on the kind; read on the class it is that of the default kind."""

    def __init__(self, table: dict[str, Any], default: Any = None):
        self.table = table
        self.default = default

    def __get__(self, method: Any, owner: Any) -> Any:
        return self.table.get("gmres" if method is None else method.kind, self.default)


class SciPyKrylov(AbstractMethod):
    """A Krylov solver of SciPy, the whole solve in one callback.

    Matrices, preconditioners on the host and their sums and products are applied by NumPy and SciPy; a matrix-free
    operator by its compiled product. The tolerance, the scaling and the final check are those of every method here.

    Args:
        kind: "cg", "bicg", "bicgstab", "cgs", "gmres", "lgmres", "qmr", "gcrotmk", "minres", "tfqmr", "lsqr" or
            "lsmr".

    Raises:
        ValueError: If there is no such kind.
        NotConverged: Out of a solve, where SciPy's iteration stops early.

    Solves: A x = b with A of shape (n, n), real or complex; "lsqr" and "lsmr" also A of shape (m, n).
    Cost: that of SciPy's solver and one exchange with the host a solve; storage as in SciPy.
    Source: `scipy.sparse.linalg`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.SciPyKrylov("cg"))).tolist()]
    [0.091, 0.636]
    """

    name: ClassVar[Any] = _ByKind(NAMES)
    needs: ClassVar[Any] = _ByKind(
        {
            "cg": "symmetric (Hermitian) positive definite",
            "minres": "symmetric (Hermitian)",
            "lsqr": "any shape, with its adjoint",
            "lsmr": "any shape, with its adjoint",
        },
        "square",
    )
    wants: ClassVar[Any] = _ByKind({"cg": ("positive_definite",), "minres": ("hermitian",)}, ())
    rectangular: ClassVar[Any] = _ByKind({"lsqr": True, "lsmr": True}, False)
    least_norm: ClassVar[Any] = rectangular
    definite_preconditioner: ClassVar[Any] = _ByKind({"cg": True, "minres": True}, False)
    storage: ClassVar[str] = "on the host"
    cost: ClassVar[str] = "one callback a solve"
    restarts: ClassVar[bool] = True

    kind: str = eqx.field(static=True, default="gmres")

    def __check_init__(self) -> None:
        if self.kind not in RUN:
            raise ValueError(f"SciPyKrylov: unknown kind {self.kind!r}; known kinds: {', '.join(RUN)}.")

    def start(self, A, M, r):
        zero = jnp.array(0, jnp.int32)
        return SciPyState(jnp.zeros(A.shape[1], r.dtype), r, plain_norm(r), zero, zero)

    def step(self, A, M, s):
        return self.advance(A, M, s, jnp.array(0), jnp.zeros_like(s.residual_norm), jnp.array(1))[1]

    def advance(self, A, M, s, k, goal, limit):
        leaves, structure = jax.tree.flatten((A, M))
        call = _Solve(self.kind, structure)
        integer = jax.ShapeDtypeStruct((), jnp.int32)
        results = (
            jax.ShapeDtypeStruct(s.x.shape, s.x.dtype),
            jax.ShapeDtypeStruct((), s.residual_norm.dtype),
            integer,
            integer,
            integer,
        )
        failed = (0, 0, int(Status.host_failure), 1, 0)
        left = jnp.asarray(limit - k, jnp.int32)
        x, norm, halt, iterations, products = host_call(call, results, failed, s.r, goal, left, *leaves)
        norm = jnp.where(norm > 0, norm, jnp.where(halt != 0, s.residual_norm, norm))
        return k + iterations, SciPyState(x, s.r, norm, halt, s.products + products)

    def spent(self, s, steps):
        return s.products


@dataclasses.dataclass(frozen=True)
class _Solve:
    """The callback: every lane of a batch in turn."""

    kind: str
    structure: Any

    def __call__(self, r: np.ndarray, goal: np.ndarray, limit: np.ndarray, *leaves: np.ndarray) -> tuple:
        size = max(map(len, (r, goal, limit, *leaves)))
        lanes = [
            self._lane(*(array[min(k, len(array) - 1)] for array in (r, goal, limit, *leaves)))
            for k in range(size)
        ]
        return tuple(np.stack(values) for values in zip(*lanes, strict=True))

    def _lane(self, r: np.ndarray, goal: Any, limit: Any, *leaves: np.ndarray) -> tuple:
        A, M = jax.tree.unflatten(self.structure, leaves)
        counted = _Counted(A.on_host())
        if limit <= 0 or not np.linalg.norm(r) > goal:
            return np.zeros(A.shape[1], r.dtype), np.linalg.norm(r), 0, 0, 0
        task = Task(counted, None if M is None else M.on_host(), r, float(goal), int(limit))
        with np.errstate(all="ignore"):
            answer = RUN[self.kind](task)
            if not np.isfinite(answer.d).all():
                # A sparse matrix without entries has a product with NaN that is zero.
                answer = Answer(np.zeros_like(answer.d), answer.iterations, int(Status.breakdown))
            norm = np.linalg.norm(r - counted.inner.matvec(answer.d))
        taken = counted.forward if answer.iterations is None else answer.iterations
        # At the limit the driver says so itself; before it, a pass that missed its goal has to say why it ended.
        taken = min(max(taken, 1), int(limit))
        halt = answer.halt or (int(Status.stagnation) if norm > goal and taken < limit else 0)
        return answer.d.astype(r.dtype), norm, halt, taken, counted.forward + counted.backward + 1


class _Counted(HostOperator):
    """An operator that counts its products."""

    def __init__(self, inner: HostOperator):
        self.inner = inner
        self.forward = 0
        self.backward = 0
        super().__init__(inner.dtype, inner.shape)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        self.forward += 1
        return self.inner.matvec(x)

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        self.backward += 1
        return self.inner.rmatvec(x)
