"""What stands for an array: lists of numbers, scalars, objects with `__jax_array__`; and what only poses as one."""

import numbers
from typing import Any

import jax
import numpy as np


def stands_alone(value: Any) -> bool:
    """Whether a value is one array to the package, or poses as one, and is not looked into as a pytree."""
    if isinstance(value, jax.Array | np.ndarray | np.generic | numbers.Number | dict | tuple):
        return False
    return is_list_of_numbers(value) or hasattr(type(value), "__jax_array__") or poses_as_array(value)


def unwrapped(value: Any) -> Any:
    """The array that an object gives as its own by `__jax_array__`; other values as they are.

    >>> class Celsius:
    ...     def __jax_array__(self):
    ...         return jax.numpy.array([20.0, 30.0])
    >>> unwrapped(Celsius()).tolist(), unwrapped(3.0)
    ([20.0, 30.0], 3.0)
    """
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    return value.__jax_array__() if hasattr(type(value), "__jax_array__") else value


def poses_as_array(value: Any) -> bool:
    """Whether a value has the face of an array and is none: a quax value, a sparse matrix, a wrapper with units.

    What its leaves mean is known to the wrapper alone, so that a solve over them would be one of another system.
    """
    if isinstance(value, jax.ShapeDtypeStruct) or hasattr(type(value), "__jax_array__"):
        return False
    face = all(hasattr(value, name) for name in ("shape", "dtype", "ndim"))
    return face or callable(getattr(value, "materialise", None))


def is_list_of_numbers(value: Any, scalars: bool = False) -> bool:
    """Whether a value is a list of numbers, or a list of such lists.

    Args:
        value: Anything.
        scalars: Whether arrays of no axes count as numbers.

    >>> is_list_of_numbers([[1, 2.0], [np.float32(3), 4j]]), is_list_of_numbers([np.ones(2)])
    (True, False)
    """
    return isinstance(value, list) and all(
        isinstance(v, numbers.Number)
        or (scalars and isinstance(v, jax.Array | np.ndarray) and v.ndim == 0)
        or is_list_of_numbers(v, scalars)
        for v in value
    )


def told(value: Any) -> str:
    """What a value is, in words: arrays by type, shape and dtype and never by their numbers.

    >>> told(np.ones((2, 3))), told("CG"), told(None), told([1.0, 2.0])
    ('a ndarray of shape (2, 3) and dtype float64', "'CG'", 'None', 'a list')
    """
    if isinstance(value, str | bool | int | float | complex) or value is None:
        return f"{value!r:.80}"
    kind = "jax.Array" if isinstance(value, jax.Array) else type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {kind} of shape {tuple(value.shape)} and dtype {value.dtype}"
    return repr(value) if isinstance(value, type) else f"a {kind}"
