"""Real and complex parts of values, and conversions of their dtype.

With a complex unknown x, real(y) = y/2 + conj(y)/2 needs the conjugate of x: terms carry that as a flag, and what is
left of it in the outputs makes a function that is not complex-linear. With a real unknown only factors are conjugated.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.tracer import factors, sums
from jaxsolve.tracer.rule_registry import Scope
from jaxsolve.tracer.value import Linear, Scatter, Term


def is_inexact(dtype: Any) -> bool:
    """Whether a dtype is real or complex floating point (bfloat16 and the like included)."""
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def is_complex(dtype: Any) -> bool:
    """Whether a dtype is complex."""
    return bool(jnp.issubdtype(dtype, jnp.complexfloating))


def _mapped(x: Linear, dtype: Any, change: Any, flip: bool = False) -> Linear:
    terms = tuple(Term(t.columns, change(t.factor), t.conjugate ^ flip) for t in x.terms)
    scatters = tuple(Scatter(s.rows, s.columns, change(s.factor), s.conjugate ^ flip) for s in x.scatters)
    return Linear(x.shape, dtype, terms, scatters, x.affine)


def retyped(x: Linear, dtype: Any) -> Linear:
    """The value in another floating dtype."""
    if x.dtype == dtype:
        return x
    # A real value of a complex unknown has complex factors: they keep their kind and take the precision only.
    precise = np.dtype(dtype)

    def change(factor: Any) -> Any:
        if factor is factors.OPAQUE or factors.is_number(factor):
            return factor
        return factor.astype(
            precise if is_complex(precise) or not is_complex(factor.dtype) else _complex_of(precise)
        )

    return _mapped(x, dtype, change)


def _complex_of(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.complex128 if dtype == np.float64 else np.complex64)


def conjugate(scope: Scope, x: Linear) -> Linear:
    """The complex conjugate of a value."""
    return _mapped(x, x.dtype, factors.conjugate, flip=not scope.real)


def real(scope: Scope, x: Linear, dtype: Any) -> Linear:
    """The real part of a value."""
    if scope.real:
        return _mapped(x, dtype, lambda c: factors.unary(c, np.real, jnp.real))
    half = sums.scaled(x, 0.5)
    return sums.add([half, conjugate(scope, half)], dtype)


def imag(scope: Scope, x: Linear, dtype: Any) -> Linear:
    """The imaginary part of a value."""
    if scope.real:
        return dropped_zeros(_mapped(x, dtype, lambda c: factors.unary(c, np.imag, jnp.imag)))
    half = sums.scaled(x, -0.5j)
    return sums.add([half, conjugate(scope, half)], dtype)


def dropped_zeros(x: Linear) -> Linear:
    """The value without terms whose factor is the number 0."""
    return Linear(x.shape, x.dtype, tuple(sums.merge(x.terms)), x.scatters, x.affine)
