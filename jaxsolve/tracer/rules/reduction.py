"""Sums over axes, running sums and sums over windows."""

import numpy as np

from jaxsolve.core.compat import Equation, prims
from jaxsolve.tracer import element_moves, sums
from jaxsolve.tracer.products import contract, total, within_budget
from jaxsolve.tracer.rule_registry import Scope, rule
from jaxsolve.tracer.value import Linear

#: Windows of up to this many points become one term a point; larger ones one term with a trailing axis.
MOST_TAPS = 64


@rule(prims.reduce_sum_p)
def _sum(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[i] = Σ_j x[i, j]: the rows along the summed axes become one.

    >>> import jaxsolve as js
    >>> js.matrix_from_function(lambda x: x.sum(1), np.zeros((2, 2)))[0].todense().tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    return total(x, [int(a) for a in eqn.params["axes"]])


@rule(prims.cumsum_p)
def _running_sum(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[i] = Σ_{j ≤ i} x[j], reversed Σ_{j ≥ i}: a product with the triangle of ones.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.matrix_from_function(jnp.cumsum, np.zeros(2))[0].todense().tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    axis, size = eqn.params["axis"], x.shape[eqn.params["axis"]]
    within_budget(x.entries * size)
    before = np.tri(size, dtype=x.dtype)
    y = contract(
        x, before.T if eqn.params["reverse"] else before, (size, size), ([axis], [1], [], []), x.dtype
    )
    # The summed axis comes out last.
    return element_moves.transpose(y, [*range(axis), len(x.shape) - 1, *range(axis, len(x.shape) - 1)])


@rule(prims.reduce_window_sum_p)
def _window_sum(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[i] = Σ_k x[s i + d k] over the points k of a window: a convolution whose kernel is one.

    >>> import jax, jaxsolve as js
    >>> js.matrix_from_function(
    ...     lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (2,), (1,), "VALID"), np.zeros(3)
    ... )[0].todense().tolist()
    [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    """
    p = eqn.params
    steps, spread = p["window_strides"], p["window_dilation"]
    config = [(low, high, d - 1) for (low, high), d in zip(p["padding"], p["base_dilation"], strict=True)]
    out = eqn.outvars[0].aval
    window = p["window_dimensions"]
    x = element_moves.pad(x, config)

    def start(tap: tuple[int, ...]) -> list[int]:
        return [k * d for k, d in zip(tap, spread, strict=True)]

    if np.prod(window, dtype=int) <= MOST_TAPS:
        pieces = []
        for tap in np.ndindex(*window):
            limits = [a + (n - 1) * s + 1 for a, n, s in zip(start(tap), out.shape, steps, strict=True)]
            pieces.append(element_moves.cut(x, start(tap), np.maximum(limits, start(tap)).tolist(), steps))
        return sums.add(pieces, out.dtype) if pieces else Linear(out.shape, out.dtype)
    positions = np.zeros((1,) * 2 * len(window), np.int64)
    for axis, size in enumerate(x.shape):
        reach = np.arange(out.shape[axis])[:, None] * steps[axis] + np.arange(window[axis]) * spread[axis]
        shape = [1] * positions.ndim
        shape[axis], shape[len(window) + axis] = reach.shape
        positions = positions * size + reach.reshape(shape)
    return total(element_moves.take(x, positions), range(len(window), 2 * len(window)))
