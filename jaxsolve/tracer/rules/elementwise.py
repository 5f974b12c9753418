"""Element by element: sums, products with known values, choices, conversions, real and complex parts."""

from typing import Any

import numpy as np

from jaxsolve.core.compat import Equation, prims
from jaxsolve.tracer import complex_parts, element_moves, sums
from jaxsolve.tracer.products import scale
from jaxsolve.tracer.refusal import not_linear
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.selection import choose
from jaxsolve.tracer.value import Linear, is_zero


def _fitted(x: Linear, shape: tuple[int, ...]) -> Linear:
    """The value in the shape of the result; equations may hold a scalar beside an array."""
    return (
        x
        if x.shape == tuple(shape)
        else element_moves.broadcast(x, tuple(shape), range(len(shape) - len(x.shape), len(shape)))
    )


@rule(prims.add_p, prims.add_jaxvals_p, prims.sub_p)
def _add(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    out = eqn.outvars[0].aval
    if eqn.primitive is prims.sub_p and depends(b):
        b = sums.scaled(b, -1)
    affine = any(not depends(v) and not is_zero(v) for v in (a, b))
    return sums.add([_fitted(v, out.shape) for v in (a, b) if depends(v)], out.dtype, affine)


@rule(prims.neg_p)
def _negative(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    return sums.scaled(x, -1)


@rule(prims.mul_p)
def _multiply(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    out = eqn.outvars[0].aval
    x, known = (a, b) if depends(a) else (b, a)
    return scale(_fitted(x, out.shape), known, out.dtype)


@rule(prims.div_p)
def _divide(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    out = eqn.outvars[0].aval
    return scale(_fitted(a, out.shape), b, out.dtype, divide=True)


@rule(prims.integer_pow_p)
def _power(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    if eqn.params["y"] != 1:
        not_linear(eqn, scope.enclosing, f"raises that argument to the power {eqn.params['y']}")
    return x


@rule(prims.convert_element_type_p)
def _convert(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    dtype = np.dtype(eqn.params["new_dtype"]) if eqn.params["new_dtype"] is not None else x.dtype
    if complex_parts.is_complex(x.dtype) and not complex_parts.is_complex(dtype):
        x = complex_parts.real(scope, x, dtype)
    return complex_parts.retyped(x, dtype)


@rule(prims.real_p)
def _real(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    return complex_parts.real(scope, x, eqn.outvars[0].aval.dtype)


@rule(prims.imag_p)
def _imag(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    return complex_parts.imag(scope, x, eqn.outvars[0].aval.dtype)


@rule(prims.conj_p)
def _conj(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    return complex_parts.retyped(complex_parts.conjugate(scope, x), eqn.outvars[0].aval.dtype)


@rule(prims.complex_p)
def _complex(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    dtype = eqn.outvars[0].aval.dtype
    affine = any(not depends(v) and not is_zero(v) for v in (a, b))
    pieces = [complex_parts.retyped(a, dtype)] if depends(a) else []
    if depends(b):
        pieces.append(sums.scaled(complex_parts.retyped(b, dtype), 1j))
    return sums.add(pieces, dtype, affine)


@rule(prims.select_n_p)
def _select(scope: Scope, eqn: Equation, which: Any, *cases: Any) -> Linear:
    out = eqn.outvars[0].aval
    return choose(which, cases, out.shape, out.dtype)


@rule(prims.clamp_p)
def _clamp(scope: Scope, eqn: Equation, *inputs: Any) -> Linear:
    return not_linear(eqn, scope.enclosing, "cuts off values that depend on that argument")
