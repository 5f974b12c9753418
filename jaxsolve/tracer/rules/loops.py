"""Loops: short ones are unrolled, maps are read as one vectorised body, long ones are walked and then probed."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.core.compat import (
    Equation,
    function_of,
    open_jaxpr,
    prims,
    scan_parts,
    while_parts,
)
from jaxsolve.tracer import element_moves
from jaxsolve.tracer.concatenation import stack
from jaxsolve.tracer.dense_coupling import MOST_DENSE_ENTRIES, dense, known_outputs
from jaxsolve.tracer.dependence import carried, dependent, equations
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.interpreter import within
from jaxsolve.tracer.probing import Positions, from_positions, local_unknowns, positions_of, probe
from jaxsolve.tracer.refusal import not_linear, place
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.value import Linear

#: Equations that unrolling a loop with values may visit. Each costs a traced operation and its compilation.
MOST_UNROLLED = 2_000
#: Terms that the steps of an unrolled loop may have in all: 2500 of a recurrence of 70 steps compiled for 18 s.
MOST_UNROLLED_TERMS = 300
#: Equations that walking a loop without values may visit, at some 20 µs each.
MOST_WALKED = 500_000
#: Positions that a walk may hold, summed over its steps; some 5 ns each.
MOST_POSITIONS = 1_000_000_000
#: Terms after which a walk lists its positions anew, without duplicates.
MANY_TERMS = 16
#: Rounds in which the positions of a loop of unknown length have to close.
MOST_ROUNDS = 64


class _TooLong(Exception):
    """A walk that exceeds its budget."""


@dataclasses.dataclass
class _Budget:
    visits: int
    positions: int = MOST_POSITIONS
    terms: int = MOST_UNROLLED_TERMS

    def spend(self, visits: int, values: Sequence[Any]) -> None:
        """Counts one step and its results.

        Raises:
            _TooLong: If that is more than was left.
        """
        self.visits -= visits
        self.terms -= sum(len(v.terms) + len(v.scatters) for v in values if depends(v))
        self.positions -= sum(v.entries for v in values if depends(v))
        if min(self.visits, self.positions) < 0:
            raise _TooLong


# ---------------------------------------------------------------- scan


@rule(prims.scan_p)
def _scan(scope: Scope, eqn: Equation, *inputs: Any) -> list[Any]:
    """c ← f_t(c, x_t) is linear where each f_t is: the matrix of n steps is that of the composition.

    Short loops are unrolled; where no carried value depends on the unknown, the steps are one vectorised map; else the
    positions are found by walking without values, and the values by a product for each colour.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jax.lax.scan(lambda c, v: (c, 2 * v), 0.0, x)[1], np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    constants, carries = scan_parts(eqn)
    body, length = eqn.params["jaxpr"], eqn.params["length"]
    flags = carried(body, [depends(v) for v in inputs], constants, carries)
    wanted = dependent(body, flags)
    if not any(wanted[:carries]):
        return _mapped(scope, eqn, inputs, constants, carries)
    if scope.opaque and length * equations(body) <= MOST_UNROLLED:
        return _steps(scope, eqn, inputs)
    _check_step(scope, eqn, body, flags, inputs, constants)
    return _long(scope, eqn, inputs, wanted, lambda opaque, fresh, budget: _steps(opaque, eqn, fresh, budget))


def _check_step(
    scope: Scope, eqn: Equation, body: Any, flags: Sequence[bool], inputs: Sequence[Any], fixed: int
) -> None:
    """Refuses a loop whose body is not linear in everything that may depend on the unknown, in any step."""
    variables: list[Any] = open_jaxpr(body)[0].invars
    # Values that depend on the unknown but hold no positions: only what the rules refuse matters here.
    fresh = [
        Linear(variable.aval.shape, variable.aval.dtype)
        if flag
        else value
        if is_host(value) and k < fixed
        else OPAQUE
        for k, (flag, value, variable) in enumerate(zip(flags, inputs, variables, strict=True))
    ]
    within(Scope(real=False, opaque=True, enclosing=list(scope.enclosing)), eqn, body, fresh)


def _steps(scope: Scope, eqn: Equation, inputs: Sequence[Any], budget: _Budget | None = None) -> list[Any]:
    """A scan, step by step."""
    constants, carries = scan_parts(eqn)
    body, length = eqn.params["jaxpr"], eqn.params["length"]
    fixed, carry, stepped = (
        inputs[:constants],
        list(inputs[constants : constants + carries]),
        inputs[constants + carries :],
    )
    order = range(length)[:: -1 if eqn.params["reverse"] else 1]
    visits, columns = equations(body), sum(v.size for v in inputs if depends(v))
    out: list[list[Any]] = [[None] * length for _ in eqn.outvars[carries:]]
    for t in order:
        outputs = within(scope, eqn, body, [*fixed, *carry, *(_at(x, t) for x in stepped)])
        carry = outputs[:carries]
        if budget is not None:
            budget.spend(visits, outputs)
            carry = [_listed(c, columns) for c in carry]
        for rows, y in zip(out, outputs[carries:], strict=True):
            rows[t] = y
    stacked = [
        stack(rows, v.aval.shape, v.aval.dtype) for rows, v in zip(out, eqn.outvars[carries:], strict=True)
    ]
    return carry + stacked


