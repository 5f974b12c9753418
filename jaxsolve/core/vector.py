"""Arithmetic on flat vectors: norms that neither overflow nor underflow, and exact powers of two."""

from typing import Any

import jax.numpy as jnp
import numpy as np
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


def scattered(n: int, dtype: Any) -> Array:
    """Numbers in [-0.5, 0.5) without visible order, the same for the same n."""
    wide = jnp.result_type(dtype, jnp.float32)
    return (_hashed(lax.iota(np.uint32, n)).astype(wide) / 2**24 - jnp.asarray(0.5, wide)).astype(dtype)


def scattered_on_host(n: int) -> np.ndarray:
    """The same numbers as `scattered`, by NumPy."""
    return _hashed(np.arange(n, dtype=np.uint32)).astype(float) / 2**24 - 0.5


def _hashed(k: Any) -> Any:
    # One round of a multiplicative hash (Knuth's 2654435761) with shifts; a few integer operations an entry.
    k = k * np.uint32(2654435761) + np.uint32(97)
    k = (k ^ (k >> np.uint32(15))) * np.uint32(2246822519)
    return (k ^ (k >> np.uint32(13))) >> np.uint32(8)


def power_of_two(magnitude: Array) -> Array:
    """The power of two in (magnitude/2, magnitude], or 1 where magnitude is 0, infinite or NaN.

    >>> float(power_of_two(jnp.asarray(5.0)))
    4.0
    """
    # The number without its mantissa. Clipped to where both the scale and its inverse are normal numbers.
    integer, mask, limit = _LAYOUT[jnp.finfo(magnitude.dtype).bits]
    bits = lax.bitcast_convert_type(magnitude, integer) & mask
    scale = lax.bitcast_convert_type(bits, magnitude.dtype)
    usable = jnp.isfinite(magnitude) & (magnitude > 0)
    return jnp.where(usable, jnp.clip(scale, 2.0**-limit, 2.0**limit), 1)


#: For each width of a float: the integer of that width, the mask of its exponent, the largest exponent used.
_LAYOUT = {32: (jnp.int32, 0x7F800000, 126), 64: (jnp.int64, 0x7FF0000000000000, 1022)}
