"""One way for all nonlinear problems: from the request to a search that is ready to run."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax import Array

from jaxsolve.core.checks import classes_kept
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import SolveInfo
from jaxsolve.core.staging import is_traced
from jaxsolve.front.answer import Posed, answered, frozen
from jaxsolve.front.reporting import Judge
from jaxsolve.front.request import Solve, method_name
from jaxsolve.front.structures import Structures
from jaxsolve.linear.placement import placed
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.inner import gradient_request
from jaxsolve.nonlinear.method_choice import chosen
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.parameter_covariance import Fit
from jaxsolve.nonlinear.robust_fit import robust
from jaxsolve.nonlinear.search_start import search
from jaxsolve.nonlinear.solution_gradient import Task, implicit_search
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nonlinear_methods import FIXED_POINT, ROOT
from jaxsolve.telemetry.watch import Watch

_devices = functools.cache(jax.device_count)

#: A problem as arrays: its statement, what it depends on, the flat first guess, and constraints.
Stated = tuple[Statement, Given, Array, Limits | None]


def nonlinear_answer(
    state: Callable[..., Callable[[], Stated]],
    f: Any,
    y: Any,
    solve: Solve,
    args: tuple,
    kwargs: dict,
    throw: bool,
) -> SolveInfo:
    """How the solve of a problem went, with x on the devices of x0, or of y.

    Args:
        state: States the problem of the following arguments.
        f: The function.
        y: The right-hand side of equations, None otherwise.
        solve: The request.
        args: Further arguments of f.
        kwargs: The same by name.
        throw: Whether failures raise.
    """
    answer = functools.partial(_answer, state, throw)
    if _devices() == 1:
        return answer(f, y, solve, args, kwargs)
    return placed(answer, f, solve.x0 if y is None else y, solve, args, kwargs, solve.x0)


@in_full
def _answer(
    state: Callable[..., Callable[[], Stated]],
    throw: bool,
    f: Any,
    y: Any,
    solve: Solve,
    args: tuple,
    kwargs: dict,
) -> SolveInfo:
    return answered(lambda: Search(*state(f, y, solve, args, kwargs)(), solve), solve, throw)


class Search(Posed):
    """The search for a solution.

    Args:
        statement: The problem.
        given: What it depends on.
        x0: The flat first guess.
        limits: Constraints that SciPy takes, None for none.
        asked: The request.
    """

    def __init__(self, statement: Statement, given: Given, x0: Array, limits: Limits | None, asked: Solve):
        solve = chosen(asked, statement, limits is not None)
        statement, given, solve = robust(statement, given, solve)
        linear, name = gradient_request(solve), method_name(solve.method)
        gradient = "the linear solve" if linear is None else method_name(linear.method)
        # The residual of what is minimised is its gradient, in the structure of x or of its steps.
        image = statement.image if statement.goal in (ROOT, FIXED_POINT) else statement.steps
        self.methods = (name, f"{name} ({gradient})")
        self.structures = Structures(statement.unknown, image, statement.dtype)
        self.statement, self.given, self.x0, self.limits = statement, given, x0, limits
        self.fit = Fit.of(statement, given)
        # Where the search starts from is an argument of its own.
        self.solve = eqx.tree_at(lambda s: s.x0, solve, None, is_leaf=lambda leaf: leaf is None)

    def at_once(self, watch: Watch) -> Outcome | None:
        if is_traced((self.given, self.x0, frozen(self.solve)[1])):
            return None
        # Solves inside of the function may fail.
        with classes_kept():
            outcome = search(self.statement, self.solve, watch, self.limits, self.given, self.x0)
            return jax.block_until_ready(outcome)

    def by_rule(self, judge: Judge | None, watch: Watch) -> Outcome:
        request, numbers = frozen(self.solve)
        task = Task(self.statement, request, judge, watch, self.limits)
        return implicit_search(task, self.given, numbers, self.x0)