def _at(x: Any, t: int) -> Any:
    if x is OPAQUE:
        return x
    if not depends(x):
        return x[t] if not is_host(x) else np.asarray(x[t])
    low, high = [t] + [0] * (len(x.shape) - 1), [t + 1, *x.shape[1:]]
    return element_moves.reshape(element_moves.cut(x, low, high), x.shape[1:])


def _listed(x: Any, columns: int) -> Any:
    """An opaque value without duplicate positions, once it has many terms."""
    if not depends(x) or len(x.terms) + len(x.scatters) <= MANY_TERMS:
        return x
    return from_positions(positions_of(x, columns), x.shape, x.dtype, x.affine)


def _mapped(scope: Scope, eqn: Equation, inputs: Sequence[Any], constants: int, carries: int) -> list[Any]:
    """A scan whose carried values do not depend on the unknown: all steps at once, any length."""
    body, fixed = eqn.params["jaxpr"], inputs[:constants]
    carry, stepped = inputs[constants : constants + carries], inputs[constants + carries :]
    final, history = _carried(scope, eqn, fixed, carry, stepped) if carries else ([], [])
    function = function_of(body)
    length = eqn.params["length"]
    avals = [v.aval for v in eqn.invars[:constants]]
    avals += [
        jax.ShapeDtypeStruct((length, *v.aval.shape), v.aval.dtype)
        for v in eqn.invars[constants : constants + carries]
    ]
    avals += [v.aval for v in eqn.invars[constants + carries :]]
    axes = [None] * constants + [0] * (carries + len(stepped))
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    every = jax.vmap(lambda *args: function(*args)[carries:], in_axes=axes, axis_size=length)
    jaxpr = jax.make_jaxpr(every)(*shapes)
    return [*final, *within(scope, eqn, jaxpr, [*fixed, *history, *stepped])]


def _carried(
    scope: Scope, eqn: Equation, fixed: Any, carry: Any, stepped: Any
) -> tuple[list[Any], list[Any]]:
    """The known carried values of a scan at its end and before every step.

    Those that only need the host (a counter beside traced values) are computed there.
    """
    every, count, carries = [*fixed, *carry, *stepped], len(fixed), len(carry)
    body = eqn.params["jaxpr"]
    function, avals = function_of(body), [v.aval for v in eqn.invars]
    soft = [not depends(v) and not is_host(v) for v in every]
    soft = carried(body, soft, count, carries)[count : count + carries]

    def compute(zero: Any) -> Any:
        # What does not reach the carried values that are asked for may be anything.
        values = [
            jnp.zeros(a.shape, a.dtype) if zero(v) else jnp.asarray(v, a.dtype)
            for v, a in zip(every, avals, strict=True)
        ]

        def step(c: Any, x: Any) -> Any:
            return function(*values[:count], *c, *x)[:carries], c

        carry, stepped = values[count : count + carries], values[count + carries :]
        return lax.scan(step, carry, stepped, length=eqn.params["length"], reverse=eqn.params["reverse"])

    with jax.ensure_compile_time_eval():
        final, history = (list(map(np.asarray, vs)) for vs in compute(lambda v: depends(v) or not is_host(v)))
    if any(soft):
        opaque = any(v is OPAQUE for v in every)
        traced = ([OPAQUE] * carries,) * 2 if opaque else compute(depends)
        final = [t if s else h for s, h, t in zip(soft, final, traced[0], strict=True)]
        history = [t if s else h for s, h, t in zip(soft, history, traced[1], strict=True)]
    return final, history


# ---------------------------------------------------------------- while


@rule(prims.while_p)
def _while(scope: Scope, eqn: Equation, *inputs: Any) -> list[Any]:
    """c ← f(c) as long as a known condition holds: the matrix is that of the composition, found as for `_scan`.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, 2 * c[1]), (0, x))[1],
    ...     np.zeros(1),
    ... )
    >>> A.todense().tolist()
    [[8.0]]
    """
    before, inside = while_parts(eqn)
    body, condition = eqn.params["body_jaxpr"], eqn.params["cond_jaxpr"]
    carries = len(inputs) - before - inside
    flags = [depends(v) for v in inputs]
    flags[before:] = carried(body, flags[before:], inside, carries)
    if any(dependent(condition, flags[:before] + flags[before + inside :])):
        not_linear(eqn, scope.enclosing, "stops by a condition that depends on that argument")
    _check_step(scope, eqn, body, flags[before:], inputs[before:], inside)
    wanted = flags[before + inside :]
    return _long(
        scope, eqn, inputs, wanted, lambda opaque, fresh, budget: _rounds(opaque, eqn, fresh, budget)
    )


