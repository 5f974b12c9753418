"""Whether a program is linear, affine or neither in one of its inputs, read off its equations."""

import enum
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsolve.core.compat import (
    JaxprEqn,
    Literal,
    bind,
    called,
    is_known,
    is_transposable,
    open_jaxpr,
    prims,
    scan_parts,
    source_lines,
    while_parts,
)
from jaxsolve.core.errors import NotLinearError
from jaxsolve.core.implicit import is_linear_in, solves
from jaxsolve.core.shards import axes_of, like
from jaxsolve.operators.linear_primitives import fact_of, keeps_zero, objection


class Degree(enum.IntEnum):
    """How a value depends on the input; zero is what is known to be 0, which a sum does not notice."""

    zero = 0
    constant = 1
    linear = 2
    affine = 3
    opaque = 4

    @property
    def depends(self) -> bool:
        """Whether the value depends on the input at all."""
        return self > Degree.constant


def degree(jaxpr: Any, inputs: Sequence[Degree], complex_input: bool) -> list[Degree]:
    """How each output of a jaxpr depends on the inputs marked linear.

    Args:
        jaxpr: Open or closed.
        inputs: A degree for each input.
        complex_input: Whether the input is complex, where conjugation is not linear.

    Raises:
        NotLinearError: At the first equation that is not affine; the text names it and its source line.
    """
    inner, _ = open_jaxpr(jaxpr)
    env = dict.fromkeys(inner.constvars, Degree.constant)
    env.update(zip(inner.invars, inputs, strict=True))

    def read(v: Any) -> Degree:
        if isinstance(v, Literal):
            return Degree.zero if np.ndim(v.val) == 0 and v.val == 0 else Degree.constant
        return env[v]

    for eqn in inner.eqns:
        operands = [read(v) for v in eqn.invars]
        env.update(zip(eqn.outvars, _results(eqn, operands, complex_input), strict=True))
    return [read(v) for v in inner.outvars]


def _results(eqn: JaxprEqn, operands: list[Degree], complex_input: bool) -> list[Degree]:
    primitive, count = eqn.primitive, len(eqn.outvars)
    if (called(eqn) is not None and Degree.zero in operands) or _any_depends(operands):
        return _dependent(eqn, operands, complex_input)
    null = keeps_zero(primitive) and operands and not any(operands)
    return [Degree.zero if null else Degree.constant] * count


def _dependent(eqn: JaxprEqn, operands: list[Degree], complex_input: bool) -> list[Degree]:
    primitive, count, inner = eqn.primitive, len(eqn.outvars), called(eqn)
    if inner is not None:
        return degree(inner, operands, complex_input)
    why, fact = objection(eqn, [d.depends for d in operands]), fact_of(eqn)
    if why is not None:
        _refuse(eqn, why.format("the unknown"))
    if primitive in (prims.cond_p, prims.scan_p, prims.while_p, prims.linear_solve_p):
        return _control(eqn, operands, complex_input)
    if solves(eqn):
        return _solved(eqn, operands)
    if primitive is prims.scatter_p and eqn.params["update_jaxpr"] is not None:
        # x.at[indices].apply(function): elements are what they were, or what the function makes of them.
        changed = degree(eqn.params["update_jaxpr"], [operands[0], operands[2]], complex_input)
        return [_sum([operands[0], *changed])]
    if primitive is prims.sort_p:
        return operands
    if fact is not None:
        if complex_input and fact.parts:
            _refuse(eqn, "is linear over the real numbers only, and the unknown is complex; solve for its real and "
                    "imaginary parts as a pytree instead")  # fmt: skip
        return [_sum(operands[fact.places]) if fact.together else max(operands)] * count
    moving = [k for k, d in enumerate(operands) if d.depends]
    if is_transposable(primitive) and derivative_is_constant(eqn, moving):
        return [Degree.affine] * count
    if not is_known(primitive.name):
        # A kernel, a callback, the primitive of another package: taken as affine where it looks so.
        return [Degree.opaque] * count
    _refuse(eqn, "is not linear")
    return []


