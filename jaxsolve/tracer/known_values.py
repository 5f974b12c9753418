"""Known values: equations that do not touch the unknown, evaluated on the host where their inputs are there.

NumPy does what is exact in any order (indices, masks, copies, products); everything else is left to JAX, run at once.
Broadcasts stay views, so that a constant fill of 10⁷ elements costs nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import Equation, Primitive, Tracer, bind, prims, sparse_transpose_p, stack_p, tile_p
from jaxsolve.tracer.factors import OPAQUE, is_host


def _broadcast(
    a: np.ndarray, *, shape: tuple[int, ...], broadcast_dimensions: Sequence[int], **_: Any
) -> np.ndarray:
    sizes = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, a.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(a.reshape(sizes), shape)


def _iota(*, dtype: Any, shape: tuple[int, ...], dimension: int, **_: Any) -> np.ndarray:
    sizes = [1] * len(shape)
    sizes[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(sizes), shape)


def _slice(a: np.ndarray, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> np.ndarray:
    steps = [1] * a.ndim if strides is None else strides
    return a[tuple(slice(i, j, k) for i, j, k in zip(start_indices, limit_indices, steps, strict=True))]


def _select(which: np.ndarray, *cases: np.ndarray, **_: Any) -> np.ndarray:
    if len(cases) == 2:
        return np.where(which.astype(bool), cases[1], cases[0])
    return np.select([which == k for k in range(len(cases))], list(cases))


def _integer_division(a: np.ndarray, b: np.ndarray, **_: Any) -> np.ndarray:
    if np.issubdtype(a.dtype, np.inexact):
        return np.true_divide(a, b)
    if not np.all(b):
        raise ZeroDivisionError
    return (np.sign(a) * np.sign(b) * (abs(a) // abs(b))).astype(a.dtype)


_NUMPY: dict[Primitive, Callable[..., Any]] = {
    prims.add_p: lambda a, b, **_: np.add(a, b),
    prims.sub_p: lambda a, b, **_: np.subtract(a, b),
    prims.mul_p: lambda a, b, **_: np.multiply(a, b),
    prims.div_p: _integer_division,
    prims.neg_p: lambda a, **_: np.negative(a),
    prims.lt_p: lambda a, b, **_: a < b,
    prims.le_p: lambda a, b, **_: a <= b,
    prims.gt_p: lambda a, b, **_: a > b,
    prims.ge_p: lambda a, b, **_: a >= b,
    prims.eq_p: lambda a, b, **_: a == b,
    prims.ne_p: lambda a, b, **_: a != b,
    prims.and_p: lambda a, b, **_: a & b,
    prims.or_p: lambda a, b, **_: a | b,
    prims.not_p: lambda a, **_: ~a,
    prims.max_p: lambda a, b, **_: np.maximum(a, b),
    prims.min_p: lambda a, b, **_: np.minimum(a, b),
    prims.select_n_p: _select,
    prims.convert_element_type_p: lambda a, *, new_dtype, **_: _converted(a, new_dtype),
    prims.broadcast_in_dim_p: _broadcast,
    prims.iota_p: _iota,
    prims.reshape_p: lambda a, *, new_sizes, **_: a.reshape(new_sizes),
    prims.squeeze_p: lambda a, *, dimensions, **_: a.squeeze(dimensions),
    prims.transpose_p: lambda a, *, permutation, **_: a.transpose(permutation),
    prims.rev_p: lambda a, *, dimensions, **_: np.flip(a, dimensions),
    prims.slice_p: _slice,
    prims.concatenate_p: lambda *a, dimension, **_: np.concatenate(a, dimension),
    stack_p: lambda *a, axis, **_: np.stack(a, axis),
    tile_p: lambda a, *, reps, **_: np.tile(a, reps),
    prims.copy_p: lambda a, **_: a,
}


def _converted(a: np.ndarray, dtype: Any) -> np.ndarray:
    if a.dtype == dtype:
        return a
    if np.issubdtype(a.dtype, np.complexfloating) and not np.issubdtype(dtype, np.complexfloating):
        a = np.real(a)
    # What repeats along an axis is converted once.
    index = tuple(slice(0, 1) if s == 0 else slice(None) for s in a.strides)
    return np.broadcast_to(a[index].astype(dtype), a.shape)


def known_result(eqn: Equation, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of an equation whose inputs are known: NumPy arrays where all inputs are, else traced arrays."""
    if any(value is OPAQUE for value in inputs):
        return [OPAQUE] * len(eqn.outvars)
    if not all(is_host(value) for value in inputs):
        outputs = _bind(eqn, inputs)
        if eqn.primitive is sparse_transpose_p and is_host(inputs[1]) and inputs[1].ndim == 2:
            outputs[1] = transposed_indices(inputs[1], eqn)
        return outputs
    function = _NUMPY.get(eqn.primitive)
    if function is not None:
        try:
            with np.errstate(all="ignore"):
                result = np.asarray(function(*[np.asarray(v) for v in inputs], **eqn.params))
            return [result.astype(eqn.outvars[0].aval.dtype, copy=False)]
        except (ZeroDivisionError, TypeError):
            pass  # a case or a dtype that NumPy does not know
    with jax.ensure_compile_time_eval():
        outputs = _bind(eqn, inputs)
        if all(not isinstance(o, Tracer) and _has_host_form(o) for o in outputs):
            return [np.asarray(o) for o in outputs]
    return outputs


def transposed_indices(indices: np.ndarray, eqn: Equation) -> np.ndarray:
    """The indices of a transposed BCOO without batch axes, known where those of the matrix are."""
    return indices[:, list(eqn.params["permutation"][: indices.shape[1]])]


def _has_host_form(output: Any) -> bool:
    return not jnp.issubdtype(output.dtype, jax.dtypes.extended)


def _bind(eqn: Equation, inputs: Sequence[Any]) -> list[Any]:
    values = [
        jnp.asarray(value, variable.aval.dtype) if is_host(value) else value
        for value, variable in zip(inputs, eqn.invars, strict=True)
    ]
    return bind(eqn, values)
