"""Products with known sparse matrices: gather, scale, sum by rows."""

import math
from typing import Any

import numpy as np

from jaxsolve.core.compat import Equation, sparse_dot_p, sparse_rows_dot_p, sparse_transpose_p
from jaxsolve.tracer import element_moves
from jaxsolve.tracer.dense_coupling import dense
from jaxsolve.tracer.either_moves import reshaped, turned
from jaxsolve.tracer.factors import OPAQUE
from jaxsolve.tracer.known_values import transposed_indices
from jaxsolve.tracer.products import scale
from jaxsolve.tracer.rule_registry import Scope, depends, rule


@rule(sparse_dot_p)
def _sparse_dot(scope: Scope, eqn: Equation, data: Any, indices: Any, other: Any) -> Any:
    """A BCOO times an array, y[i] = Σ_e K_e x[j_e] over the entries e with i_e = i: gather, scale, sum by rows.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> from jax.experimental.sparse import BCOO
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: BCOO.fromdense(np.array([[0.0, 2.0]]), nse=1) @ x, np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[0.0, 2.0]]
    """
    return _sparse_product(scope, eqn, [data, indices, other], indices)


@rule(sparse_rows_dot_p)
def _sparse_rows_dot(scope: Scope, eqn: Equation, data: Any, columns: Any, ends: Any, other: Any) -> Any:
    """A BCSR times an array: as for a BCOO, with rows read off their ends.

    What is stored past the last row counts for nothing.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> from jax.experimental.sparse import BCSR
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: BCSR.fromdense(np.array([[0.0, 2.0]]), nse=1) @ x, np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[0.0, 2.0]]
    """
    indices = None
    if all(isinstance(i, np.ndarray) and i.ndim == 1 for i in (columns, ends)):
        rows = np.searchsorted(ends, np.arange(len(columns)), side="right") - 1
        indices = np.stack([rows, columns], axis=1)
    return _sparse_product(scope, eqn, [data, columns, ends, other], indices)


@rule(sparse_transpose_p)
def _sparse_transpose(scope: Scope, eqn: Equation, data: Any, indices: Any) -> list[Any]:
    """The transpose of a BCOO, (Kᵀ)_e = K_e at (j_e, i_e): the data stay, the indices change.

    Batches and dense axes are left to probing.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> from jax.experimental.sparse import BCOO
    >>> K = lambda x: BCOO((x, np.array([[0, 1], [1, 1]])), shape=(2, 2))
    >>> js.matrix_from_function(lambda x: K(x).T @ jnp.ones(2), np.zeros(2))[0].todense().tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if not isinstance(indices, np.ndarray) or indices.ndim != 2 or len(data.shape) > 1:
        return dense(scope, eqn, [data, indices], wanted=[True, False])
    return [data, transposed_indices(indices, eqn)]


def _sparse_product(scope: Scope, eqn: Equation, inputs: list[Any], indices: np.ndarray | None) -> Any:
    """A sparse matrix times an array: gather, scale, and sum by rows."""
    data, other = inputs[0], inputs[-1]
    scope.traced_indices = scope.traced_indices or not all(isinstance(i, np.ndarray) for i in inputs[1:-1])
    (cs, co), (bs, _) = eqn.params["dimension_numbers"]
    shape = eqn.params["lhs_spinfo"].shape
    if bs or not isinstance(indices, np.ndarray) or indices.ndim != 2 or indices.shape[1] != len(shape):
        return dense(scope, eqn, inputs)[0]
    out, size = eqn.outvars[0].aval, eqn.invars[-1].aval.shape
    free = [d for d in range(len(shape)) if d not in cs]
    inside = np.all(indices < np.array(shape), axis=1)
    where = np.where(inside[:, None], indices, 0)
    rest = [d for d in range(len(size)) if d not in co]
    other = reshaped(
        turned(other, [*co, *rest]), (math.prod(size[d] for d in co), math.prod(size[d] for d in rest))
    )
    width = math.prod(size[d] for d in rest)
    column = _flat(where, list(cs), shape)
    row = np.where(inside, _flat(where, free, shape), -1)
    lanes = np.arange(width)
    picked = column[:, None] * width + lanes
    targets = np.where(row[:, None] < 0, -1, row[:, None] * width + lanes)
    if depends(other):
        weights = data if data is OPAQUE else data[:, None] + np.zeros((1, width), data.dtype)
        y = scale(element_moves.take(other, picked), weights, out.dtype)
    else:
        values = other if other is OPAQUE else other.reshape(-1)[picked]
        y = scale(element_moves.broadcast(data, picked.shape, [0]), values, out.dtype)
    y = element_moves.dispatch(y, targets, (math.prod(shape[d] for d in free), width))
    return element_moves.reshape(y, out.shape)


def _flat(indices: np.ndarray, axes: list[int], shape: tuple[int, ...]) -> np.ndarray:
    flat = np.zeros(len(indices), np.int64)
    for axis in axes:
        flat = flat * shape[axis] + indices[:, axis]
    return flat
