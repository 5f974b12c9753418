"""Options of methods and recipes: values that make no sense are refused in words, when these are made."""

import math
import numbers
from collections.abc import Collection
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.errors import StructureError


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is an integer of at least `least`.

    >>> is_count(2), is_count(0), is_count(2.0), is_count(True)
    (True, False, False, False)
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least


def require_count(owner: str, option: str, value: Any, least: int = 1) -> None:
    """Refuses what is no integer of at least `least`.

    >>> require_count("Chebyshev", "degree", 2.5)
    Traceback (most recent call last):
    jaxsolve.core.errors.StructureError: Chebyshev needs a degree of at least 1, an integer; got 2.5.
    """
    if not is_count(value, least):
        raise StructureError(f"{owner} needs a {option} of at least {least}, an integer; got {value!r}.")


def require_number(owner: str, option: str, value: Any, least: float, most: float = math.inf) -> None:
    """Refuses what is no number from `least` to `most`.

    >>> require_number("ILU", "drop_tol", "small", 0, 1)
    Traceback (most recent call last):
    jaxsolve.core.errors.StructureError: ILU: drop_tol must be a number from 0 to 1; got 'small'.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Real)
        or not least <= float(value) <= most
        or math.isinf(value)
    ):
        span = f"from {least} to {most}" if most < math.inf else f"of at least {least}"
        raise StructureError(f"{owner}: {option} must be a number {span}; got {value!r}.")


def require_flag(owner: str, option: str, value: Any) -> None:
    """Refuses what is none of None, True and False.

    >>> require_flag("FSAI", "definite", "yes")
    Traceback (most recent call last):
    jaxsolve.core.errors.StructureError: FSAI: definite must be None, True or False; got 'yes'.
    """
    if value is not None and not isinstance(value, bool):
        raise StructureError(f"{owner}: {option} must be None, True or False; got {value!r}.")


def require_one_of(owner: str, option: str, value: Any, choices: Collection[str]) -> None:
    """Refuses what is none of some names.

    >>> require_one_of("RugeStuben", "hierarchy", "hypre", ("own", "pyamg"))
    Traceback (most recent call last):
    jaxsolve.core.errors.StructureError: RugeStuben: hierarchy must be 'own' or 'pyamg'; got 'hypre'.
    """
    if not isinstance(value, str) or value not in choices:
        *others, last = choices
        few = f"{', '.join(map(repr, others))} or {last!r}"
        wanted = few if len(others) < 3 else f"one of {', '.join(choices)}"
        raise StructureError(f"{owner}: {option} must be {wanted}; got {value!r}.")


def require_function(owner: str, value: Any) -> None:
    """Refuses what cannot be called.

    >>> require_function("js.jit", 3)
    Traceback (most recent call last):
    TypeError: js.jit expects a function; got int.
    """
    if not callable(value):
        raise TypeError(f"{owner} expects a function; got {type(value).__name__}.")


def as_damping(value: Any) -> Any:
    """A damping λ >= 0, a number or a traced scalar; None for none.

    >>> as_damping(0), as_damping(2.5)
    (None, 2.5)
    >>> as_damping(-1.0)
    Traceback (most recent call last):
    jaxsolve.core.errors.StructureError: damp must be a number of at least 0; got -1.0.
    """
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value == 0):
        return None
    if isinstance(value, jax.Array | np.ndarray | np.number):
        if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            kind = f"an array of shape {value.shape} and dtype {value.dtype}"
            raise StructureError(
                f"damp must be one real number, float or traced; got {kind}. For several use jax.vmap over damp."
            )
        if isinstance(value, jax.core.Tracer):
            return value
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise StructureError(f"damp must be a number of at least 0; got {value!r}.")
    if not 0 <= float(value) < math.inf:
        raise StructureError(f"damp must be a number of at least 0; got {value!r}.")
    return value


def as_scale(value: Any) -> Any:
    """A size s > 0, a number or a traced scalar.

    >>> as_scale(2), as_scale(-1.0)
    Traceback (most recent call last):
    jaxsolve.core.errors.StructureError: scale must be a number above 0; got -1.0.
    """
    if isinstance(value, jax.Array | np.ndarray | np.number):
        if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            kind = f"an array of shape {value.shape} and dtype {value.dtype}"
            raise StructureError(
                f"scale must be one real number, float or traced; got {kind}. Residuals of different sizes are divided "
                "by theirs in the function that returns them."
            )
        if isinstance(value, jax.core.Tracer):
            return value
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise StructureError(f"scale must be a number above 0; got {value!r}.")
    if not 0 < float(value) < math.inf:
        raise StructureError(f"scale must be a number above 0; got {value!r}.")
    return value
