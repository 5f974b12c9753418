"""One way for all nonlinear problems: from the request through the search to the result."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax import Array

from jaxsolve.core.checks import classes_kept
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import Frozen, SolveInfo, failure_of
from jaxsolve.core.staging import is_traced
from jaxsolve.linear.linear_solve import solve_info
from jaxsolve.linear.observation import watch_for
from jaxsolve.linear.problem import Problem
from jaxsolve.linear.reporting import Judge
from jaxsolve.linear.request import Solve, method_name
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.inner import gradient_request
from jaxsolve.nonlinear.method_choice import chosen
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.search_start import search
from jaxsolve.nonlinear.solution_gradient import Task, implicit_search
from jaxsolve.operators.algebra import Identity
from jaxsolve.telemetry.listeners import Ear, ear

#: A problem as arrays: its statement, what it depends on, the flat first guess, and constraints.
Posed = tuple[Statement, Given, Array, Limits | None]


@in_full
def answered(pose: Callable[[], Posed], solve: Solve, throw: bool) -> SolveInfo:
    """How the solve of a problem went.

    Args:
        pose: States the problem.
        solve: The request.
        throw: Whether failures raise.
    """
    listener = ear()
    if listener is None:
        return _answered(pose, solve, throw, None)
    with listener.quiet():
        return _answered(pose, solve, throw, listener)


def _answered(
    pose: Callable[[], Posed],
    asked: Solve,
    throw: bool,
    listener: Ear | None,
) -> SolveInfo:
    started = time.perf_counter()
    statement, given, x0, limits = pose()
    solve = chosen(asked, statement, limits is not None)
    request = Frozen(asked)
    settings = request.split(asked)
    # Where the search starts from is an argument of its own.
    inner = eqx.tree_at(lambda s: s.x0, solve, None, is_leaf=lambda leaf: leaf is None)
    size, dtype = statement.unknown.size, statement.dtype
    system = Problem(Identity(size, dtype), x0, x0, statement.unknown, statement.unknown, (), False)
    watch = watch_for(solve, system, solve.method, listener)
    frozen = Frozen(inner)
    numbers = frozen.split(inner)
    judged = False
    outcome = None
    if not is_traced((given, x0, numbers)):
        # Solves inside of the function may fail.
        with classes_kept():
            outcome = jax.block_until_ready(search(statement, inner, watch, limits, given, x0))
    if outcome is None or is_traced(outcome.status):
        judge = _judge(asked, solve, request, settings, statement, listener, throw)
        judged = judge is not None
        task = Task(statement, frozen, judge, watch, limits)
        outcome = implicit_search(task, given, numbers, x0)
    compiled = is_traced(outcome.status)
    if not compiled:
        np.asarray(outcome.status)
    seconds = np.nan if compiled else time.perf_counter() - started
    if outcome.objective is None:
        system = dataclasses.replace(system, rhs=statement.image)
    info = solve_info(outcome, settings, request, method_name(solve.method), system, seconds)
    if listener is not None:
        listener.hear_traced(info)
        # What was judged has been told by its program.
        if not judged:
            listener.hear(info)
    failure = failure_of(info, asked.suppress) if throw and not compiled else None
    if failure is not None:
        raise failure
    return info


def _judge(
    asked: Solve,
    solve: Solve,
    request: Frozen,
    settings: list[Any],
    statement: Statement,
    listener: Ear | None,
    throw: bool,
) -> Judge | None:
    if not throw and (listener is None or not listener.compiled):
        return None
    linear = gradient_request(solve)
    gradient = "the linear solve" if linear is None else method_name(linear.method)
    names = (method_name(solve.method), f"{method_name(solve.method)} ({gradient})")
    structures = (statement.unknown, statement.unknown, ())
    return Judge.judging(asked.suppress, request, settings, names, structures, listener, throw)
