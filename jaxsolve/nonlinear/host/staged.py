"""SciPy led by a loop of the compiled program, which answers what it asks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.host_call import host_call
from jaxsolve.nonlinear.host.evaluator import Found, Numbers, Oracle, Path
from jaxsolve.nonlinear.host.scipy import DONE, LIMITS, PRODUCT, RAISED, SIZES, VALUE, WAIT
from jaxsolve.nonlinear.host.session import Open, Recall, Step
from jaxsolve.nonlinear.nonlinear_problem import Given
from jaxsolve.solvers.scipy_minimisers import SCIPY_MINIMIZERS, SciPyMinimize
from jaxsolve.telemetry.history import History


def led(
    oracle: Oracle, method: Any, history: History | None, given: Given, x0: Array, numbers: Numbers
) -> Found:
    """What SciPy finds when a loop takes its questions and hands it the answers; arguments as those of `called`."""
    kinds = _kinds(oracle, method)
    shapes = {
        kind: jax.eval_shape(lambda x, kind=kind: oracle.answer(kind, given, x, x), x0) for kind in kinds
    }

    def answers(kind: Array, x: Array, v: Array) -> list[Array]:
        every: list[Array] = []
        for asked in kinds:
            every += lax.cond(
                kind == asked,
                lambda asked=asked: oracle.answer(asked, given, x, v),
                lambda asked=asked: tuple(jnp.zeros(s.shape, s.dtype) for s in shapes[asked]),
            )
        return every

    places, start = [], 0
    for kind in kinds:
        places.append((kind, start, start + len(shapes[kind])))
        start = places[-1][2]
    step = Step(tuple(places))
    vector, integer = jax.ShapeDtypeStruct(x0.shape, x0.dtype), jax.ShapeDtypeStruct((), jnp.int32)
    question = (integer, integer, vector, vector, integer, integer)
    failed = (0, DONE, np.nan, 1, 0, RAISED)

    def running(carry):
        (_, kind, *_), _ = carry
        return kind != DONE

    def advance(carry):
        (number, kind, x, v, iterations, code), asked = carry
        given_answers = answers(kind, x, v)
        found = host_call(step, question, failed, number, kind, x, v, iterations, code, *given_answers)
        return tuple(found), asked + ((kind != DONE) & (kind != WAIT)).astype(asked.dtype)

    bounds = (given.lower, given.upper) if oracle.statement.bounded else (x0, x0)
    # What depends on the lane of a vmap has to be among the arguments, so that each lane gets a session.
    first = [
        value
        for kind in kinds
        if kind not in (PRODUCT, SIZES)
        for value in oracle.answer(kind, given, x0, x0)
    ]
    start_session = Open(method, oracle.limits, oracle.statement.bounded, history is not None)
    opened = host_call(start_session, question, failed, x0, *numbers, *bounds, *first)
    (number, _, x, sizes, iterations, code), asked = lax.while_loop(
        running, advance, (tuple(opened), jnp.array(0, jnp.int32))
    )
    return Found(x, sizes, iterations, asked, code, None if history is None else _path(history, number, x))


def _kinds(oracle: Oracle, method: Any) -> list[int]:
    """The kinds of question that the method may ask."""
    kinds = [VALUE]
    if isinstance(method, SciPyMinimize) and SCIPY_MINIMIZERS[method.kind][1]:
        kinds.append(PRODUCT)
    if isinstance(method, SciPyMinimize) and oracle.limits is None:
        kinds.append(SIZES)
    return kinds if oracle.limits is None else [*kinds, LIMITS]


def _path(history: History, number: Array, x: Array) -> Path:
    """The iterates of a session that is over."""
    rows = history.rows
    numbers = jax.ShapeDtypeStruct((rows,), jnp.int32)
    points = jax.ShapeDtypeStruct((rows, x.shape[0]), x.dtype)
    recorded = host_call(Recall(history.every, rows), (numbers, points), (-1, np.nan), number, x)
    return recorded[0], recorded[1]
