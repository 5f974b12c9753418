"""Products with known matrices and convolutions with known kernels."""

import math
from typing import Any

import numpy as np

from jaxsolve.core.compat import Equation, prims, sparse_dot_p, sparse_rows_dot_p, sparse_transpose_p
from jaxsolve.tracer import element_moves, factors, sums
from jaxsolve.tracer.dense_coupling import dense
from jaxsolve.tracer.factors import OPAQUE
from jaxsolve.tracer.known_values import transposed_indices
from jaxsolve.tracer.products import contract, scale
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.value import Linear


@rule(prims.dot_general_p)
def _dot(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    """A product with a known matrix, y[i] = Σ_j K[i, j] x[j]: row i holds K[i, j] in the column of x[j].

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jnp.array([[1.0, 2.0], [3.0, 4.0]]) @ x, np.zeros(2))
    >>> A.todense().tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    (ca, cb), (ba, bb) = eqn.params["dimension_numbers"]
    shapes = [v.aval.shape for v in eqn.invars]
    dtype = eqn.outvars[0].aval.dtype
    if depends(a):
        return contract(a, b, shapes[1], (ca, cb, ba, bb), dtype)
    return contract(b, a, shapes[0], (cb, ca, bb, ba), dtype, known_first=True)


def _product(x: Any, y: Any, shapes: Any, dims: Any, dtype: Any) -> Linear:
    """Contraction of a value and a known array, whichever comes first."""
    (cx, cy), (bx, by) = dims
    if depends(x):
        return contract(x, y, shapes[1], (cx, cy, bx, by), dtype)
    return contract(y, x, shapes[0], (cy, cx, by, bx), dtype, known_first=True)


@rule(prims.conv_general_dilated_p)
def _convolve(scope: Scope, eqn: Equation, image: Any, kernel: Any) -> Linear:
    """A convolution with a known kernel, y[i] = Σ_k K[k] x[s i + k]: strided slices times a point of K each, added.

    One slice of the padded image is taken for each point and contracted over the input features.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jnp.convolve(x, jnp.array([1.0, -1.0]), "valid"), np.zeros(3)
    ... )
    >>> A.todense().tolist()
    [[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]
    """
    p, out = eqn.params, eqn.outvars[0].aval
    numbers = p["dimension_numbers"]
    image = _turned(image, numbers.lhs_spec)
    kernel = _turned(kernel, numbers.rhs_spec)
    shape = [eqn.invars[0].aval.shape[d] for d in numbers.lhs_spec]
    taps = [eqn.invars[1].aval.shape[d] for d in numbers.rhs_spec]
    space = [out.shape[d] for d in numbers.out_spec[2:]]
    config = [(0, 0, 0)] * 2 + [
        (low, high, d - 1) for (low, high), d in zip(p["padding"], p["lhs_dilation"], strict=True)
    ]
    image = _padded(image, config)
    # Groups of features and groups of the batch are batch axes of the products: (G, B, n, channels, *space).
    groups, batches = p["feature_group_count"], p["batch_group_count"]
    n, channels, outputs = shape[0] // batches, shape[1] // groups, taps[0] // (groups * batches)
    pieces = []
    for tap in np.ndindex(*taps[2:]):
        start = [k * d for k, d in zip(tap, p["rhs_dilation"], strict=True)]
        index = [(0, shape[0], 1), (0, shape[1], 1)] + [
            (a, a + max((size - 1) * step + 1, 0) if size else a, step)
            for a, size, step in zip(start, space, p["window_strides"], strict=True)
        ]
        seen = _reshaped(_cut(image, index), (batches, n, groups, channels, *space))
        point = _cut(kernel, [(0, taps[0], 1), (0, taps[1], 1)] + [(k, k + 1, 1) for k in tap])
        if isinstance(point, np.ndarray) and not point.any():
            continue
        point = _reshaped(point, (batches, groups, outputs, channels))
        shapes = [(batches, n, groups, channels, *space), (batches, groups, outputs, channels)]
        dims = (((3,), (3,)), ((0, 2), (0, 1)))
        pieces.append(_product(seen, point, shapes, dims, out.dtype))
    if not pieces:
        return Linear(out.shape, out.dtype)
    y = sums.add(pieces, out.dtype)
    # (batches, groups, n, *space, outputs) to (n, all outputs, *space).
    rank = len(space)
    y = element_moves.transpose(y, [2, 0, 1, 3 + rank, *range(3, 3 + rank)])
    y = element_moves.reshape(y, (n, taps[0], *space))
    back = np.argsort(numbers.out_spec)
    return element_moves.transpose(y, back.tolist())


def _turned(value: Any, permutation: Any) -> Any:
    if value is OPAQUE:
        return value
    return element_moves.transpose(value, permutation) if depends(value) else value.transpose(permutation)


def _reshaped(value: Any, shape: tuple[int, ...]) -> Any:
    if value is OPAQUE:
        return value
    return element_moves.reshape(value, shape) if depends(value) else value.reshape(shape)


def _cut(value: Any, index: list[tuple[int, int, int]]) -> Any:
    if value is OPAQUE:
        return value
    if depends(value):
        return element_moves.cut(value, *zip(*index, strict=True))
    return value[tuple(slice(*one) for one in index)]


def _padded(value: Any, config: list[tuple[int, int, int]]) -> Any:
    if value is OPAQUE:
        return value
    return element_moves.pad(value, config) if depends(value) else factors.pad(value, config, 0)


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
    other = _reshaped(
        _turned(other, [*co, *rest]), (math.prod(size[d] for d in co), math.prod(size[d] for d in rest))
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
