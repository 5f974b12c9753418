"""factorize: a matrix factorised once, for many right-hand sides."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.results import Frozen
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.tree import inexact, typed
from jaxsolve.core.vector import plain_norm
from jaxsolve.linear.forward import Plan, guarded
from jaxsolve.linear.problem import pose
from jaxsolve.linear.request import Solve
from jaxsolve.linear.system import solve_linear
from jaxsolve.linear.verdict import Judge
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.convert import as_operator, batch_shape, with_dtype
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.host.direct import SparseDirect
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.host.inverse import HostInverse
from jaxsolve.telemetry.watch import SILENT


class Factorization(eqx.Module):
    """The factors of a square matrix, made by `factorize`; a pytree that passes through jit.

    `js.jit(solver.solve)` compiles a solve, as does `jax.jit(lambda b: solver.solve(b))`. Usable in a `with` statement,
    which releases the factors at its end; used again after that, they are made anew.

    Attributes:
        A: The matrix.
        inverse: Its inverse by the factors.
    """

    A: LinearOperator
    inverse: HostInverse
    method: SparseDirect = eqx.field(static=True)

    def solve(self, b: Any) -> Array:
        """The solution x of A x = b, refined where rounding shows; differentiable in b and the values of A.

        Args:
            b: Shape (n,), or (n, k) for k right-hand sides that are solved together.

        Raises:
            NotConverged: If A is singular; inside of jit as failing solves do (`js.jit` keeps the class).
            Diverged: If A or b holds NaN or infinity; the same.
        """
        return _solve(self.A, self.inverse, b, self.method)

    def solve_transpose(self, b: Any) -> Array:
        """The solution x of Aᵀ x = b by the same factors; as `solve`."""
        return _solve(self.A.T, self.inverse.transpose(), b, self.method)

    @property
    def description(self) -> str:
        """Which library factorised, and with which options."""
        return self.inverse.description

    def release(self) -> None:
        """Frees the memory of the factors; nothing else changes."""
        if not is_traced(self.inverse.key):
            FACTORS.discard((self.inverse.recipe, np.asarray(self.inverse.key).tobytes()))

    def __enter__(self) -> "Factorization":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def factorize(A: Any, backend: str = "auto") -> Factorization:
    """The factors of A, for any number of solves.

    The factorisation runs now where the values of A are known, and when the program runs where they are traced. It is
    in double precision whatever the dtype of A.

    Args:
        A: Square dense array, BCOO, BCSR, SciPy sparse matrix or operator.
        backend: "auto", "superlu", "klu" (package klujax) or "pardiso" (package mkl).

    Raises:
        StructureError: If A is not a square matrix.
        MissingBackendError: If the backend is not installed.

    >>> solver = factorize(jnp.array([[2.0, 1.0], [0.0, 4.0]]))
    >>> solver.solve(jnp.array([4.0, 8.0])).tolist(), solver.solve_transpose(jnp.array([4.0, 8.0])).tolist()
    ([1.0, 2.0], [2.0, 1.5])
    """
    method = SparseDirect(backend)
    matrix = as_operator(A)
    batch = batch_shape(matrix)
    if batch or matrix.shape[0] != matrix.shape[1]:
        raise StructureError(
            f"factorize needs one square matrix; got shape {(*batch, *matrix.shape)}. Use jax.vmap for several."
        )
    return Factorization(matrix, method.prepare(matrix), method)


def _solve(A: LinearOperator, inverse: HostInverse, b: Any, method: SparseDirect) -> Array:
    b = _right_hand_side(A, b)
    A = with_dtype(A, b.dtype)
    x, is_finite = _substituted(A, inverse, b)
    if not is_traced((x, inverse.status)):
        if bool(is_finite) and int(inverse.status) == Status.converged:
            return x
        # The front door tells what is wrong, or that b is in the range of a singular matrix.
        columns = [solve_linear(A, column, Solve(method)) for column in b.reshape(A.shape[0], -1).T]
        return jnp.stack(columns, axis=1).reshape(b.shape)
    # Outside of the compiled function, so that eager gradients raise with their class.
    check = functools.partial(_checked, method, A, inverse.status)
    return check(b, x) if b.ndim == 1 else jax.vmap(check, in_axes=1, out_axes=1)(b, x)


def _right_hand_side(A: LinearOperator, b: Any) -> Array:
    """b as an array of the dtype of the solution."""
    n, batch = A.shape[0], batch_shape(A)
    if batch:
        raise StructureError(
            f"these are the factors of a batch of matrices of shape {batch}; solve with each by "
            "jax.vmap(lambda solver, b: solver.solve(b))."
        )
    if not (eqx.is_array_like(b) or isinstance(b, list | tuple)):
        raise TypeError(f"b must be an array of shape ({n},) or ({n}, k); got a {type(b).__name__}.")
    b = jnp.asarray(b)
    if b.ndim not in (1, 2) or b.shape[0] != n:
        raise StructureError(f"a matrix of size {n} solves for b of shape ({n},) or ({n}, k); got {b.shape}.")
    return typed(b, inexact(A.dtype, b.dtype))


@jax.jit
def _substituted(A: LinearOperator, inverse: HostInverse, b: Array) -> tuple[Array, Array]:
    """The solutions for the columns of b, and whether they are finite."""
    inverse, fast = lax.stop_gradient(inverse), A.layout()
    transposed = inverse.transpose()

    def one(column: Array) -> Array:
        # The factors refine on the host, so that one exchange with it is enough.
        return lax.custom_linear_solve(
            fast.mv, column, lambda _, r: inverse.mv(r), lambda _, r: transposed.mv(r)
        )

    x = one(b) if b.ndim == 1 else jax.vmap(one, in_axes=1, out_axes=1)(b)
    return x, jnp.isfinite(x).all()


def _checked(method: SparseDirect, A: LinearOperator, status: Array, b: Array, x: Array) -> Array:
    """x, which raises when it is used unless A was factorised and x is a number."""
    solve = Solve(method)
    request = Frozen(solve)
    judge = Judge.of(solve, request, method, pose(A, b, solve, (), {}, True), None, True)
    b, status = lax.stop_gradient((b, status))
    lost = jnp.where(jnp.isfinite(b).all(), int(Status.nonfinite), int(Status.invalid_input))
    fine = jnp.isfinite(lax.stop_gradient(x)).all()
    status = jnp.where(fine | (status != Status.converged), status, lost).astype(jnp.int32)
    zero, norm = jnp.array(0, jnp.int32), plain_norm(b)
    outcome = Outcome(x, b, norm, jnp.zeros_like(norm), zero, zero, status)
    return guarded(Plan(method, method, judge, SILENT), "solve", lax.stop_gradient(outcome)._replace(x=x)).x
