"""A search by SciPy as an outcome: what it asks is evaluated by compiled programs, what it found is judged anew."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.memo import compiled
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.front.request import Solve
from jaxsolve.nonlinear.host.eager import called
from jaxsolve.nonlinear.host.evaluator import Found, Oracle
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.host.scipy import EXHAUSTED, RAISED, SUCCESS
from jaxsolve.nonlinear.host.staged import led
from jaxsolve.nonlinear.model import model_at
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.optimality import FINEST, Optimality
from jaxsolve.nonlinear.parameter_units import slopes, target_of
from jaxsolve.nonlinear.search_loop import settled
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nonlinear_methods import FIT
from jaxsolve.solvers.scipy_minimisers import SCIPY_MINIMIZERS, SciPyMinimize
from jaxsolve.telemetry.trajectory import Trajectory
from jaxsolve.telemetry.watch import Watch


def host_search(
    statement: Statement, solve: Solve, watch: Watch, limits: Limits | None, given: Given, x0: Array
) -> Outcome:
    """The outcome of one of SciPy's methods.

    Args:
        statement: The problem.
        solve: The request.
        watch: What is to be recorded.
        limits: Constraints, None for none.
        given: What the problem depends on.
        x0: First guess.
    """
    real = jnp.finfo(x0.dtype).dtype
    rtol, atol = jnp.asarray(solve.rtol, real), jnp.asarray(solve.atol, real)
    limit = jnp.asarray(solve.max_iterations, jnp.int32)
    trusted = _trusted(solve.method, limits)
    first, target, limit = _begun(statement, trusted, given, x0, rtol, atol, limit)
    numbers = (target, rtol, atol, limit)
    oracle = Oracle(statement, limits)
    search = led if is_traced((given, x0, numbers)) else called
    found = search(oracle, solve.method, watch.history, given, x0, numbers)
    path, found = found.path, found._replace(path=None)
    outcome = _judged(oracle, trusted, given, x0, found, first, target, (rtol, atol))
    if path is None or watch.history is None:
        return outcome
    norms = _norms(statement, given, *path)
    points = None if watch.history.norms_only else path[1]
    return outcome._replace(trajectory=Trajectory(path[0], norms, points))


@functools.partial(compiled, static=1)
def _norms(statement: Statement, given: Given, numbers: Array, points: Array) -> Array:
    """The norms of the condition at iterates, infinite where there are none."""
    used = jnp.sum(numbers >= 0)

    def measured(k: Array, norms: Array) -> Array:
        return norms.at[k].set(norm(statement.condition(given, points[k])))

    return lax.fori_loop(0, used, measured, jnp.full(points.shape[0], jnp.inf, points.dtype))


def _trusted(method: Any, limits: Limits | None) -> bool:
    """Whether SciPy alone knows what is a minimum: with constraints, and where no gradient need exist."""
    return limits is not None or (isinstance(method, SciPyMinimize) and not SCIPY_MINIMIZERS[method.kind][0])


@functools.partial(compiled, static=2)
def _begun(
    statement: Statement, trusted: bool, given: Given, x0: Array, rtol: Array, atol: Array, limit: Array
) -> tuple[Array, Array, Array]:
    """The norm of the condition at x0, that which is asked for, and the iterations that are left to reach it."""
    first = norm(statement.condition(given, x0))
    target = jnp.maximum(rtol * first, atol)
    # Some of SciPy's methods go on for ever from where there is nothing to gain, and some raise where there is NaN.
    hopeless = (first <= target) | ~jnp.isfinite(first)
    if trusted:
        hopeless = ~jnp.isfinite(statement.objective(given, x0))
    return first, target, jnp.where(hopeless, 0, limit)


@functools.partial(compiled, static=2)
def _judged(
    oracle: Oracle,
    trusted: bool,
    given: Given,
    x0: Array,
    found: Found,
    first: Array,
    target: Array,
    tolerances: tuple[Array, Array],
) -> Outcome:
    """What was found as an outcome: the condition at x, and whether it is met, whatever SciPy says."""
    statement, limits = oracle.statement, oracle.limits
    x, code, (rtol, atol) = found.x, found.code, tolerances
    condition, objective = statement.condition(given, x), statement.objective(given, x)
    size, sizes = norm(condition), found.sizes
    if not trusted:
        judged, allowed, sizes = _measured(statement, given, x, x0, found.sizes, rtol)
        target = jnp.maximum(target_of(size, judged, allowed), atol)
    status = jnp.where(code == EXHAUSTED, int(Status.max_iterations), int(Status.stagnation))
    status = jnp.where(jnp.isfinite(objective) & jnp.isfinite(size), status, int(Status.nonfinite))
    status = jnp.where(jnp.isfinite(first), status, int(Status.invalid_input))
    status, reached = settled(statement, given, x, -condition, size, target, status, sizes)
    if trusted:
        start, success = statement.objective(given, x0), code == SUCCESS
        if limits is not None:
            # Where f changes by its rounding alone SciPy finds no smaller number, and calls that a failure.
            fine = jnp.maximum(target, jnp.finfo(x.dtype).eps ** FINEST * first)
            flat = Optimality(statement, limits).size(given, x, x0, rtol) <= fine
            success = (success | flat) & _kept(limits, given, x, rtol)
        status = jnp.where(success, int(Status.converged), int(Status.stagnation))
        status = jnp.where(code == EXHAUSTED, int(Status.max_iterations), status)
        sound = jnp.isfinite(objective) & jnp.all(jnp.isfinite(x))
        status = jnp.where(sound, status, int(Status.nonfinite))
        status = jnp.where(jnp.isfinite(start), status, int(Status.invalid_input))
        reached = jnp.where(success, jnp.maximum(target, size), target)
    status = jnp.where(code == RAISED, int(Status.host_failure), status).astype(jnp.int32)
    counts = (found.iterations, found.evaluations)
    return Outcome(x, -condition, size, reached, *counts, status, None, objective)


def _measured(
    statement: Statement, given: Given, x: Array, x0: Array, sizes: Array, rtol: Array
) -> tuple[Array, Array, Array]:
    """What is judged at x, what is allowed, and the sizes of the unknowns."""
    if statement.goal == FIT:
        model = model_at(statement, given, x, None, entries=True)
        gain = model.gain
        if statement.bounded:
            gain = jnp.max(jnp.abs(slopes(statement, given, x, model.gradient, model.sizes)))
        first = norm(statement.value(given, x0))
        return gain, model.allowed(first, rtol), model.sizes
    now, before = (
        jnp.max(jnp.abs(slopes(statement, given, z, statement.gradient(given, z)[1], sizes))) for z in (x, x0)
    )
    return now, rtol * before, sizes


def _kept(limits: Limits, given: Given, x: Array, rtol: Array) -> Array:
    """Whether x keeps to the constraints, up to ten tolerances of the size of their limits."""
    value = limits.value(given.constants, x)
    lower, upper = (jnp.asarray(side, value.dtype) for side in (limits.lower, limits.upper))
    size = 1 + jnp.maximum(
        jnp.where(jnp.isfinite(lower), jnp.abs(lower), 0), jnp.where(jnp.isfinite(upper), upper, 0)
    )
    return jnp.all(jnp.maximum(lower - value, value - upper) <= 10 * rtol * jnp.abs(size))
