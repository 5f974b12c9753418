"""Factors: what multiplies the unknown in a term; Python numbers, NumPy arrays or traced arrays, never broadcast early.

A factor belongs to an array of column numbers and broadcasts against it: it is a number, or an array of the same rank
whose axes are full or of size 1. Numbers and NumPy arrays stay on the host, so that a matrix without traced values is
fully known while compiling. `OPAQUE` stands for a number that is not looked at, when only positions are wanted.
"""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Opaque:
    """An unknown number: all that is computed from it is unknown too."""

    def __repr__(self) -> str:
        return "OPAQUE"


OPAQUE = Opaque()


def is_number(factor: Any) -> bool:
    """Whether a factor is a known number, the same for all entries."""
    return isinstance(factor, numbers.Number)


def is_scalar(factor: Any) -> bool:
    """Whether a factor has no axes: a number, a traced scalar, or opaque."""
    return factor is OPAQUE or np.ndim(factor) == 0


def is_host(value: Any) -> bool:
    """Whether a value is known on the host."""
    return isinstance(value, np.ndarray | np.generic | numbers.Number)


def compact(known: Any) -> Any:
    """A known array as a factor: host arrays lose the axes along which they only repeat, or become a number."""
    if known is OPAQUE or not is_host(known):
        return known
    array = np.asarray(known)
    index = tuple(
        slice(0, 1) if stride == 0 and size > 1 else slice(None)
        for stride, size in zip(array.strides, array.shape, strict=True)
    )
    array = array[index]
    if array.size == 1:
        number = array.reshape(()).item()
        return number if is_number(number) else array
    return array


def times(a: Any, b: Any) -> Any:
    """The product of two factors."""
    for one, other in ((a, b), (b, a)):
        if is_number(one) and one == 1:
            return other
    if (is_number(a) and a == 0) or (is_number(b) and b == 0):
        return 0.0
    return OPAQUE if a is OPAQUE or b is OPAQUE else a * b


def over(a: Any, b: Any) -> Any:
    """The quotient of two factors."""
    if a is OPAQUE or b is OPAQUE:
        return OPAQUE
    if is_host(a) and is_host(b):
        with np.errstate(all="ignore"):
            return (np.true_divide(a, b)).item() if is_scalar(a) and is_scalar(b) else np.true_divide(a, b)
    return a / b


def plus(a: Any, b: Any) -> Any:
    """The sum of two factors."""
    return OPAQUE if a is OPAQUE or b is OPAQUE else a + b


def unary(factor: Any, host: Callable[..., Any], device: Callable[..., Any]) -> Any:
    """A function of a factor, given for the host and for the device."""
    if factor is OPAQUE:
        return OPAQUE
    if is_number(factor):
        return np.asarray(host(factor)).item()
    return host(factor) if is_host(factor) else device(factor)


def negative(factor: Any) -> Any:
    """The factor with its sign changed."""
    return factor if factor is OPAQUE else -factor


def conjugate(factor: Any) -> Any:
    """The complex conjugate of a factor."""
    return unary(factor, np.conj, jnp.conj)


def full(factor: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The factor broadcast to all entries, in a dtype."""
    if is_host(factor):
        return np.broadcast_to(np.asarray(factor, dtype), shape)
    return jnp.broadcast_to(jnp.asarray(factor, dtype), shape)


def same_number(factors: Sequence[Any]) -> bool:
    """Whether all factors are one and the same scalar."""
    first = factors[0]
    if is_number(first):
        return all(is_number(c) and c == first for c in factors)
    return is_scalar(first) and all(c is first for c in factors)


def select(mask: np.ndarray, yes: Any, no: Any) -> Any:
    """Entrywise choice by a host mask."""
    if same_number([yes, no]):
        return yes
    if yes is OPAQUE or no is OPAQUE:
        return OPAQUE
    return np.where(mask, yes, no) if is_host(yes) and is_host(no) else jnp.where(mask, yes, no)


def pad(array: Any, config: Sequence[tuple[int, int, int]], fill: Any) -> Any:
    """`lax.pad` for host and traced arrays."""
    if not isinstance(array, np.ndarray):
        return lax.pad(array, jnp.asarray(fill, array.dtype), config)
    if all(low >= 0 and high >= 0 and not interior for low, high, interior in config):
        shape = [size + low + high for size, (low, high, _) in zip(array.shape, config, strict=True)]
        out = np.full(shape, fill, array.dtype)
        out[tuple(slice(low, low + size) for size, (low, _, _) in zip(array.shape, config, strict=True))] = (
            array
        )
        return out
    for axis, (low, high, interior) in enumerate(config):
        array = _pad_axis(np.moveaxis(array, axis, 0), low, high, interior, fill, axis)
    return array


def _pad_axis(array: np.ndarray, low: int, high: int, interior: int, fill: Any, axis: int) -> np.ndarray:
    size = array.shape[0]
    spaced = max(size + (size - 1) * interior, 0)
    out = np.full((max(low, 0) + spaced + max(high, 0), *array.shape[1:]), fill, array.dtype)
    out[max(low, 0) : max(low, 0) + spaced : interior + 1] = array
    out = out[max(-low, 0) : out.shape[0] - max(-high, 0)]
    return np.moveaxis(out, 0, axis)


def concatenate(parts: Sequence[Any], axis: int, dtype: Any) -> Any:
    """Factors joined along an axis; they are full along it and agree on the others."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts, axis)
    return lax.concatenate([jnp.asarray(part, dtype) for part in parts], axis)


def lanes(function: Callable[[Any], Any], count: int) -> Callable[[Any], Any]:
    """A function of an array, applied to each lane of `count` further trailing axes."""
    for _ in range(count):
        function = jax.vmap(function, in_axes=-1, out_axes=-1)
    return function
