"""Program text: what stands for a jaxpr where programs are compared, and the names that occur in it."""

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from jaxsolve.core.compat import ClosedJaxpr, Jaxpr, Literal, open_jaxpr


def names_in(value: Any) -> Iterator[str]:
    """The names of the operations of a jaxpr, those of inner ones included."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from names_in(part)
    elif isinstance(value, Jaxpr | ClosedJaxpr):
        for eqn in open_jaxpr(value)[0].eqns:
            yield eqn.primitive.name
            yield from names_in(list(eqn.params.values()))


def jaxpr_key(jaxpr: Any) -> Hashable:
    """What is equal for jaxprs of the same text: variables by their order, constants and parameters by their values."""
    inner, constants = open_jaxpr(jaxpr)
    names: dict[Any, int] = {}

    def atom(v: Any) -> Hashable:
        if isinstance(v, Literal):
            return ("literal", v.aval, _value_key(v.val))
        return names.setdefault(v, len(names))

    inputs = tuple((atom(v), v.aval) for v in (*inner.constvars, *inner.invars))
    equations = []
    for eqn in inner.eqns:
        operands = tuple(atom(v) for v in eqn.invars)
        parameters = tuple((name, _value_key(value)) for name, value in sorted(eqn.params.items()))
        results = tuple((atom(v), v.aval) for v in eqn.outvars)
        equations.append((eqn.primitive, operands, parameters, results))
    outputs = tuple(atom(v) for v in inner.outvars)
    return inputs, tuple(equations), outputs, tuple(_value_key(c) for c in constants)


def _value_key(value: Any) -> Hashable:
    if isinstance(value, Jaxpr | ClosedJaxpr):
        return jaxpr_key(value)
    if isinstance(value, tuple | list):
        return tuple(_value_key(v) for v in value)
    if isinstance(value, dict):
        return tuple((k, _value_key(v)) for k, v in sorted(value.items(), key=repr))
    if isinstance(value, np.ndarray | np.generic):
        return (value.shape, str(value.dtype), value.tobytes())
    if isinstance(value, float):
        # 0.0 and -0.0 are equal but not the same, NaN is the same but not equal.
        return ("float", value.hex())
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return (type(value), value)
