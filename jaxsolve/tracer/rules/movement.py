"""Elements move: slice, pad, reshape, transpose, reverse, broadcast, concatenate, split, squeeze, copy."""

from typing import Any

import numpy as np
from jax import lax

from jaxsolve.core.compat import Equation, optimization_barrier_p, prims, split_p, stack_p, tile_p, unstack_p
from jaxsolve.tracer import element_moves, factors, sums
from jaxsolve.tracer.concatenation import join
from jaxsolve.tracer.dense_coupling import dense
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.value import Linear, is_zero


@rule(
    prims.copy_p,
    prims.reduce_precision_p,
    prims.name_p,
    prims.sharding_constraint_p,
    prims.stop_gradient_p,
)
def _same(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y = x: what changes rounding, names or placement only keeps every entry.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jax.lax.reduce_precision(x, 8, 7), np.zeros(1))
    >>> A.todense().tolist()
    [[1.0]]
    """
    return x


@rule(prims.device_put_p, optimization_barrier_p)
def _same_all(scope: Scope, eqn: Equation, *inputs: Any) -> list[Any]:
    """y_k = x_k for all operands: barriers and transfers keep every entry.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jax.lax.optimization_barrier(x), np.zeros(1))
    >>> A.todense().tolist()
    [[1.0]]
    """
    return list(inputs)


@rule(prims.slice_p)
def _slice(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[i] = x[a + s i]: row i has a one in column a + s i.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jax.lax.slice(x, (1,), (4,), (2,)), np.zeros(4))
    >>> A.todense().tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    p = eqn.params
    return element_moves.cut(x, p["start_indices"], p["limit_indices"], p["strides"])


@rule(prims.rev_p)
def _reverse(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[i] = x[n - 1 - i] along each axis named.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x[::-1], np.zeros(2))[0].todense().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return element_moves.reverse(x, eqn.params["dimensions"])


@rule(prims.transpose_p)
def _transpose(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[i, j] = x[j, i]: a permutation of the rows of the matrix.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x.T, np.zeros((2, 2)))[0].indices[:, 1].tolist()
    [0, 2, 1, 3]
    """
    return element_moves.transpose(x, eqn.params["permutation"])


@rule(prims.reshape_p, prims.squeeze_p)
def _reshape(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y.ravel()[i] = x.ravel()[i]: the rows of the matrix stay as they are.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x.reshape(3, 2), np.zeros((2, 3)))[0].indices[:, 1].tolist()
    [0, 1, 2, 3, 4, 5]
    """
    return element_moves.reshape(x, eqn.outvars[0].aval.shape)


@rule(prims.broadcast_in_dim_p)
def _broadcast(scope: Scope, eqn: Equation, x: Linear, *_: Any) -> Linear:
    """y[i, j] = x[j]: rows are repeated along the new axes and those of size 1.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jnp.broadcast_to(x, (2, 2)), np.zeros(2))
    >>> A.indices[:, 1].tolist()
    [0, 1, 0, 1]
    """
    return element_moves.broadcast(x, eqn.outvars[0].aval.shape, eqn.params["broadcast_dimensions"])


@rule(prims.pad_p)
def _pad(scope: Scope, eqn: Equation, x: Any, fill: Any) -> Linear:
    """y[l + (g + 1) i] = x[i] with l elements before and g between; other rows are those of the fill.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jax.lax.pad(x, 0.0 * x[0], [(1, 0, 0)]), np.zeros(2))
    >>> A.todense().tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    config = eqn.params["padding_config"]
    shape = eqn.outvars[0].aval.shape
    margin = _margin(eqn.invars[0].aval.shape, config)
    parts = []
    if depends(x):
        parts.append(
            element_moves.pad(x, config, bool(margin.any()) and not depends(fill) and not is_zero(fill))
        )
    if depends(fill) and fill.size:
        parts.append(
            element_moves.take(fill, np.where(margin, 0, -1), affine=not depends(x) and not is_zero(x))
        )
    if not parts:
        parts.append(Linear(shape, eqn.outvars[0].aval.dtype))
    return sums.add(parts, eqn.outvars[0].aval.dtype)


def _margin(shape: tuple[int, ...], config: Any) -> np.ndarray:
    return factors.pad(
        np.zeros(shape, bool), [(int(low), int(high), int(interior)) for low, high, interior in config], True
    )


