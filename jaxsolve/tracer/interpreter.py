"""Walks a jaxpr equation by equation, from the unknown to the outputs."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import Equation, Jaxpr, Literal, Tracer, called, open_jaxpr
from jaxsolve.core.errors import NotLinearError
from jaxsolve.operators.linear_primitives import objection
from jaxsolve.tracer.dense_coupling import dense_if_linear
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.known_values import known_result
from jaxsolve.tracer.products import within_budget
from jaxsolve.tracer.refusal import not_linear
from jaxsolve.tracer.rule_registry import Scope, depends, rule_for
from jaxsolve.tracer.sums import compacted


def interpret(scope: Scope, jaxpr: Any, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr for inputs that are known or `Linear`.

    Raises:
        NotLinearError: At the first equation that is not linear in the unknown and whose result is used.
        TraceError: Where an operation couples too many elements.
    """
    return [_linear(value) for value in _outputs(scope, jaxpr, inputs)]


def _outputs(scope: Scope, jaxpr: Any, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr, None for those that are not linear in the unknown."""
    inner, constants = open_jaxpr(jaxpr)
    equations, literals = _prepared(scope, inner)
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return literals[id(atom)] if isinstance(atom, Literal) else values[atom]

    values.update(zip(inner.constvars, map(known, constants), strict=True))
    values.update(zip(inner.invars, inputs, strict=True))
    for eqn in equations:
        outputs = _apply(scope, eqn, [_linear(read(atom)) for atom in eqn.invars])
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in inner.outvars]


def _linear(value: Any) -> Any:
    if value is None:
        raise NotLinearError(
            "the function is not linear in its first argument: it uses more of an inner solve than the solution."
        )
    return value


def _prepared(scope: Scope, jaxpr: Jaxpr) -> tuple[list[Equation], dict[int, Any]]:
    """The equations to walk and the literals of a jaxpr, found once for all steps of a loop."""
    found = scope.prepared.get(id(jaxpr))
    if found is None:
        equations = _used(jaxpr)
        atoms = [*jaxpr.outvars, *(atom for eqn in equations for atom in eqn.invars)]
        literals = {id(atom): known(atom.val) for atom in atoms if isinstance(atom, Literal)}
        found = scope.prepared[id(jaxpr)] = (jaxpr, equations, literals)
    return found[1:]


def known(value: Any) -> Any:
    """A constant as the interpreter holds it: on the host unless it is traced (or a random key)."""
    if value is OPAQUE or depends(value) or isinstance(value, Tracer):
        return value
    if jnp.issubdtype(jnp.result_type(value), jax.dtypes.extended):
        return value
    return np.asarray(value)


def _used(jaxpr: Jaxpr) -> list[Equation]:
    """The equations whose results reach an output; the others are not looked at."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if any(variable in needed for variable in eqn.outvars):
            kept.append(eqn)
            needed.update(atom for atom in eqn.invars if not isinstance(atom, Literal))
    return kept[::-1]


def _apply(scope: Scope, eqn: Equation, inputs: list[Any]) -> list[Any]:
    linear = any(depends(value) for value in inputs)
    inner = called(eqn)
    if inner is not None and (linear or all(is_host(value) for value in inputs)):
        return within(scope, eqn, inner, inputs)
    if not linear:
        return known_result(eqn, inputs)
    why = objection(eqn, [depends(value) for value in inputs])
    if why is not None:
        not_linear(eqn, scope.enclosing, why.format("that argument"))
    apply = rule_for(eqn.primitive)
    if apply is None:
        return dense_if_linear(scope, eqn, inputs)
    outputs = apply(scope, eqn, *inputs)
    outputs = outputs if eqn.primitive.multiple_results else [outputs]
    outputs = [compacted(y, scope.columns) if depends(y) else y for y in outputs]
    within_budget(max((y.entries for y in outputs if depends(y)), default=0))
    return outputs


def within(scope: Scope, eqn: Equation, jaxpr: Any, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr that an equation calls."""
    scope.enclosing.append(eqn)
    outputs = _outputs(scope, jaxpr, inputs)
    scope.enclosing.pop()
    return outputs
