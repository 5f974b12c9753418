"""Which search runs a method, and how it is started: compiled on the device, or by SciPy on the host."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.memo import compiled
from jaxsolve.core.results import Frozen
from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.front.request import Solve
from jaxsolve.nonlinear.block_elimination import BlockElimination
from jaxsolve.nonlinear.descent import DescentSearch, TrustSearch
from jaxsolve.nonlinear.fitting import DampedNewtonSearch, GaussNewtonSearch, LevenbergMarquardtSearch
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.host.search import host_search
from jaxsolve.nonlinear.inner import inner_request
from jaxsolve.nonlinear.mixing import AndersonSearch, BroydenSearch, PicardSearch
from jaxsolve.nonlinear.newton import NewtonSearch, TransientSearch
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.own_search import OwnSearch
from jaxsolve.nonlinear.search_loop import AbstractSearch, iterate
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.nonlinear_methods import (
    FIT,
    LBFGS,
    Anderson,
    Broyden,
    GaussNewton,
    GradientDescent,
    LevenbergMarquardt,
    Newton,
    NewtonCG,
    Picard,
    PseudoTransient,
)
from jaxsolve.solvers.scipy_minimisers import SciPyLeastSquares, SciPyMinimize
from jaxsolve.telemetry.watch import Watch


def search(
    statement: Statement, solve: Solve, watch: Watch, limits: Limits | None, given: Given, x0: Array
) -> Outcome:
    """The outcome of the method asked for.

    Args:
        statement: The problem.
        solve: The request; its numbers may be traced.
        watch: What observes the loop.
        limits: Constraints that SciPy takes, None for none.
        given: What the problem depends on.
        x0: First guess, shape (n,).
    """
    if isinstance(solve.method, SciPyMinimize | SciPyLeastSquares):
        outcome = host_search(statement, solve, watch, limits, given, x0)
    else:
        request = Frozen(solve)
        outcome = _searched(statement, request, watch, given, request.split(solve), x0)
    # Whoever does not look at the status must not find a plausible number.
    invalid = outcome.status == int(Status.invalid_input)
    return outcome._replace(x=jnp.where(invalid, jnp.nan, outcome.x))


@functools.partial(compiled, static=3)
def _searched(
    statement: Statement, request: Frozen, watch: Watch, given: Given, settings: list[Any], x0: Array
) -> Outcome:
    solve = request.join(settings)
    real = jnp.finfo(x0.dtype).dtype
    control = Control(
        jnp.asarray(solve.rtol, real),
        jnp.asarray(solve.atol, real),
        jnp.asarray(solve.max_iterations, jnp.int32),
    )
    # The right-hand side of equations: what y - f(x) leaves is small beside y, or beside y - f(x0).
    scale = jnp.zeros((), real) if given.rhs is None else norm(given.rhs.astype(x0.dtype))
    return iterate(_search(statement, given, solve), x0, scale, control, watch)


def _search(statement: Statement, given: Given, solve: Solve) -> AbstractSearch:
    method, linear = solve.method, inner_request(solve)
    match method:
        case Newton():
            return NewtonSearch(statement, given, linear)
        case PseudoTransient():
            return TransientSearch(statement, given, linear, method.step)
        case Broyden():
            return BroydenSearch(statement, given, method.memory)
        case Anderson():
            return AndersonSearch(statement, given, method.memory, method.damping)
        case Picard():
            return PicardSearch(statement, given, method.damping)
        case GradientDescent():
            return DescentSearch(statement, given, 1, plain=True)
        case LBFGS():
            return DescentSearch(statement, given, method.memory, plain=False)
        case NewtonCG():
            return TrustSearch(statement, given, method.steps)
        case GaussNewton():
            return GaussNewtonSearch(statement, given, linear)
        case LevenbergMarquardt() if statement.goal != FIT:
            return DampedNewtonSearch(statement, given, linear, method.damping)
        case LevenbergMarquardt():
            inner = linear
            if method.eliminate is not None:
                inner = BlockElimination.of(method.eliminate, statement.steps)
            return LevenbergMarquardtSearch(statement, given, inner, method.damping)
    return OwnSearch(statement, given, linear, method)
