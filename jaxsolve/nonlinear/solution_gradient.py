"""Implicit gradients: from C(p, x(p)) = 0 follows C_x dx = -C_p dp, one linear solve whatever the search did.

C is the residual of equations, or the gradient of what is minimised; under constraints x comes with its multipliers.
The rule holds for the solution, so it needs nothing of the search; the search is not differentiated, and may run on the
host.

Derivatives of every order are those of this rule at the last iterate, whether the search converged or not: as exact as
x, and a tighter tolerance makes both more so. (A step of Newton in the rule would square their error, for
one more linear solve in each gradient; and they would belong to another x than the one returned.)
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.checks import checked
from jaxsolve.core.implicit import Rule, implicit
from jaxsolve.core.memo import compiled
from jaxsolve.core.results import Frozen, is_any_of
from jaxsolve.core.status import CONVERGED
from jaxsolve.core.tangent import along, directions
from jaxsolve.core.vector import dot, norm
from jaxsolve.front.reporting import Judge, guarded
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.inner import gradient_request
from jaxsolve.nonlinear.linearisation import Linearisation
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.optimality import STRAY, Held, Optimality
from jaxsolve.nonlinear.search_start import search
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nonlinear_methods import FIT, MINIMUM
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


def implicit_search(task: Task, given: Given, settings: list[Any], x0: Array) -> Outcome:
    """The outcome of a search, differentiable in what is given by the implicit function theorem."""
    return implicit(Found(task), given, settings, x0)


@dataclasses.dataclass(frozen=True)
class Found(Rule):
    """What a search finds, as a function of (given, settings, x0)."""

    task: Task

    def value(self, given: Given, settings: list[Any], x0: Array) -> Outcome:
        task = self.task
        solve = task.request.join(settings)
        outcome = search(task.statement, solve, task.watch, task.limits, given, x0)
        return guarded(task.judge, "solve", outcome)

    def tangent(self, args: tuple, tangents: tuple) -> tuple[Outcome, Outcome]:
        return _tangent(self.task, args, tangents)


def _tangent(task: Task, primals: tuple, tangents: tuple) -> tuple[Outcome, Outcome]:
    given, settings, x0 = primals
    outcome = implicit_search(task, given, settings, x0)
    x, statement = outcome.x, task.statement
    zeros = jax.tree.map(lambda _: None, outcome)
    solve = task.request.join(lax.stop_gradient(settings))
    posed, z, clear, length = statement, x, None, None
    held: tuple[Any, ...] = ()
    if task.limits is not None:
        posed = Optimality(statement, task.limits)
        z, held, clear, length = _with_multipliers(posed, given, x, x0, jnp.asarray(solve.rtol))
    if statement.chart is not None:
        posed, z, held = Chart(statement), jnp.zeros(statement.steps.size, x.dtype), (x,)
    moved = _pushed(posed, "condition", given, tangents[0], z, held)
    if moved is None:
        return outcome, zeros
    linear = gradient_request(solve)
    frozen = Frozen(linear)
    inverse = _linearisation(posed, frozen, given, frozen.split(linear), z, held)
    dx = inverse.solved(-moved.astype(x.dtype), task.judge)[: x.shape[0]]
    if clear is not None and length is not None:
        left = inverse.solved(-posed.condition(given, z, *held), None)[: x.shape[0]]
        dx = dx * _assured(task, lax.stop_gradient(clear & (norm(left) <= STRAY * length)), x)
    # What was judged is zero only where the search ended there, and under constraints not even then.
    if task.limits is None:
        slope = moved.astype(x.dtype) + inverse.A.mv(dx)
        dx = _ended(statement, given, x, dx)
    else:
        slope = _pushed(statement, "condition", given, tangents[0], x)
        slope = _along_x(statement, given, x, dx) + (0 if slope is None else slope)
    gap, size = outcome.residual, outcome.residual_norm
    along = -dot(gap / jnp.where(size > 0, size, 1), slope).real.astype(size.dtype)
    zeros = zeros._replace(x=dx, residual=-slope, residual_norm=along)
    if statement.goal in (FIT, MINIMUM):
        direct = _pushed(statement, "objective", given, tangents[0], x)
        direct = jnp.zeros_like(outcome.objective) if direct is None else direct
        # By the envelope theorem the way of x does not show in the minimum, unless what holds x moves; so that the
        # least of ‖r‖² has a derivative where that of x has none.
        envelope = not statement.bounded and task.limits is None
        still = lax.stop_gradient(is_any_of(outcome.status, CONVERGED)) & envelope
        through = lax.cond(
            still, lambda dx: jnp.zeros((), dx.dtype), lambda dx: dot(statement.gradient(given, x)[1], dx), dx
        )
        zeros = zeros._replace(objective=direct + through)
    return outcome, zeros


@dataclasses.dataclass(frozen=True)
class Chart:
    """The condition on a manifold, as equations for the step z from a point x of it, which is 0."""

    statement: Statement

    def condition(self, given: Given, z: Array, x: Array) -> Array:
        """The gradient over steps, at z."""
        posed, there, _ = self.statement.near(given, x)
        return posed.gradient(there, z)[1]


@functools.partial(compiled, static=1)
def _ended(statement: Statement, given: Given, x: Array, step: Array) -> Array:
    return statement.along(given, x, step)


@functools.partial(compiled, static=1)
def _along_x(statement: Statement, given: Given, x: Array, dx: Array) -> Array:
    return jax.jvp(lambda x: statement.condition(given, x), (x,), (dx,))[1]


def _assured(task: Task, clear: Array, x: Array) -> Array:
    """1 where it is clear what holds a minimum; otherwise its derivative raises, or is NaN where nothing is to."""
    one = jnp.ones((), x.dtype)
    if task.judge is None or not task.judge.throw:
        return jnp.where(clear, one, jnp.nan)
    return checked(one, ~clear, (), _unclear)


def _unclear() -> Exception:
    return ValueError(
        "no gradient of this minimum: a constraint or a bound at x does not press (its multiplier is zero as far as x "
        "is known), so that the minimum has a kink there, or x is too far from the minimum to tell. Lower rtol, or "
        "leave out constraints that do not matter."
    )


@functools.partial(compiled, static=1)
def _with_multipliers(
    posed: Optimality, given: Given, x: Array, x0: Array, rtol: Array
) -> tuple[Array, tuple[Held], Array, Array]:
    """(x, λ), what holds x, whether that is clear, and the length below which x is not known."""
    held, clear, length = posed.held(*lax.stop_gradient((given, x, x0, rtol)))
    return jnp.concatenate([x, posed.multipliers(given, x, held)]), (held,), clear, length


# Compiled, so that an eager gradient is a few programs and not one for each operation.
@functools.partial(compiled, static=2)
def _linearisation(
    posed: Statement | Optimality | Chart,
    linear: Frozen,
    given: Given,
    settings: list[Any],
    z: Array,
    held: tuple[Any, ...],
) -> Linearisation:
    return Linearisation.at(lambda z: posed.condition(given, z, *held), z, linear.join(settings))


def _pushed(
    posed: Statement | Optimality | Chart,
    what: str,
    given: Given,
    tangent: Any,
    z: Array,
    held: tuple[Any, ...] = (),
) -> Array | None:
    """The derivative of a method of the problem along the tangent of what is given, None where nothing moves."""
    moved, tangents = directions(tangent)
    return _along(posed, what, moved, given, tangents, z, held) if moved else None


@functools.partial(compiled, static=3)
def _along(
    posed: Statement | Optimality | Chart,
    what: str,
    moved: tuple[int, ...],
    given: Given,
    tangents: tuple[Array, ...],
    z: Array,
    held: tuple[Any, ...],
) -> Array:
    return along(given, moved, tangents, lambda given: getattr(posed, what)(given, z, *held))
