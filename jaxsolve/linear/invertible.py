"""What determinants and inverses are asked of: an operator, with its factors where it has them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.module import Module
from jaxsolve.core.staging import detached
from jaxsolve.core.tree import as_arrays, inexact
from jaxsolve.front.request import Solve, refuse_axes
from jaxsolve.linear.auto import DEFICIENT, Choice
from jaxsolve.linear.factorization import Factorization
from jaxsolve.linear.linear_solve import linear_answer
from jaxsolve.linear.preparation import chosen
from jaxsolve.linear.problem import pose
from jaxsolve.operators.conversion import ACCEPTED, as_operator, is_function
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.direct.dense_factors import LU, Cholesky
from jaxsolve.solvers.host.backends import DEVICE
from jaxsolve.solvers.host.direct import SparseDirect
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.tracer.explicit_matrix import entries_of, explicit


class Factored(Module):
    """A matrix by its entries, with factors that tell its determinant.

    Attributes:
        matrix: A `SparseMatrix` or `DenseMatrix`.
        inverse: Its inverse by factors, from which no gradient is taken.
        method: What factorised.
    """

    matrix: Any
    inverse: Any
    method: AbstractMethod

    def solve(self, rows: Array) -> Array:
        """The solutions of A x = b, as rows, for the rows b."""
        choice = Choice(self.method, self.inverse, ("A is factorised",))
        return linear_answer(self.matrix, rows, Solve(self.method, rank_deficiency=0), choice=choice).x


def read(owner: str, A: Any, solve: Solve | None, params: tuple, x_like: Any) -> tuple[LinearOperator, Solve]:
    """What the user gave, as a square operator (of a batch, perhaps), and the request.

    Raises:
        TypeError: If A is nothing to read, or a function of which nobody says what it is applied to.
        StructureError: If it is not square.
    """
    if solve is not None and not isinstance(solve, Solve):
        raise TypeError(f"{owner}: solve must be a js.Solve, such as js.Solve('CG'); got {solve!r}.")
    if isinstance(A, Factorization):
        A, solve = A.A, solve or Solve(A.method)
    solve = solve or Solve()
    refuse_axes(solve, owner)
    if is_function(A):
        A = _read_function(owner, A, solve, params, x_like)
    elif params:
        raise TypeError(
            f"further arguments are passed on to A, so A must be a function; got {type(A).__name__}."
        )
    A = as_operator(A, accepted=ACCEPTED)
    if A.shape[0] != A.shape[1]:
        raise StructureError(f"{owner} needs a square matrix; got shape {(*A.batch_shape, *A.shape)}.")
    return A.astype(inexact(A.dtype)), solve


def _read_function(owner: str, f: Any, solve: Solve, params: tuple, x_like: Any) -> LinearOperator:
    x_like = solve.x0 if x_like is None else x_like
    if x_like is None:
        raise TypeError(
            f"{owner} needs to know what a function is applied to: give x_like=x, an array or a pytree of arrays with "
            "the structure of its argument."
        )
    zeros = jax.tree.map(jnp.zeros_like, as_arrays("x_like", x_like))
    problem = pose(f, zeros, Solve(solve.method, preconditioner=solve.preconditioner), params, {}, True)
    if problem.structures.unknown.split:
        raise TypeError(
            f"{owner}: this function is linear over the real numbers alone (it conjugates, or takes real and complex "
            "leaves), so it has no complex matrix. Write it for the real and the imaginary parts."
        )
    return problem.A


def factored(A: LinearOperator, solve: Solve, iterate: bool) -> Factored | AbstractMethod:
    """A with its factors, or the Krylov method that is asked for or chosen where there are none.

    Args:
        A: One square operator.
        solve: The request.
        iterate: Whether to iterate where the choice is the package's and factors cost more.
    """
    choice = chosen(solve, A)
    factorises = not choice.method.preconditioned or choice.rule is DEFICIENT
    if not factorises and (choice.rule is None or iterate or not _has_entries(A)):
        return choice.method
    matrix: Any = explicit(A)
    if matrix.dense_form is None:
        # A matrix that was read keeps its program beside its values.
        matrix = SparseMatrix(matrix.data, matrix.pattern, matrix.traits)
    method = _telling(choice.method, matrix)
    return Factored(matrix, detached(method.prepare(detached(matrix))), method)


def _has_entries(A: LinearOperator) -> bool:
    return A.dense_form is not None or entries_of(A) is not None


def _telling(method: AbstractMethod, matrix: Any) -> AbstractMethod:
    """The method whose factors tell the determinant: not all do."""
    if isinstance(method, LU | Cholesky):
        return method
    if matrix.dense_form is not None:
        return LU()
    device = isinstance(method, SparseDirect) and method.backend == DEVICE
    return method if device else SparseDirect("superlu")
