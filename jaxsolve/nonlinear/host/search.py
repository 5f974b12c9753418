"""A search by SciPy as an outcome: what it asks is evaluated by compiled programs, what it found is judged anew."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.host import host_call
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.linear.request import Solve
from jaxsolve.nonlinear.driver import settled
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.host.scipy import (
    DONE,
    EXHAUSTED,
    LIMITS,
    PRODUCT,
    RAISED,
    SUCCESS,
    VALUE,
    WAIT,
    Job,
    run,
)
from jaxsolve.nonlinear.host.session import Open, Recall, Step, recalled
from jaxsolve.nonlinear.optimality import FINEST, Optimality
from jaxsolve.nonlinear.statement import Given, Statement
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nonlinear import FIT, SCIPY_MINIMIZERS, SciPyMinimize
from jaxsolve.telemetry.history import History, Trajectory
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
    numbers = (target, rtol, limit)
    traced = is_traced((given, x0, numbers))
    run_by = _led if traced else _called
    x, iterations, evaluations, code, path = run_by(
        statement, solve.method, limits, given, x0, numbers, watch.history
    )
    outcome = _judged(
        statement, trusted, limits, given, x0, x, iterations, evaluations, code, first, target, rtol
    )
    if path is None or watch.history is None:
        return outcome
    norms = _norms(statement, given, *path)
    points = None if watch.history.norms_only else path[1]
    return outcome._replace(trajectory=Trajectory(path[0], norms, points))


#: Numbers of iterations of shape (k,), -1 where there are none, and iterates of shape (k, n).
Path = tuple[Array, Array]


@functools.partial(jax.jit, static_argnums=0)
def _norms(statement: Statement, given: Given, numbers: Array, points: Array) -> Array:
    """The norms of the condition at iterates, NaN where there are none."""
    used = jnp.sum(numbers >= 0)

    def measured(k: Array, norms: Array) -> Array:
        return norms.at[k].set(norm(statement.condition(given, points[k])))

    return lax.fori_loop(0, used, measured, jnp.full(points.shape[0], jnp.nan, points.dtype))


def _trusted(method: Any, limits: Limits | None) -> bool:
    """Whether SciPy alone knows what is a minimum: with constraints, and where no gradient need exist."""
    return limits is not None or (isinstance(method, SciPyMinimize) and not SCIPY_MINIMIZERS[method.kind][0])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begun(
    statement: Statement, trusted: bool, given: Given, x0: Array, rtol: Array, atol: Array, limit: Array
) -> tuple[Array, Array, Array]:
    """The norm of the condition at x0, that which is asked for, and the iterations that are left to reach it."""
    first = norm(statement.condition(given, x0))
    target = jnp.maximum(rtol * first, atol)
    # Some of SciPy's methods go on for ever from where there is nothing to gain, and some raise where there is NaN.
    hopeless = (first <= target) | ~jnp.isfinite(first)
    return first, target, limit if trusted else jnp.where(hopeless, 0, limit)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _judged(
    statement: Statement,
    trusted: bool,
    limits: Limits | None,
    given: Given,
    x0: Array,
    x: Array,
    iterations: Array,
    evaluations: Array,
    code: Array,
    first: Array,
    target: Array,
    rtol: Array,
) -> Outcome:
    condition, objective = statement.condition(given, x), statement.objective(given, x)
    size = norm(condition)
    status = jnp.where(code == EXHAUSTED, int(Status.max_iterations), int(Status.stagnation))
    status = jnp.where(jnp.isfinite(objective) & jnp.isfinite(size), status, int(Status.nonfinite))
    status = jnp.where(jnp.isfinite(first), status, int(Status.invalid_input))
    status, reached = settled(statement, given, x, -condition, size, target, status)
    if trusted:
        success = code == SUCCESS
        if limits is not None:
            # Where f changes by its rounding alone SciPy finds no smaller number, and calls that a failure.
            fine = jnp.maximum(target, jnp.finfo(x.dtype).eps ** FINEST * first)
            flat = Optimality(statement, limits).size(given, x, x0, rtol) <= fine
            success = (success | flat) & _kept(limits, given, x, rtol)
        status = jnp.where(success, int(Status.converged), int(Status.stagnation))
        status = jnp.where(code == EXHAUSTED, int(Status.max_iterations), status)
        status = jnp.where(jnp.isfinite(objective), status, int(Status.nonfinite))
        reached = jnp.where(success, jnp.maximum(target, size), target)
    status = jnp.where(code == RAISED, int(Status.host_failure), status).astype(jnp.int32)
    return Outcome(x, -condition, size, reached, iterations, evaluations, status, None, objective)


def _kept(limits: Limits, given: Given, x: Array, rtol: Array) -> Array:
    """Whether x keeps to the constraints, up to ten tolerances of the size of their limits."""
    value = limits.value(given.constants, x)
    lower, upper = (jnp.asarray(side, value.dtype) for side in (limits.lower, limits.upper))
    size = 1 + jnp.maximum(
        jnp.where(jnp.isfinite(lower), jnp.abs(lower), 0), jnp.where(jnp.isfinite(upper), upper, 0)
    )
    return jnp.all(jnp.maximum(lower - value, value - upper) <= 10 * rtol * jnp.abs(size))


def answer(
    statement: Statement, limits: Limits | None, kind: int, given: Given, x: Array, v: Array
) -> tuple[Array, ...]:
    """The answer to a question of SciPy's."""
    if kind == VALUE and statement.goal == FIT:
        residual, J = jax.linearize(lambda x: statement.value(given, x), x)
        return residual, jax.vmap(J, out_axes=1)(jnp.eye(x.shape[0], dtype=x.dtype))
    if kind == VALUE:
        return statement.gradient(given, x)
    if kind == PRODUCT:
        return (jax.jvp(lambda x: statement.gradient(given, x)[1], (x,), (v,))[1],)
    assert limits is not None

    def constraint(x: Array) -> Array:
        return limits.value(given.constants, x)

    return constraint(x), jax.jacobian(constraint)(x)


