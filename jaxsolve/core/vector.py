"""Arithmetic on flat vectors: norms that neither overflow nor underflow, and exact powers of two."""

import jax.numpy as jnp
from jax import Array, lax


def squared_norm(v: Array) -> Array:
    """‖v‖² as a real number, for vectors of ordinary size."""
    if jnp.iscomplexobj(v):
        return jnp.sum(jnp.square(v.real)) + jnp.sum(jnp.square(v.imag))
    return jnp.sum(jnp.square(v))


def plain_norm(v: Array) -> Array:
    """‖v‖ for vectors of ordinary size."""
    return jnp.sqrt(squared_norm(v))


def norm(v: Array) -> Array:
    """‖v‖ for vectors of any size: no overflow, no underflow, exact under powers of two. Costs two passes.

    >>> import numpy as np
    >>> float(norm(jnp.asarray(np.array([3e-30, 4e-30], np.float32)))) / 5e-30
    1.0...
    """
    scale = power_of_two(jnp.max(jnp.abs(v), initial=0))
    return plain_norm(v / scale) * scale


def dot(v: Array, w: Array) -> Array:
    """The inner product vᴴw."""
    # In full precision: GPUs and TPUs would round the factors of a float32 product to 10 or 8 bits.
    return jnp.vdot(v, w, precision=lax.Precision.HIGHEST)


def real_dot(v: Array, w: Array) -> Array:
    """The real part of vᴴw."""
    return dot(v, w).real


def power_of_two(magnitude: Array) -> Array:
    """The power of two in (magnitude/2, magnitude], or 1 where magnitude is 0, infinite or NaN.

    >>> float(power_of_two(jnp.asarray(5.0)))
    4.0
    """
    usable = jnp.isfinite(magnitude) & (magnitude > 0)
    _, exponent = jnp.frexp(jnp.where(usable, magnitude, 1))
    # 2^±126 is the range in which both the scale and its inverse are normal float32 numbers.
    limit = 126 if jnp.finfo(magnitude.dtype).bits == 32 else 1022
    return jnp.ldexp(jnp.ones_like(magnitude), jnp.clip(exponent - 1, -limit, limit))
