"""How a problem runs: at once, traced, or as a batch of matrices."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.memo import compiled
from jaxsolve.core.staging import is_traced
from jaxsolve.linear.auto import Choice
from jaxsolve.linear.deferred_preconditioner import frozen_recipe
from jaxsolve.linear.forward import Plan, System, launch, run
from jaxsolve.linear.gradient import implicit_solve
from jaxsolve.linear.preparation import chosen, limits, prepared
from jaxsolve.linear.problem import Problem
from jaxsolve.linear.reporting import Judge
from jaxsolve.linear.request import Solve
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.watch import Watch


def execute(
    problem: Problem,
    solve: Solve,
    choice: Choice,
    nulls: NullSpace,
    judge: Callable[[], Judge | None],
    settings: Any,
    watch: Watch,
) -> Outcome:
    """The outcome for one matrix, with one right-hand side or a batch of them.

    Concrete systems go straight to the compiled driver. What is traced goes through the implicit solve, which
    differentiates and raises; under jit even constants yield tracers, which shows in the first outcome.
    """
    control, method = limits(solve, problem), choice.method
    eager = not is_traced((problem.A, problem.b, problem.x0, nulls, settings))
    # A dense matrix is factorised by the program that solves with it: one call less.
    together = eager and isinstance(method, AbstractDense) and problem.A.dense_form is not None
    inverse = None if together else prepared(method, choice.preconditioner, problem, nulls, eager)
    # Called on the class: Equinox makes a module of every bound method, which costs 20 µs.
    kind: Any = type(problem.A)
    A: LinearOperator = kind.layout(problem.A)
    guess = None if problem.x0 is None else 0
    if eager:
        parts = (A, inverse, problem.b, problem.x0, control, nulls)
        lanes = (None, None, 0, guess, 0, None)
        outcome = launch(method, parts, watch, lanes if problem.batch else None)
        if not is_traced(outcome.status):
            return outcome
    if together:
        inverse = prepared(method, None, problem, nulls, eager)
    gradient_method, other, limited = _gradient(solve, method, inverse, control, problem, nulls)
    plan = Plan(method, gradient_method, judge(), watch)
    system = System(A, inverse, problem.x0, control, nulls, (other, limited))
    if not problem.batch:
        return implicit_solve(plan, system, problem.b)
    axes: Any = System(*(None, None, guess, 0, None, (None, 0)))  # pyright: ignore[reportArgumentType]  # axes
    return jax.vmap(functools.partial(implicit_solve, plan), in_axes=(axes, 0))(system, problem.b)


def execute_stack(
    problem: Problem,
    solve: Solve,
    choice: Choice,
    nulls: NullSpace,
    judge: Callable[[], Judge | None],
    settings: Any,
    watch: Watch,
) -> Outcome:
    """The outcomes for a batch of matrices, each with its right-hand side, preconditioner and tolerance."""
    control = limits(solve, problem)
    parts = (problem.A, problem.b, problem.x0, control)
    if not is_traced((parts, nulls, settings)):
        recipe = frozen_recipe(choice.preconditioner)
        key = (choice.method, recipe, problem.unknown, problem.rhs, watch)
        outcome = _run_stack(key, recipe.split(choice.preconditioner), *parts, nulls)
        if not is_traced(outcome.status):
            return outcome

    def lane(A, b, x0, control):
        one = dataclasses.replace(problem, A=A, b=b, x0=x0, batch=(), matrices=False)
        limited = eqx.tree_at(lambda s: (s.rtol, s.atol, s.max_iterations), solve, tuple(control[:3]))
        return execute(one, limited, choice, nulls, judge, settings, watch)

    return jax.vmap(lane, in_axes=(0, 0, None if problem.x0 is None else 0, 0))(*parts)


@functools.partial(compiled, static=1)
def _run_stack(
    key: tuple, settings: list[Any], A: LinearOperator, b: Array, x0: Any, control: Control, nulls: NullSpace
) -> Outcome:
    method, recipe, unknown, rhs, watch = key

    def lane(A, b, x0, control):
        one = Problem(A, b, x0, unknown, rhs, (), False)
        inverse = prepared(method, recipe.join(settings), one, nulls, eager=False)
        return run(method, A.layout(), inverse, b, x0, control, nulls, watch=watch)

    return jax.vmap(lane, in_axes=(0, 0, None if x0 is None else 0, 0))(A, b, x0, control)


def _gradient(
    solve: Solve, method: AbstractMethod, inverse: Any, control: Control, problem: Problem, nulls: NullSpace
) -> tuple[AbstractMethod, Any, Control]:
    """Method, inverse and control for tangent and adjoint systems."""
    other = solve.gradient_solve
    if other is None:
        # The user's atol is in the units of b, which those systems do not have.
        return method, inverse, Control(control.rtol, jnp.zeros_like(control.atol), control.max_iterations)
    choice = chosen(other, problem.A)
    own = prepared(choice.method, choice.preconditioner, problem, nulls, eager=False)
    return choice.method, own, limits(eqx.tree_at(lambda s: s.atol, other, 0.0), problem)