_answer = functools.partial(jax.jit, static_argnums=(0, 1, 2))(answer)


def _called(
    statement: Statement,
    method: Any,
    limits: Limits | None,
    given: Given,
    x0: Array,
    numbers: tuple,
    history: History | None,
) -> tuple[Array, Array, Array, Array, Path | None]:
    """SciPy called at once, on concrete values; what it raises is raised."""
    asked = 0

    def ask(kind: int, x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        nonlocal asked
        asked += 1
        found = _answer(statement, limits, kind, given, jnp.asarray(x, x0.dtype), jnp.asarray(v, x0.dtype))
        return tuple(np.asarray(value, float) for value in found)

    target, rtol, limit = (np.asarray(number) for number in numbers)
    bounds = (None, None)
    if statement.bounded:
        bounds = (np.asarray(given.lower, float), np.asarray(given.upper, float))
    job = Job(np.array(x0, float), float(target), float(rtol), int(limit), *bounds)
    report = run(method, limits, ask, job)
    iterations, evaluations, code = (
        jnp.asarray(c, jnp.int32) for c in (report.iterations, asked, report.code)
    )
    path = None
    if history is not None:
        # A power of two of rows, so that few lengths are compiled for.
        rows = min(history.rows, 2 ** len(report.path).bit_length())
        recorded = recalled((np.asarray(x0), *report.path), history.every, rows)
        path = (jnp.asarray(recorded[0]), jnp.asarray(recorded[1], x0.dtype))
    return jnp.asarray(report.x, x0.dtype), iterations, evaluations, code, path


def _led(
    statement: Statement,
    method: Any,
    limits: Limits | None,
    given: Given,
    x0: Array,
    numbers: tuple,
    history: History | None,
) -> tuple[Array, Array, Array, Array, Path | None]:
    """SciPy led by a loop of the program."""
    kinds = [VALUE]
    if isinstance(method, SciPyMinimize) and SCIPY_MINIMIZERS[method.kind][1]:
        kinds.append(PRODUCT)
    if limits is not None:
        kinds.append(LIMITS)
    shapes = {
        kind: jax.eval_shape(lambda x, kind=kind: answer(statement, limits, kind, given, x, x), x0)
        for kind in kinds
    }

    def answers(kind: Array, x: Array, v: Array) -> list[Array]:
        every: list[Array] = []
        for asked in kinds:
            every += lax.cond(
                kind == asked,
                lambda asked=asked: answer(statement, limits, asked, given, x, v),
                lambda asked=asked: tuple(jnp.zeros(s.shape, s.dtype) for s in shapes[asked]),
            )
        return every

    places, start = [], 0
    for kind in kinds:
        places.append((kind, start, start + len(shapes[kind])))
        start = places[-1][2]
    vector, integer = jax.ShapeDtypeStruct(x0.shape, x0.dtype), jax.ShapeDtypeStruct((), jnp.int32)
    question = (integer, integer, vector, vector, integer, integer)
    failed = (0, DONE, np.nan, 0, 0, RAISED)
    lower, upper = (given.lower, given.upper) if statement.bounded else (x0, x0)
    # What depends on the lane of a vmap has to be among the arguments, so that each lane gets a session.
    first = [
        value for kind in kinds if kind != PRODUCT for value in answer(statement, limits, kind, given, x0, x0)
    ]
    opened = host_call(
        Open(method, limits, statement.bounded, history is not None),
        question,
        failed,
        x0,
        *numbers,
        lower,
        upper,
        *first,
    )
    step = Step(tuple(places))

    def running(carry):
        (_, kind, *_), _ = carry
        return kind != DONE

    def advance(carry):
        (number, kind, x, v, iterations, code), asked = carry
        given_answers = answers(kind, x, v)
        found = host_call(step, question, failed, number, kind, x, iterations, code, *given_answers)
        return tuple(found), asked + ((kind != DONE) & (kind != WAIT))

    (number, _, x, _, iterations, code), asked = lax.while_loop(
        running, advance, (tuple(opened), jnp.array(0, jnp.int32))
    )
    path = None
    if history is not None:
        rows = history.rows
        results = (
            jax.ShapeDtypeStruct((rows,), jnp.int32),
            jax.ShapeDtypeStruct((rows, x.shape[0]), x.dtype),
        )
        path = host_call(Recall(history.every, rows), results, (-1, np.nan), number, x)
    return x, iterations, asked, code, None if path is None else (path[0], path[1])
