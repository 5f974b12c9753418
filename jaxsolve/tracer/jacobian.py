"""linearize_operator: the sparse Jacobian of any differentiable function at a point."""

from collections.abc import Callable
from typing import Any

import jax

from jaxsolve.core.options import require_function
from jaxsolve.core.tree import as_arrays
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.assembly import trace_operator


def linearize_operator(f: Callable[..., Any], x0: Any, *params: Any, **kwargs: Any) -> SparseMatrix:
    """The sparse Jacobian of f at x0, of shape (output size, input size) over the raveled pytrees.

    Args:
        f: Called as f(x, *params, **kwargs); differentiable at x0, nonlinear or not. Its derivative is read, so rules
            given by `custom_jvp` hold.
        x0: Arrays of the point; may be traced.
        *params: Further arguments; may be traced.
        **kwargs: Further arguments by name.

    Returns:
        A `SparseMatrix` in the dtype of the derivative, with a pattern that holds for every x0.

    Raises:
        TypeError: If f is no function.
        TraceError: If the Jacobian would have too many entries.

    Cost: one reading of the derivative and one evaluation of its entries; no products.

    >>> import jax.numpy as jnp
    >>> linearize_operator(lambda x: x**2 + jnp.roll(x, 1), jnp.array([1.0, 2.0, 3.0])).todense().tolist()
    [[2.0, 0.0, 1.0], [1.0, 4.0, 0.0], [0.0, 1.0, 6.0]]
    """
    require_function("js.linearize_operator", f)
    return jacobian_operator(f, x0, *params, **kwargs).plain()


def jacobian_operator(f: Callable[..., Any], x0: Any, *params: Any, **kwargs: Any) -> SparseMatrix:
    """The same matrix, with its diagonals at hand where it is applied by them."""

    def tangent(v: Any, point: Any, params: Any, kwargs: Any) -> Any:
        return jax.jvp(lambda x: f(x, *params, **kwargs), (point,), (v,))[1]

    x0 = as_arrays("x0", x0)
    operator, _ = trace_operator(tangent, x0, x0, params, kwargs)
    matrix = operator.entries()
    assert matrix is not None
    return matrix
