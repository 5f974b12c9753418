"""Precision: products of matrices to the full precision of their dtype.

Accelerators round the factors of float32 products, to 11 bits on an NVIDIA H100 (TF32), unless a program asks for more.
What is iterated to a residual of 1e-6 needs all 24: a dense complex64 system stagnated at 1.8e-4 on such a device.
JAX reads the setting where an operation is traced, so all that traces a solve stands inside of it.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

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
