"""Arithmetic on flat vectors: norms that neither overflow nor underflow, and exact powers of two."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.shards import greatest, joined_axes, summed
from jaxsolve.core.tree import common, typed


def squared_norm(v: Array) -> Array:
    """‖v‖² as a real number, for vectors of ordinary size."""
    return summed(square_of_part(v))


def square_of_part(v: Array) -> Array:
    """What this part of v adds to ‖v‖²; all of it where vectors are whole."""
    if jnp.iscomplexobj(v):
        return jnp.sum(jnp.square(v.real)) + jnp.sum(jnp.square(v.imag))
    return jnp.sum(jnp.square(v))


def plain_norm(v: Array) -> Array:
    """‖v‖ for vectors of ordinary size."""
    return jnp.sqrt(squared_norm(v))


def short_norm(v: Array) -> Array:
    """‖v‖ of a few coefficients, which every device has where the vectors themselves are spread over devices."""
    return jnp.sqrt(square_of_part(v))


def peak(v: Array) -> Array:
    """max |v|, 0 of nothing."""
    return greatest(jnp.max(jnp.abs(v), initial=0))


def norm(v: Array) -> Array:
    """‖v‖ for vectors of any size: no overflow, no underflow, exact under powers of two. Costs two passes.

    >>> import numpy as np
    >>> float(norm(jnp.asarray(np.array([3e-30, 4e-30], np.float32)))) / 5e-30
    1.0...
    """
    scale = power_of_two(peak(v))
    return plain_norm(v / scale.astype(v.dtype)) * scale


def largest(v: Any, axis: Any = None) -> Array:
    """max |v|, 0 of nothing; of a constant computed when its program runs.

    XLA computes with constants while it compiles: this took 14.7 s of it for five diagonals of a grid of 512².
    """
    return jnp.max(jnp.abs(lax.optimization_barrier(v)), axis=axis, initial=0)


def dot(v: Array, w: Array) -> Array:
    """The inner product vᴴw."""
    return summed(dot_of_part(v, w))


def dot_of_part(v: Array, w: Array) -> Array:
    """What these parts add to the inner product vᴴw; all of it where vectors are whole."""
    # In full precision: GPUs and TPUs would round the factors of a float32 product to 10 or 8 bits.
    if v.dtype != w.dtype:
        dtype = common(v, w)
        v, w = v.astype(dtype), w.astype(dtype)
    return jnp.vdot(v, w, precision=lax.Precision.HIGHEST)


def summed_together(*parts: Array) -> tuple[Array, ...]:
    """The sums over the parts of vectors of several numbers, or rows of them, in one message; else these themselves."""
    if not joined_axes():
        return parts
    kind = common(*parts)
    total = summed(jnp.concatenate([jnp.atleast_1d(v).astype(kind) for v in parts]))
    found, first = [], 0
    for v in parts:
        own = total[first : first + v.size].reshape(v.shape)
        found.append(own if jnp.iscomplexobj(v) else own.real)
        first += v.size
    return tuple(found)


def real_dot(v: Array, w: Array) -> Array:
    """The real part of vᴴw."""
    return dot(v, w).real


def mul(factor: Any, v: Array) -> Array:
    """factor * v, also of a real factor, a number or an array, and a complex v."""
    dtype = common(factor, v)
    return jnp.asarray(factor, dtype) * typed(v, dtype)


def applied(matrix: Array, v: Array) -> Array:
    """matrix @ v, also of a real matrix and a complex v."""
    dtype = common(matrix, v)
    return jnp.matmul(typed(matrix, dtype), typed(v, dtype), precision=lax.Precision.HIGHEST)


def scattered(n: int, dtype: Any) -> Array:
    """Numbers in [-0.5, 0.5) without visible order, the same for the same n."""
    wide = common(dtype, jnp.float32)
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
    return power(exponent(magnitude), magnitude.dtype)


def exponent(magnitude: Array) -> Array:
    """The integer k with 2^k = `power_of_two(magnitude)`.

    Exponents of products and quotients add up without overflow, where the numbers themselves leave their range.
    """
    integer, digits, limit = _LAYOUT[jnp.finfo(magnitude.dtype).bits]
    # The bits above the mantissa are the exponent plus its bias; 0 of zero, all ones of what is not finite.
    biased = lax.bitcast_convert_type(magnitude, integer) >> digits
    usable = (biased > 0) & (biased < 2 * limit + 3)
    # Cut at the top, where 2^-k is no normal number.
    return jnp.where(usable, jnp.minimum(biased - (limit + 1), limit), 0).astype(jnp.int32)


def power(k: Array, dtype: Any) -> Array:
    """2^k for integers k, or the nearest power of two for which it and its inverse are normal numbers."""
    integer, digits, limit = _LAYOUT[jnp.finfo(dtype).bits]
    bits = (jnp.clip(k, -limit, limit).astype(integer) + (limit + 1)) << digits
    return lax.bitcast_convert_type(bits, jnp.dtype(dtype))


def upper_half(v: Array) -> Array:
    """The number with the lower half of its digits zero: products of such numbers are exact, and so is the rest.

    >>> import numpy as np
    >>> third = jnp.asarray(1 / 3, np.float32)
    >>> float(upper_half(third)), float(third - upper_half(third)) < 2**-12
    (0.333251953125, True)
    """
    integer, digits, _ = _LAYOUT[jnp.finfo(v.dtype).bits]
    return lax.bitcast_convert_type(lax.bitcast_convert_type(v, integer) & _UPPER[digits], v.dtype)


#: For each width of a float: the integer of that width, the bits of its mantissa, the largest exponent used.
_LAYOUT = {32: (jnp.int32, 23, 126), 64: (jnp.int64, 52, 1022)}
#: For each mantissa, the mask that keeps half of its digits, the leading one counted that is not stored.
_UPPER = {23: np.int32(-(2**12)), 52: np.int64(-(2**27))}