def derivative_is_constant(eqn: Any, moving: Sequence[int]) -> bool:
    """Whether JAX's derivative of an equation along some of its inputs does not read them."""
    avals = [like(v.aval.shape, v.aval.dtype, axes_of(v.aval)) for v in eqn.invars]

    def derivative(values: list[Any], tangents: list[Any]) -> list[Any]:
        def applied(*inputs: Any) -> list[Any]:
            every = list(values)
            for k, value in zip(moving, inputs, strict=True):
                every[k] = value
            return bind(eqn, every)

        return jax.jvp(applied, tuple(values[k] for k in moving), tuple(tangents))[1]

    try:
        jaxpr = jax.make_jaxpr(derivative)(avals, [avals[k] for k in moving]).jaxpr
    except (TypeError, ValueError, NotImplementedError):
        return False
    needed = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    for e in reversed(jaxpr.eqns):
        if any(v in needed for v in e.outvars):
            needed.update(v for v in e.invars if not isinstance(v, Literal))
    return not any(jaxpr.invars[k] in needed for k in moving)


def _solved(eqn: JaxprEqn, operands: list[Degree]) -> list[Degree]:
    """x is affine in b (a first guess may leave its trace); what else is said of the solve is not."""
    if not is_linear_in(eqn, [k for k, d in enumerate(operands) if d.depends]):
        _refuse(eqn, "solves with a matrix that depends on the unknown")
    return [Degree.affine] + [Degree.opaque] * (len(eqn.outvars) - 1)


def _any_depends(degrees: Sequence[Degree]) -> bool:
    return any(d.depends for d in degrees)


def _sum(degrees: Sequence[Degree]) -> Degree:
    """The degree of a sum, a concatenation or a choice: affine where a constant that may not be 0 joins in."""
    largest = max(degrees)
    return max(largest, Degree.affine) if largest.depends and Degree.constant in degrees else largest


def _control(eqn: JaxprEqn, operands: list[Degree], complex_input: bool) -> list[Degree]:
    if eqn.primitive is prims.cond_p:
        branches = [degree(branch, operands[1:], complex_input) for branch in eqn.params["branches"]]
        # A branch that ignores the unknown adds a constant when it is taken.
        return [_sum(parts) for parts in zip(*branches, strict=True)]
    if eqn.primitive is prims.linear_solve_p:
        if complex_input:
            lengths = eqn.params["const_lengths"]
            # Where the matrix is linear over the real numbers only, so is its inverse.
            product = eqn.params["jaxprs"].matvec
            matrix, _ = open_jaxpr(product)
            known = [Degree.constant] * lengths.matvec
            degree(product, known + [Degree.linear] * (len(matrix.invars) - lengths.matvec), True)
        return [max(operands)] * len(eqn.outvars)
    if eqn.primitive is prims.scan_p:
        constants, carried = scan_parts(eqn)
        return _fixed_point(
            lambda carry: degree(
                eqn.params["jaxpr"],
                [*operands[:constants], *carry, *operands[constants + carried :]],
                complex_input,
            ),
            operands[constants : constants + carried],
        )
    of_condition, of_body = while_parts(eqn)
    body = operands[of_condition : of_condition + of_body]
    carry = _fixed_point(
        lambda carry: degree(eqn.params["body_jaxpr"], [*body, *carry], complex_input),
        operands[of_condition + of_body :],
    )
    tested = [*operands[:of_condition], *carry]
    if any(_reaches(eqn.params["cond_jaxpr"], tested)):
        _refuse(eqn, "loops while a condition on the unknown holds")
    return carry


def _fixed_point(body: Any, carry: list[Degree]) -> list[Degree]:
    while True:
        out = body(carry)
        # A carried constant that becomes dependent started as an added constant.
        joined = [_sum(pair) for pair in zip(out[: len(carry)], carry, strict=True)]
        if joined == carry:
            return [*joined, *out[len(carry) :]]
        carry = joined


def _reaches(jaxpr: Any, inputs: Sequence[Degree]) -> list[bool]:
    """Whether each output depends in any way on the inputs that are not constant."""
    inner, _ = open_jaxpr(jaxpr)
    reached = {v for v, d in zip(inner.invars, inputs, strict=True) if d.depends}
    for eqn in inner.eqns:
        if any(not isinstance(v, Literal) and v in reached for v in eqn.invars):
            reached.update(eqn.outvars)
    return [not isinstance(v, Literal) and v in reached for v in inner.outvars]


def _refuse(eqn: JaxprEqn, why: str) -> None:
    place = source_lines(eqn)
    raise NotLinearError(
        f"the function is not linear in its first argument: `{eqn.primitive}`{f' at {place}' if place else ''} {why}. "
        "Solve nonlinear equations with js.solve_nonlinear, or linearise with js.linearize_operator(f, x0)."
    )
