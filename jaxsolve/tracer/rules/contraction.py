"""Products with known matrices and convolutions with known kernels."""

from typing import Any

import numpy as np

from jaxsolve.core.compat import Equation, prims
from jaxsolve.tracer import element_moves, sums
from jaxsolve.tracer.either_moves import cut, padded, reshaped, turned
from jaxsolve.tracer.products import contract
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
    image = turned(image, numbers.lhs_spec)
    kernel = turned(kernel, numbers.rhs_spec)
    shape = [eqn.invars[0].aval.shape[d] for d in numbers.lhs_spec]
    taps = [eqn.invars[1].aval.shape[d] for d in numbers.rhs_spec]
    space = [out.shape[d] for d in numbers.out_spec[2:]]
    config = [(0, 0, 0)] * 2 + [
        (low, high, d - 1) for (low, high), d in zip(p["padding"], p["lhs_dilation"], strict=True)
    ]
    image = padded(image, config)
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
        seen = reshaped(cut(image, index), (batches, n, groups, channels, *space))
        point = cut(kernel, [(0, taps[0], 1), (0, taps[1], 1)] + [(k, k + 1, 1) for k in tap])
        if isinstance(point, np.ndarray) and not point.any():
            continue
        point = reshaped(point, (batches, groups, outputs, channels))
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
