"""factorize: a matrix factorised once, for many right-hand sides."""

import functools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.module import Module
from jaxsolve.core.precision import in_full
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.tree import as_arrays
from jaxsolve.front.request import Solve
from jaxsolve.linear.auto import Choice
from jaxsolve.linear.linear_solve import linear_answer
from jaxsolve.linear.problem import pose
from jaxsolve.operators.conversion import as_operator, is_function
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.host.backends import DEVICE
from jaxsolve.solvers.host.direct import SparseDirect


class Factorization(Module):
    """The factors of a square matrix, made by `factorize`; a pytree that passes through jit.

    `jax.jit(solver.solve)` compiles a solve. A factorisation is a preconditioner, too: `Solve("GMres",
    preconditioner=solver)`. Usable in a `with` statement, which releases the factors at its end; used again after
    that, they are made anew.

    Attributes:
        A: The matrix, of shape (n, n).
        inverse: Its inverse by the factors, in double precision inside, with "device" in that of A.
        offset: The value at zero of the function that A was read from, of shape (n,); None for a matrix.

    Raises:
        NotConverged: From `solve` and `solve_transpose`, if A is singular.
        StructureError: From `solve` and `solve_transpose`, if b is of another shape than (n,) or (n, k).

    Cost: one callback (none with "device") and two triangular solves a right-hand side; memory the factors.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> with js.factorize(jnp.array([[2.0, 1.0], [0.0, 4.0]])) as solver:
    ...     solver.solve(jnp.array([[4.0, 2.0], [8.0, 0.0]])).tolist()
    [[1.0, 1.0], [2.0, 0.0]]
    """

    A: LinearOperator
    inverse: LinearOperator
    method: SparseDirect = eqx.field(static=True)
    offset: Array | None = None

    def solve(self, b: Any) -> Array:
        """The solution x of A x = b, refined where rounding shows; differentiable in b and the values of A.

        Args:
            b: Shape (n,), or (n, k) for k right-hand sides that are solved together.

        Raises:
            NotConverged: If A is singular; inside of jit as failing solves do (`js.jit` keeps the class).
            Diverged: If A or b holds NaN or infinity; the same.
        """
        return _solve(self.A, self.inverse, b, self.method, self.offset)

    def solve_transpose(self, b: Any) -> Array:
        """The solution x of Aᵀ x = b by the same factors; as `solve`."""
        return _solve(self.A.T, self.inverse.transpose(), b, self.method, None)

    @property
    def description(self) -> str:
        """Which library factorised, and with which options."""
        factors = getattr(self.inverse, "operator", self.inverse)
        return getattr(factors, "description", "dense LU in the program")

    def release(self) -> None:
        """Frees the memory that factors take on the host; nothing else changes."""
        if hasattr(self.inverse, "release"):
            self.inverse.release()

    def __enter__(self) -> "Factorization":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


@in_full
def factorize(A: Any, backend: str = "auto", x_like: Any = None) -> Factorization:
    """The factors of A, for any number of solves.

    The factorisation runs now where the values of A are known, and when the program runs where they are traced. It is
    in double precision whatever the dtype of A.

    Args:
        A: Square dense array, BCOO, BCSR, SciPy sparse matrix, operator, or a linear or affine function.
        backend: "auto", "superlu", "klu" (package klujax), "pardiso" (package mkl), "cholmod" (package cvxopt), or
            "device" for factors that are arrays of the program; see `js.SparseDirect`.
        x_like: For a function A: an array of the shape (n,) of x.

    Returns:
        A `Factorization` with `solve(b)` and `solve_transpose(b)` for b of shape (n,) or (n, k).

    Raises:
        StructureError: If A is not a square matrix.
        ValueError: If there is no such backend.
        TypeError: If A is a function and `x_like` no array of shape (n,).
        MissingBackendError: If the backend is not installed.

    Cost: that of `js.SparseDirect`: 2/3 n³ flops for a dense matrix, else by the fill.

    >>> solver = factorize(jnp.array([[2.0, 1.0], [0.0, 4.0]]))
    >>> solver.solve(jnp.array([4.0, 8.0])).tolist(), solver.solve_transpose(jnp.array([4.0, 8.0])).tolist()
    ([1.0, 2.0], [2.0, 1.5])
    >>> factorize(lambda x: 2 * x, x_like=jnp.zeros(3)).solve(jnp.ones(3)).tolist()
    [0.5, 0.5, 0.5]
    """
    method = SparseDirect(backend)
    matrix, offset = _read(A, x_like, method) if is_function(A) else (as_operator(A), None)
    batch = matrix.batch_shape
    if batch or matrix.shape[0] != matrix.shape[1]:
        raise StructureError(
            f"factorize needs one square matrix; got shape {(*batch, *matrix.shape)}. Use jax.vmap for several."
        )
    return Factorization(matrix, method.judged(matrix), method, offset)


def _read(f: Any, x_like: Any, method: SparseDirect) -> tuple[LinearOperator, Array]:
    """A function as a sparse matrix, and its value at zero."""
    if x_like is None or np.ndim(x_like) != 1:
        given = "nothing" if x_like is None else f"an array of shape {np.shape(x_like)}"
        raise TypeError(
            "factorize needs to know which vectors a function is applied to: js.factorize(f, x_like=x) with an array x "
            f"of shape (n,); got {given}."
        )
    zeros = jnp.zeros_like(jnp.asarray(x_like))
    problem = pose(f, zeros, Solve(method), (), {}, True)
    return problem.A, -problem.b


def _solve(
    A: LinearOperator, inverse: LinearOperator, b: Any, method: SparseDirect, offset: Array | None
) -> Array:
    n, batch = A.shape[0], A.batch_shape
    if batch:
        raise StructureError(
            f"these are the factors of a batch of matrices of shape {batch}; solve with each by "
            "jax.vmap(lambda solver, b: solver.solve(b))."
        )
    b, columns = _right_hand_side(n, b)
    if offset is not None:
        b = b - offset
    # Factors that are arrays may be used as they are: refinement shows what they are worth.
    status = getattr(inverse, "status", None) if method.backend != DEVICE else None
    regular = status is None or is_traced(status) or int(status) == Status.converged
    # Of a singular matrix, the front door tells whether b is in its range.
    choice = Choice(method, inverse, ("A is factorised",)) if regular else None
    x = linear_answer(A, b, _request(method, regular), choice=choice).x
    return x.T if columns else x


@functools.lru_cache(maxsize=16)
def _request(method: SparseDirect, regular: bool) -> Solve:
    return Solve(method, rank_deficiency=0 if regular else None)


def _right_hand_side(n: int, b: Any) -> tuple[Array, bool]:
    """b as one right-hand side, or as a batch of them, and whether they were columns."""
    if not (eqx.is_array_like(b) or isinstance(b, list | tuple)):
        raise TypeError(f"b must be an array of shape ({n},) or ({n}, k); got a {type(b).__name__}.")
    b = as_arrays("b", list(b) if isinstance(b, tuple) else b)
    if not eqx.is_array(b) or b.ndim not in (1, 2) or b.shape[0] != n:
        shape = b.shape if eqx.is_array(b) else b
        raise StructureError(f"a matrix of size {n} solves for b of shape ({n},) or ({n}, k); got {shape}.")
    return (b, False) if b.ndim == 1 else (b.T, True)
