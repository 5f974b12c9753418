"""factorize: a matrix factorised once, for many right-hand sides."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.vector import plain_norm
from jaxsolve.linear.request import Solve
from jaxsolve.linear.system import solve_linear
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.convert import as_operator
from jaxsolve.solvers.host.direct import SparseDirect
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.host.inverse import HostInverse


class Factorization(eqx.Module):
    """The factors of a square matrix, made by `factorize`; a pytree that passes through jit.

    Usable in a `with` statement, which releases the factors at its end; used again after that, they are made anew.

    Attributes:
        A: The matrix.
        inverse: Its inverse by the factors.
    """

    A: LinearOperator
    inverse: HostInverse
    method: SparseDirect = eqx.field(static=True)

    def solve(self, b: Any) -> Array:
        """The solution x of A x = b, with one sweep of refinement; differentiable in b and the values of A.

        Args:
            b: Shape (n,), or (n, k) for k right-hand sides that are solved together.

        Raises:
            NotConverged: If A is singular (in eager mode; inside of jit the solution is NaN).
        """
        return _solve(self.A, self.inverse, b, self.method)

    def solve_transpose(self, b: Any) -> Array:
        """The solution x of Aᵀ x = b by the same factors; as `solve`."""
        return _solve(self.A.T, self.inverse.transpose(), b, self.method)

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
        backend: "auto", "superlu" or "klu" (package klujax).

    Raises:
        StructureError: If A is not a square matrix.
        MissingBackendError: If the backend is not installed.

    >>> solver = factorize(jnp.array([[2.0, 1.0], [0.0, 4.0]]))
    >>> solver.solve(jnp.array([4.0, 8.0])).tolist(), solver.solve_transpose(jnp.array([4.0, 8.0])).tolist()
    ([1.0, 2.0], [2.0, 1.5])
    """
    method = SparseDirect(backend)
    matrix = as_operator(A)
    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise StructureError(
            f"factorize needs one square matrix; got shape {matrix.shape}. Use jax.vmap for several."
        )
    return Factorization(matrix, method.prepare(matrix), method)


def _solve(A: LinearOperator, inverse: HostInverse, b: Any, method: SparseDirect) -> Array:
    b = jnp.asarray(b)
    n = A.shape[0]
    if b.ndim not in (1, 2) or b.shape[0] != n:
        raise StructureError(f"a matrix of size {n} solves for b of shape ({n},) or ({n}, k); got {b.shape}.")
    b = b.astype(jnp.result_type(A.dtype, b.dtype))
    if not is_traced((inverse.status, b)) and int(inverse.status) != Status.converged:
        # The front door tells what is wrong, or that b is in the range of a singular matrix.
        columns = [solve_linear(A, column, Solve(method)) for column in b.reshape(n, -1).T]
        return jnp.stack(columns, axis=1).reshape(b.shape)
    if b.ndim == 2:
        return jax.vmap(lambda column: _one(A, inverse, column), in_axes=1, out_axes=1)(b)
    return _one(A, inverse, b)


def _one(A: LinearOperator, inverse: HostInverse, b: Array) -> Array:
    inverse = lax.stop_gradient(inverse)

    def refined(M: HostInverse) -> Any:
        def solve(product: Any, r: Array) -> Array:
            x = M.mv(r)
            rest = r - product(x)
            better = x + M.mv(rest)
            return jnp.where(plain_norm(r - product(better)) < plain_norm(rest), better, x)

        return solve

    fast = A.layout()
    return lax.custom_linear_solve(fast.mv, b, refined(inverse), refined(inverse.transpose()))
