"""Implicit gradients: from C(p, x(p)) = 0 follows C_x dx = -C_p dp, one linear solve whatever the search did.

C is the residual of equations, or the gradient of what is minimised. The rule holds for the solution, so it needs
nothing of the search; the search is not differentiated, and may run on the host.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.results import Frozen
from jaxsolve.linear.forward import guarded
from jaxsolve.linear.implicit import zero_tangent
from jaxsolve.linear.push import pushed
from jaxsolve.linear.verdict import Judge
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.inner import gradient_request
from jaxsolve.nonlinear.linearisation import differentiable, linearised
from jaxsolve.nonlinear.search import search
from jaxsolve.nonlinear.statement import Given, Statement
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nonlinear import FIT, MINIMUM
from jaxsolve.telemetry.watch import Watch


@dataclasses.dataclass(frozen=True)
class Task:
    """What is decided before tracing. Static under jit.

    Attributes:
        statement: The problem.
        request: The request without its numbers.
        judge: Where outcomes go, None where nothing is raised and nobody listens.
        watch: What observes the loop.
        limits: Constraints that SciPy takes, None for none.
    """

    statement: Statement
    request: Frozen
    judge: Judge | None
    watch: Watch
    limits: Limits | None = None


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def implicit_search(task: Task, given: Given, settings: list[Any], x0: Array) -> Outcome:
    """The outcome of a search, differentiable in what is given by the implicit function theorem."""
    solve = task.request.join(settings)
    outcome = search(task.statement, solve, task.watch, task.limits, given, x0)
    # The verdict only reads the judge of its plan.
    return guarded(task, "solve", outcome)  # pyright: ignore[reportArgumentType]


@functools.partial(implicit_search.defjvp, symbolic_zeros=True)
def _tangent(task: Task, primals: tuple, tangents: tuple) -> tuple[Outcome, Outcome]:
    given, settings, x0 = primals
    outcome = implicit_search(task, given, settings, x0)
    x, statement = outcome.x, task.statement
    zeros = jax.tree.map(zero_tangent, outcome)
    moved = pushed(given, tangents[0], lambda given: statement.condition(given, x))
    if moved is None:
        return outcome, zeros
    if task.limits is not None:
        raise NotImplementedError(
            "gradients of a constrained minimum are not there: they need the multipliers, which SciPy does not give. "
            "Bounds are differentiated; write equality constraints as penalties, or solve the optimality conditions "
            "with js.solve_nonlinear."
        )
    solve = task.request.join(lax.stop_gradient(settings))
    linear = gradient_request(solve)
    A, request = linearised(lambda z: statement.condition(given, z), x, linear)
    dx = differentiable(A, request, -moved.astype(x.dtype), task.judge)
    zeros = zeros._replace(x=dx)
    if statement.goal in (FIT, MINIMUM):
        # By the envelope theorem the way of x does not show in the minimum.
        along = pushed(given, tangents[0], lambda given: statement.objective(given, x))
        zeros = zeros._replace(objective=jnp.zeros_like(outcome.objective) if along is None else along)
    return outcome, zeros
