"""Tracing rules by expansion: a primitive read as the operations that give the same."""

from collections.abc import Callable
from typing import Any

import jax

from jaxsolve.core.compat import Equation
from jaxsolve.tracer.interpreter import within
from jaxsolve.tracer.rule_registry import Scope


def expand(scope: Scope, eqn: Equation, function: Callable[..., Any], *inputs: Any) -> Any:
    """What a rule returns where the primitive is a composition of operations that the tracer reads.

    Args:
        scope: What the rule was given.
        eqn: The same; its parameters are in `eqn.params`.
        function: The primitive's function of its inputs, in operations of JAX.
        *inputs: What the rule was given.

    Returns:
        The output, or a list of them where the primitive has several results.
    """
    jaxpr = jax.make_jaxpr(function)(*(atom.aval for atom in eqn.invars))
    outputs = within(scope, eqn, jaxpr, inputs)
    return outputs if eqn.primitive.multiple_results else outputs[0]
