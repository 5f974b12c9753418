"""Precision: products of matrices to the full precision of their dtype.

Accelerators round the factors of float32 products, to 11 bits on an NVIDIA H100 (TF32), unless a program asks for more.
What is iterated to a residual of 1e-6 needs all 24: a dense complex64 system stagnated at 1.8e-4 on such a device.
JAX reads the setting where an operation is traced, so all that traces a solve stands inside of it.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from jaxsolve.core.array_likes import told

P = ParamSpec("P")
T = TypeVar("T")


def in_full(f: Callable[P, T]) -> Callable[P, T]:
    """f, whose products, and those of the functions that it calls, have full precision where they do not say less.

    >>> import jax.numpy as jnp
    >>> "HIGHEST" in str(jax.make_jaxpr(in_full(jnp.dot))(jnp.ones((2, 2)), jnp.ones(2)))
    True
    """

    @functools.wraps(f)
    def of(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.default_matmul_precision("highest"):
            return f(*args, **kwargs)

    return of


def inner_precision(dtype: Any) -> Any:
    """The real dtype of an inner precision; None for none.

    Raises:
        TypeError: If it is no dtype.
        ValueError: If nothing is solved in it.

    >>> inner_precision(jnp.complex64)
    dtype('float32')
    """
    if dtype is None:
        return None
    try:
        kind = jnp.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(
            f"inner_dtype expects None or a dtype such as jnp.float32; got {told(dtype)}."
        ) from None
    if not jnp.issubdtype(kind, jnp.inexact) or jnp.finfo(kind).bits < 32:
        raise ValueError(
            f"inner_dtype expects jnp.float32 (complex64 follows where the system is complex), or None; got "
            f"{kind.name}, in which no system is solved."
        )
    return jnp.finfo(kind).dtype