def _rounds(scope: Scope, eqn: Equation, inputs: Sequence[Any], budget: _Budget | None = None) -> list[Any]:
    """A while loop whose condition is known, round by round.

    Raises:
        _TooLong: If the condition is traced, or the loop exceeds the budget.
    """
    before, inside = while_parts(eqn)
    body, condition = eqn.params["body_jaxpr"], eqn.params["cond_jaxpr"]
    carry = list(inputs[before + inside :])
    visits, columns = equations(body) + equations(condition), sum(v.size for v in inputs if depends(v))
    while True:
        (go_on,) = within(scope, eqn, condition, [*inputs[:before], *carry])
        if not is_host(go_on):
            raise _TooLong
        if not np.all(go_on):
            return carry
        carry = within(scope, eqn, body, [*inputs[before : before + inside], *carry])
        if budget is not None:
            budget.spend(visits, carry)
            carry = [_listed(c, columns) for c in carry]


def _closed(scope: Scope, eqn: Equation, inputs: Sequence[Any], columns: int) -> list[Any] | None:
    """The carried values of a while loop after any number of rounds, or None where that does not close soon."""
    before, inside = while_parts(eqn)
    carry, sizes = list(inputs[before + inside :]), []
    for _ in range(MOST_ROUNDS):
        # What is known in the first round may differ in the next.
        carry = [c if depends(c) else OPAQUE for c in carry]
        after = within(scope, eqn, eqn.params["body_jaxpr"], [*inputs[before : before + inside], *carry])
        carry = [_either(a, b, columns) for a, b in zip(carry, after, strict=True)]
        sizes.append(sum(c.entries for c in carry if depends(c)))
        if len(sizes) > 1 and sizes[-1] == sizes[-2]:
            return carry
        if sizes[-1] > MOST_DENSE_ENTRIES:
            return None
    return None


def _either(a: Any, b: Any, columns: int) -> Any:
    """The opaque value with the positions of both."""
    if not depends(a) and not depends(b):
        return OPAQUE
    some = a if depends(a) else b
    one, other = positions_of(a, columns), positions_of(b, columns)
    keys = np.union1d(one.rows * columns + one.cols, other.rows * columns + other.cols)
    rows, cols = np.divmod(keys, max(columns, 1))
    both = Positions(rows, cols, one.conjugate or other.conjugate)
    affine = any(v.affine if depends(v) else True for v in (a, b))
    return from_positions(both, some.shape, some.dtype, affine)


# ---------------------------------------------------------------- long loops

_Walk = Callable[[Scope, list[Any], _Budget], list[Any]]


def _long(scope: Scope, eqn: Equation, inputs: Sequence[Any], wanted: list[bool], walk: _Walk) -> list[Any]:
    """A loop by its positions, walked without values, and a product for each colour of them."""
    fresh, columns = local_unknowns(inputs)
    opaque = Scope(real=False, opaque=True, enclosing=list(scope.enclosing))
    budget = _Budget(MOST_WALKED)
    try:
        outputs = walk(opaque, fresh, budget)
    except _TooLong:
        outputs = _closed(opaque, eqn, fresh, columns) if eqn.primitive is prims.while_p else None
    else:
        if MOST_WALKED - budget.visits <= MOST_UNROLLED and budget.terms >= 0:
            return (
                _rounds(scope, eqn, inputs) if eqn.primitive is prims.while_p else _steps(scope, eqn, inputs)
            )
    found = [positions_of(y, columns) for y, want in zip(outputs or [], wanted, strict=False) if want]
    if outputs is None or any(f.conjugate for f in found):
        return dense(scope, eqn, inputs, wanted=wanted)
    results, count = probe(scope, eqn, inputs, found, wanted)
    scope.note(f"`{eqn.primitive.name}` at {place(eqn, scope.enclosing)}: coloured probing, {count} products")
    probed, known = iter(results), iter([])
    if not all(wanted):
        known = iter(known_outputs(scope, eqn, inputs, wanted))
    merged = []
    for y, want in zip(outputs, wanted, strict=True):
        r = next(probed) if want else next(known)
        affine = want and (y.affine if depends(y) else True)
        merged.append(Linear(r.shape, r.dtype, r.terms, r.scatters, affine) if want else r)
    return merged
