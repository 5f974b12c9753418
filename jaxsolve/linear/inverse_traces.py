"""trace_inverse and inverse_diagonal: what is known of an inverse without forming it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import require_count
from jaxsolve.core.precision import in_full
from jaxsolve.front.request import Solve
from jaxsolve.linear.inverse_entries import Solver, entries_of_inverse, estimated_diagonal, signs
from jaxsolve.linear.invertible import Factored, factored, read
from jaxsolve.linear.linear_solve import linear_answer
from jaxsolve.operators.operator import LinearOperator

#: Matrices up to this size are solved with all unit vectors also where there is a key.
EXACT = 2048


def trace_inverse(
    A: Any,
    key: Array | None = None,
    *params: Any,
    solve: Solve | None = None,
    x_like: Any = None,
    probes: int = 32,
) -> Array:
    """The trace of A⁻¹, differentiable to any order in the values of A and the arguments of a function A.

    The sum of `inverse_diagonal`: exact without a key and for n <= 2048, else Hutchinson's estimate by random vectors.

    Args:
        A: What `inverse_diagonal` takes.
        key: Of `jax.random`; None for the exact value.
        *params: Further arguments of a function A.
        solve: How systems with A are solved.
        x_like: For a function A: an array, or a pytree of arrays, with the structure of x.
        probes: Random vectors of an estimate.

    Returns:
        A number of shape (), in the dtype of A.

    Raises:
        StructureError: If A is not one square matrix; a ValueError.
        TypeError: If A is of the wrong kind, or a function without `x_like`.
        NotConverged: If a solve failed, that of a singular matrix for one.

    Cost: that of `inverse_diagonal`.
    Source: Hutchinson (1990), A stochastic estimator of the trace of the influence matrix.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> round(float(js.trace_inverse(jnp.diag(jnp.array([1.0, 2.0, 4.0])))), 4)
    1.75
    """
    return jnp.sum(inverse_diagonal(A, key, *params, solve=solve, x_like=x_like, probes=probes))


@in_full
def inverse_diagonal(
    A: Any,
    key: Array | None = None,
    *params: Any,
    solve: Solve | None = None,
    x_like: Any = None,
    probes: int = 32,
) -> Array:
    """The diagonal of A⁻¹ (the variances, where A is a precision matrix), differentiable to any order.

    Exact without a key, and for n <= 2048: by n solves, a block of unit vectors at a time, with one factorisation where
    A has entries. With a key and a larger A, estimated by solves with random vectors of ±1: each entry is off by about
    the length of its row of A⁻¹, without the diagonal, over the square root of `probes`.

    Args:
        A: Square dense array, BCOO, BCSR, SciPy sparse matrix, operator, `js.Factorization`, or a linear or affine
            function, of which the linear part counts.
        key: Of `jax.random`; None for the exact values.
        *params: Further arguments of a function A.
        solve: How systems with A are solved; None leaves it to the package.
        x_like: For a function A: an array, or a pytree of arrays, with the structure of x.
        probes: Random vectors of an estimate.

    Returns:
        An array of shape (n,), in the dtype of A; for a function of a pytree in the order of `ravel_pytree`.

    Raises:
        StructureError: If A is not one square matrix; a ValueError.
        TypeError: If A is of the wrong kind, or a function without `x_like`.
        NotConverged: If a solve failed, that of a singular matrix for one.

    Cost: n solves, or `probes` of them; a gradient as many again and, exact, n² numbers of memory.
    Source: Bekas, Kokiopoulou and Saad (2007), An estimator for the diagonal of a matrix.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> [round(v, 4) for v in js.inverse_diagonal(jnp.array([[2.0, 1.0], [1.0, 2.0]])).tolist()]
    [0.6667, 0.6667]
    """
    operator, request = read("inverse_diagonal", A, solve, params, x_like)
    require_count("inverse_diagonal", "probes", probes)
    if operator.batch_shape:
        raise StructureError(
            f"inverse_diagonal is of one matrix; got a batch of shape {operator.batch_shape}. Use jax.vmap."
        )
    n = operator.shape[0]
    if not n:
        return jnp.zeros(0, operator.dtype)
    solver = _solver(operator, request)
    if key is None or n <= EXACT:
        every = np.arange(n)
        return entries_of_inverse(solver, n, operator.dtype, every, every)
    return estimated_diagonal(solver, signs(key, probes, n, operator.dtype))


def _solver(A: LinearOperator, solve: Solve) -> Solver:
    found = factored(A, solve, iterate=True)
    if isinstance(found, Factored):
        return found.solve
    return lambda rows: linear_answer(A, rows, solve).x
