"""Jaxsolve: a solver for lineax, and so for what is built on it: optimistix, diffrax."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxsolve.core.optional import require
from jaxsolve.core.status import Status
from jaxsolve.core.tree import Packing, inexact
from jaxsolve.front.request import Solve, is_recipe
from jaxsolve.linear.linear_solve import solve_linear_info
from jaxsolve.operators.conversion import as_operator, is_function
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.lineax_operator import from_lineax, is_lineax, structures_of
from jaxsolve.operators.opaque_operator import sealed
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.tracer.explicit_matrix import with_known_entries

lx = require("lineax", "lineax", "jaxsolve.lineax")

#: What lineax calls an outcome; all else is a breakdown.
_RESULTS = {
    Status.max_iterations: lx.RESULTS.max_steps_reached,
    Status.stagnation: lx.RESULTS.stagnation,
    Status.singular: lx.RESULTS.singular,
    Status.inconsistent: lx.RESULTS.singular,
    Status.invalid_input: lx.RESULTS.nonfinite_input,
}


class State(eqx.Module):
    """An operator as it is solved with.

    Attributes:
        A: The operator on flat vectors, its sign changed where `negative`.
        inverse: A preconditioner of the request that is no recipe, as an operator or a pair of them.
        unknown: The structure of x.
        rhs: The structure of b.
        negative: Whether A was tagged negative semidefinite.
        turned: Whether this is the transpose of what was asked for.
    """

    A: LinearOperator
    inverse: Any
    unknown: Packing = eqx.field(static=True)
    rhs: Packing = eqx.field(static=True)
    negative: bool = eqx.field(static=True)
    turned: bool = eqx.field(static=True)


class Jaxsolve(lx.AbstractLinearSolver):
    """Solves any operator of lineax as a `js.Solve` asks.

    Tags are believed: symmetric, positive or negative semidefinite, triangular, diagonal. Of the options,
    `preconditioner` (a lineax operator) and `y0` are used. `stats` holds `num_steps` and `max_steps`. Derivatives are
    lineax's own; their transposed systems are solved by the `gradient_solve` of the request, if it has one.

    Args:
        solve: The request; `rtol` and `atol` are of the residual, checked as everywhere here. Its `x0` is not used.
        read: Whether an operator that is given by products (a Jacobian, a function) is read into a sparse matrix once,
            where that can be done; "auto" and recipes need that, methods of products alone do not.
        full_rank: Whether lineax may leave out of derivatives what vanishes for matrices of full rank.

    Raises:
        MissingBackendError: At the import, if lineax is not installed.
        StructureError: If the method does not take the operator.

    Cost: that of `js.solve_linear_info`. Preconditioners and factors are made in each solve; those of concrete matrices
        are kept.

    >>> import jaxsolve as js
    >>> A = lx.MatrixLinearOperator(jnp.array([[4.0, 1.0], [1.0, 3.0]]), lx.positive_semidefinite_tag)
    >>> solver = Jaxsolve(js.Solve("CG", rtol=1e-8))
    >>> [round(v, 4) for v in lx.linear_solve(A, jnp.array([1.0, 2.0]), solver).value.tolist()]
    [0.0909, 0.6364]
    """

    solve: Solve = Solve()
    read: bool = eqx.field(static=True, default=True)
    full_rank: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if not isinstance(self.solve, Solve):
            raise TypeError(
                f"Jaxsolve takes a js.Solve, such as js.Solve('CG'); got a {type(self.solve).__name__}."
            )

    def init(self, operator: Any, options: dict[str, Any]) -> State:
        negative = lx.is_negative_semidefinite(operator) and not lx.is_positive_semidefinite(operator)
        unknown, rhs = structures_of(operator)
        A = sealed(from_lineax(-operator if negative else operator))
        A = with_known_entries(A) if self.read else A
        return State(A, _inverse(self.solve.preconditioner, A, unknown, rhs), unknown, rhs, negative, False)

    def compute(self, state: State, vector: Any, options: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        A, dtype = state.A, inexact(state.A.dtype, *(leaf.dtype for leaf in jax.tree.leaves(vector)))
        solve = self.solve
        if state.turned and solve.gradient_solve is not None:
            solve = solve.gradient_solve
        preconditioner, x0 = solve.preconditioner, None
        if solve is self.solve and state.inverse is not None:
            preconditioner = state.inverse
        if options.get("preconditioner") is not None:
            preconditioner = sealed(from_lineax(_checked(options["preconditioner"], A)))
            preconditioner = -preconditioner if state.negative else preconditioner
        if options.get("y0") is not None:
            x0 = state.unknown.pack(options["y0"], dtype)
        solve = eqx.tree_at(
            lambda s: (s.preconditioner, s.x0), solve, (preconditioner, x0), is_leaf=lambda leaf: leaf is None
        )
        b = state.rhs.pack(vector, dtype)
        info = solve_linear_info(A, -b if state.negative else b, solve)
        result = lx.RESULTS.breakdown
        for status, told in _RESULTS.items():
            result = lx.RESULTS.where(jnp.asarray(info.code == int(status)), told, result)
        result = lx.RESULTS.where(jnp.asarray(info.converged), lx.RESULTS.successful, result)
        stats = {"num_steps": info.iterations, "max_steps": solve.max_iterations}
        return state.unknown.unpack(info.x), result, stats

    def transpose(self, state: State, options: dict[str, Any]) -> tuple[State, dict[str, Any]]:
        inverse = state.inverse
        inverse = (
            tuple(p.T for p in reversed(inverse)) if isinstance(inverse, tuple) else inverse and inverse.T
        )
        turned = State(state.A.T, inverse, state.rhs, state.unknown, state.negative, not state.turned)
        # A guess of x says nothing of the transposed system.
        options = {name: value for name, value in options.items() if name != "y0"}
        if options.get("preconditioner") is not None:
            options["preconditioner"] = options["preconditioner"].T
        return turned, options

    def conj(self, state: State, options: dict[str, Any]) -> tuple[State, dict[str, Any]]:
        inverse = state.inverse
        inverse = (
            tuple(p.conj() for p in inverse) if isinstance(inverse, tuple) else inverse and inverse.conj()
        )
        options = dict(options)
        if options.get("preconditioner") is not None:
            options["preconditioner"] = lx.conj(options["preconditioner"])
        if options.get("y0") is not None:
            options["y0"] = jax.tree.map(jnp.conj, options["y0"])
        return State(state.A.conj(), inverse, state.unknown, state.rhs, state.negative, state.turned), options

    def assume_full_rank(self) -> bool:
        return self.full_rank


def _inverse(given: Any, A: LinearOperator, unknown: Packing, rhs: Packing) -> Any:
    """A preconditioner of a request as operators that can be transposed; None for a recipe, which is made of A."""
    if given is None or isinstance(given, str) or is_recipe(given):
        return None
    if isinstance(given, tuple):
        parts = tuple(_inverse(part, A, unknown, rhs) for part in given)
        if None in parts:
            raise TypeError(
                "Jaxsolve takes a pair of preconditioners of operators, matrices or functions, not of recipes."
            )
        return parts
    if is_function(given):
        return function_operator(given, rhs, unknown, A.dtype, (), {})[0]
    return as_operator(given, "preconditioner")


def _checked(preconditioner: Any, A: LinearOperator) -> Any:
    if not is_lineax(preconditioner):
        raise ValueError(
            f"the option preconditioner is a lineax operator; got a {type(preconditioner).__name__}. What jaxsolve "
            "knows goes into the request: Jaxsolve(js.Solve(..., preconditioner=...))."
        )
    size = preconditioner.out_size(), preconditioner.in_size()
    if size != A.shape[::-1]:
        raise ValueError(
            f"the preconditioner of an operator of shape {A.shape} has shape {A.shape[::-1]}; got {size}."
        )
    return preconditioner
