"""SciPy called at once, on concrete values; what it raises is raised."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.nonlinear.host.evaluator import Found, Numbers, Oracle
from jaxsolve.nonlinear.host.scipy import Job, run
from jaxsolve.nonlinear.host.session import recalled
from jaxsolve.nonlinear.nonlinear_problem import Given
from jaxsolve.telemetry.history import History


def called(
    oracle: Oracle, method: Any, history: History | None, given: Given, x0: Array, numbers: Numbers
) -> Found:
    """What SciPy finds when it calls compiled functions.

    Args:
        oracle: Answers what it asks.
        method: Which of its methods.
        history: Which iterates to keep, None for none.
        given: What the problem depends on.
        x0: First guess, shape (n,).
        numbers: Tolerances and the limit of iterations.
    """
    asked = 0

    def ask(kind: int, x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        nonlocal asked
        asked += 1
        found = oracle.compiled(kind, given, jnp.asarray(x, x0.dtype), jnp.asarray(v, x0.dtype))
        return tuple(np.asarray(value, float) for value in found)

    target, rtol, atol, limit = (np.asarray(number) for number in numbers)
    bounds = (None, None)
    if oracle.statement.bounded:
        bounds = (np.asarray(given.lower, float), np.asarray(given.upper, float))
    tolerances = float(target), float(rtol), float(atol)
    job = Job(np.array(x0, float), *tolerances, int(limit), *bounds, eps=float(np.finfo(x0.dtype).eps))
    report = run(method, oracle.limits, ask, job)
    path = None
    if history is not None:
        # A power of two of rows, so that few lengths are compiled for.
        rows = min(history.rows, 2 ** len(report.path).bit_length())
        recorded = recalled((np.asarray(x0), *report.path), history.every, rows)
        path = (jnp.asarray(recorded[0]), jnp.asarray(recorded[1], x0.dtype))
    iterations, evaluations, code = (
        jnp.asarray(count, jnp.int32) for count in (report.iterations, asked, report.code)
    )
    sizes = np.ones(x0.shape) if report.sizes is None else report.sizes
    x, sizes = jnp.asarray(report.x, x0.dtype), jnp.asarray(sizes, x0.dtype)
    return Found(x, sizes, iterations, evaluations, code, path)