@rule(split_p)
def _split(scope: Scope, eqn: Equation, x: Linear) -> list[Linear]:
    """y_k[i] = x[a_k + i] with a_k the sum of the sizes before: the rows of the matrix are dealt out.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.matrix_from_function(lambda x: jnp.split(x, [1])[1], np.zeros(3))[0].todense().tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    axis, start, parts = eqn.params["axis"], 0, []
    for size in eqn.params["sizes"]:
        low, high = [0] * len(x.shape), list(x.shape)
        low[axis], high[axis] = start, start + size
        parts.append(element_moves.cut(x, low, high))
        start += size
    return parts


@rule(stack_p)
def _stack(scope: Scope, eqn: Equation, *inputs: Any) -> Linear:
    """y[k] = x_k along a new axis: the rows of all operands one after another.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.matrix_from_function(lambda x: jnp.stack([x, 2 * x]), np.zeros(1))[0].todense().tolist()
    [[1.0], [2.0]]
    """
    axis, out = eqn.params["axis"], eqn.outvars[0].aval
    layer = (*out.shape[:axis], 1, *out.shape[axis + 1 :])
    layers = [element_moves.reshape(x, layer) if depends(x) else _reshaped(x, layer) for x in inputs]
    return join(layers, [layer] * len(layers), axis, out.shape, out.dtype)


def _reshaped(known: Any, shape: tuple[int, ...]) -> Any:
    return known if known is factors.OPAQUE else known.reshape(shape)


@rule(unstack_p)
def _unstack(scope: Scope, eqn: Equation, x: Linear) -> list[Linear]:
    """y_k = x[k] along an axis, which disappears: the rows of the matrix are dealt out.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.matrix_from_function(lambda x: jnp.unstack(x)[1], np.zeros((2, 1)))[0].todense().tolist()
    [[0.0, 1.0]]
    """
    axis = eqn.params["axis"]
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    low, high = [0] * len(x.shape), list(x.shape)
    layers = []
    for k in range(x.shape[axis]):
        low[axis], high[axis] = k, k + 1
        layers.append(element_moves.reshape(element_moves.cut(x, low, high), shape))
    return layers


@rule(tile_p)
def _tile(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[k n + i] = x[i]: every axis becomes a pair (copy, element), of which nothing depends on the first.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.matrix_from_function(lambda x: jnp.tile(x, 2), np.zeros(2))[0].indices[:, 1].tolist()
    [0, 1, 0, 1]
    """
    reps, out = eqn.params["reps"], eqn.outvars[0].aval
    sizes = (1,) * (len(reps) - len(x.shape)) + x.shape
    pairs = tuple(n for pair in zip(reps, sizes, strict=True) for n in pair)
    axes = range(2 * (len(reps) - len(x.shape)) + 1, len(pairs), 2)
    return element_moves.reshape(element_moves.broadcast(x, pairs, axes), out.shape)


@rule(prims.concatenate_p)
def _concatenate(scope: Scope, eqn: Equation, *inputs: Any) -> Linear:
    """y = (x_0, x_1, ...): the rows of all operands one after another.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jnp.concatenate([x, 2 * x]), np.zeros(1))
    >>> A.todense().tolist()
    [[1.0], [2.0]]
    """
    out = eqn.outvars[0].aval
    return join(inputs, [v.aval.shape for v in eqn.invars], eqn.params["dimension"], out.shape, out.dtype)


@rule(prims.sort_p)
def _sort(scope: Scope, eqn: Equation, *inputs: Any) -> list[Any]:
    """y[i] = x[p[i]] with p the permutation that sorts known keys: the order must not depend on the unknown.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jax.lax.sort((np.array([2, 1]), x), num_keys=1)[1], np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    keys = inputs[: eqn.params["num_keys"]]
    axis = eqn.params["dimension"]
    if not all(isinstance(key, np.ndarray) for key in keys):
        return dense(scope, eqn, inputs, complex_linear=True)
    order = np.lexsort([np.moveaxis(key, axis, -1) for key in keys[::-1]], axis=-1)
    positions = np.arange(order.size).reshape([s for d, s in enumerate(keys[0].shape) if d != axis] + [-1])
    positions = np.moveaxis(np.take_along_axis(positions, order, -1), -1, axis)
    return [
        element_moves.take(x, positions) if depends(x) else _reorder(x, positions, keys[0].shape, axis)
        for x in inputs
    ]


def _reorder(x: Any, positions: np.ndarray, shape: tuple[int, ...], axis: int) -> Any:
    if isinstance(x, np.ndarray):
        return np.moveaxis(x, axis, -1).reshape(-1)[positions]
    return lax.reshape(x, (x.size,))[positions] if x is not factors.OPAQUE else x
