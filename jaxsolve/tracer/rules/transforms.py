"""Fourier transforms: dense along the axes that they couple, and only along those."""

from typing import Any

import numpy as np

from jaxsolve.core.compat import Equation, prims
from jaxsolve.tracer import complex_parts, element_moves, sums
from jaxsolve.tracer.products import contract, within_budget
from jaxsolve.tracer.rule_registry import Scope, rule
from jaxsolve.tracer.value import Linear


@rule(prims.fft_p)
def _fft(scope: Scope, eqn: Equation, x: Linear) -> Linear:
    """y[k] = Σ_j x[j] exp(-2πi j k / n): a product with the Fourier matrix along each axis; its inverse for "IFFT".

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.matrix_from_function(jnp.fft.rfft, np.zeros(2))[0].todense().tolist()
    [[(1+0j), (1+0j)], [(1+0j), (-1+0j)]]
    """
    kind, sizes = eqn.params["fft_type"].name, eqn.params["fft_lengths"]
    out = eqn.outvars[0].aval
    axes = range(len(x.shape) - len(sizes), len(x.shape))
    dtype = out.dtype if complex_parts.is_complex(out.dtype) else x.dtype
    inverse = kind in ("IFFT", "IRFFT")
    function = np.fft.ifft if inverse else np.fft.fft
    last = axes[-1]
    if kind == "RFFT":
        within_budget(x.entries * out.shape[-1])
        x = _along(x, last, np.fft.fft(np.eye(sizes[-1]), axis=0)[: out.shape[-1]], dtype)
    for axis, size in zip(axes, sizes, strict=True):
        if kind in ("FFT", "IFFT") or axis != last:
            within_budget(x.entries * size)
            x = _along(x, axis, function(np.eye(size), axis=0), dtype)
    if kind != "IRFFT":
        return x
    # Linear over the real numbers only: the imaginary part of the first coefficient is ignored, ...
    within_budget(x.entries * sizes[-1])
    half = np.eye(x.shape[-1])
    real, imag = complex_parts.real(scope, x, out.dtype), complex_parts.imag(scope, x, out.dtype)
    pieces = [
        _along(part, last, np.fft.irfft(unit * half, sizes[-1], axis=0), out.dtype)
        for part, unit in ((real, 1), (imag, 1j))
    ]
    return sums.add(pieces, out.dtype)


def _along(x: Linear, axis: int, matrix: np.ndarray, dtype: Any) -> Linear:
    y = contract(x, matrix.astype(dtype), matrix.shape, ([axis], [1], [], []), dtype)
    rank = len(x.shape)
    return element_moves.transpose(y, [*range(axis), rank - 1, *range(axis, rank - 1)])
