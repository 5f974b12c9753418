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
    """A sum, y = a ± b: the entries of both; a known summand is an offset, which makes y affine.

    >>> import jaxsolve as js
    >>> A, offset = js.matrix_from_function(lambda x: x + x - 1.0, np.zeros(1))
    >>> A.todense().tolist(), offset.tolist()
    ([[2.0]], [-1.0])
    """
    out = eqn.outvars[0].aval
    if eqn.primitive is prims.sub_p and depends(b):
        b = sums.scaled(b, -1)
    affine = any(not depends(v) and not is_zero(v) for v in (a, b))
    return sums.add([_fitted(v, out.shape) for v in (a, b) if depends(v)], out.dtype, affine)


@rule(prims.neg_p)
def _negative(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y = -x: all factors change sign.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: -x, np.zeros(1))[0].todense().tolist()
    [[-1.0]]
    """
    return sums.scaled(x, -1)


@rule(prims.mul_p)
def _multiply(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    """A product with known values, y = k x: row i of the matrix times k[i]; a product of two unknowns is not linear.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: np.array([2.0, 3.0]) * x, np.zeros(2))[0].todense().tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    out = eqn.outvars[0].aval
    x, known = (a, b) if depends(a) else (b, a)
    return scale(_fitted(x, out.shape), known, out.dtype)


@rule(prims.div_p)
def _divide(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    """A quotient by known values, y = x / k: row i of the matrix over k[i]; k / x is not linear.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x / 2.0, np.zeros(1))[0].todense().tolist()
    [[0.5]]
    """
    out = eqn.outvars[0].aval
    return scale(_fitted(a, out.shape), b, out.dtype, divide=True)


@rule(prims.integer_pow_p)
def _power(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """x¹ = x; any other power is not linear.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jax.lax.integer_pow_p.bind(x, y=1), np.zeros(1))
    >>> A.todense().tolist()
    [[1.0]]
    """
    if eqn.params["y"] != 1:
        not_linear(eqn, scope.enclosing, f"raises that argument to the power {eqn.params['y']}")
    return x


@rule(prims.convert_element_type_p)
def _convert(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """A conversion keeps the entries in another precision; from complex to real it is Re x, and to integers not linear.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: (2 * x).astype("float16"), np.zeros(1))[0].todense().tolist()
    [[2.0]]
    """
    dtype = np.dtype(eqn.params["new_dtype"]) if eqn.params["new_dtype"] is not None else x.dtype
    if complex_parts.is_complex(x.dtype) and not complex_parts.is_complex(dtype):
        x = complex_parts.real(scope, x, dtype)
    return complex_parts.retyped(x, dtype)


@rule(prims.real_p)
def _real(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """Re(k x) = Re(k) x for a real unknown; else (k x + k̄ x̄) / 2, in whose second term the unknown is conjugate.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: ((2 + 3j) * x).real, np.zeros(1))[0].todense().tolist()
    [[2.0]]
    """
    return complex_parts.real(scope, x, eqn.outvars[0].aval.dtype)


@rule(prims.imag_p)
def _imag(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """Im(k x) = Im(k) x for a real unknown; else (k x - k̄ x̄) / 2i, in whose second term the unknown is conjugate.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: ((2 + 3j) * x).imag, np.zeros(1))[0].todense().tolist()
    [[3.0]]
    """
    return complex_parts.imag(scope, x, eqn.outvars[0].aval.dtype)


@rule(prims.conj_p)
def _conj(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """The conjugate of k x is k̄ x̄: factors are conjugated, and terms change between x and x̄ unless x is real.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: ((2 + 3j) * x).conj(), np.zeros(1))[0].todense().tolist()
    [[(2-3j)]]
    """
    return complex_parts.retyped(complex_parts.conjugate(scope, x), eqn.outvars[0].aval.dtype)


@rule(prims.complex_p)
def _complex(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    """y = a + i b of two real values: the entries of a, and those of b times i.

    >>> import jax, jaxsolve as js
    >>> js.matrix_from_function(lambda x: jax.lax.complex(x, 2 * x), np.zeros(1))[0].todense().tolist()
    [[(1+2j)]]
    """
    dtype = eqn.outvars[0].aval.dtype
    affine = any(not depends(v) and not is_zero(v) for v in (a, b))
    pieces = [complex_parts.retyped(a, dtype)] if depends(a) else []
    if depends(b):
        pieces.append(sums.scaled(complex_parts.retyped(b, dtype), 1j))
    return sums.add(pieces, dtype, affine)


@rule(prims.select_n_p)
def _select(scope: Scope, eqn: Equation, which: Any, *cases: Any) -> Linear:
    """A choice by a known predicate, y[i] = Σ_k [p[i] = k] x_k[i]: row i is that of the case p[i].

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jnp.where(np.array([True, False]), x, 5 * x), np.zeros(2))
    >>> A.todense().tolist()
    [[1.0, 0.0], [0.0, 5.0]]
    """
    out = eqn.outvars[0].aval
    return choose(which, cases, out.shape, out.dtype)


@rule(prims.clamp_p)
def _clamp(scope: Scope, eqn: Equation, *inputs: Any) -> Linear:
    """min(max(x, a), b) is linear for no a and b: refused.

    >>> import jax, jaxsolve as js
    >>> js.matrix_from_function(lambda x: jax.lax.clamp(0.0, x, 1.0), np.zeros(1))
    Traceback (most recent call last):
    jaxsolve.core.errors.NotLinearError: ...
    """
    return not_linear(eqn, scope.enclosing, "cuts off values that depend on that argument")
