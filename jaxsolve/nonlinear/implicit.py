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
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.results import Frozen
from jaxsolve.linear.forward import guarded
from jaxsolve.linear.implicit import zero_tangent
from jaxsolve.linear.verdict import Judge
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.inner import gradient_request
from jaxsolve.nonlinear.linearisation import Linearisation
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
    moved = _pushed(statement, "condition", given, tangents[0], x)
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
    frozen = Frozen(linear)
    inverse = _linearisation(statement, frozen, given, frozen.split(linear), x)
    zeros = zeros._replace(x=inverse.solved(-moved.astype(x.dtype), task.judge))
    if statement.goal in (FIT, MINIMUM):
        # By the envelope theorem the way of x does not show in the minimum.
        along = _pushed(statement, "objective", given, tangents[0], x)
        zeros = zeros._replace(objective=jnp.zeros_like(outcome.objective) if along is None else along)
    return outcome, zeros


# Compiled, so that an eager gradient is a few programs and not one for each operation.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _linearisation(
    statement: Statement, linear: Frozen, given: Given, settings: list[Any], x: Array
) -> Linearisation:
    return Linearisation.at(lambda z: statement.condition(given, z), x, linear.join(settings))


def _pushed(statement: Statement, what: str, given: Given, tangent: Any, x: Array) -> Array | None:
    """The derivative of a method of the statement along the tangent of what is given, None where nothing moves."""
    leaves, treedef = jax.tree.flatten(given)
    tangents = jax.tree.leaves(tangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    moved = tuple(k for k, t in enumerate(tangents) if not isinstance(t, SymbolicZero))
    if not moved:
        return None
    return _along(statement, what, treedef, moved, leaves, tuple(tangents[k] for k in moved), x)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _along(
    statement: Statement,
    what: str,
    treedef: Any,
    moved: tuple[int, ...],
    leaves: list[Array],
    tangents: tuple[Array, ...],
    x: Array,
) -> Array:
    def of_moved(*values: Array) -> Array:
        full = list(leaves)
        for k, value in zip(moved, values, strict=True):
            full[k] = value
        return getattr(statement, what)(jax.tree.unflatten(treedef, full), x)

    return jax.jvp(of_moved, tuple(leaves[k] for k in moved), tangents)[1]
