"""Products on the host: operators as SciPy sees them, by NumPy, or compiled and called from inside of a callback."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.sparse.linalg import LinearOperator as HostOperator

from jaxsolve.core.memo import compiled

Apply = Callable[[np.ndarray], np.ndarray]


class Products(HostOperator):
    """A SciPy operator of two functions."""

    def __init__(self, shape: tuple[int, int], dtype: Any, matvec: Apply, rmatvec: Apply):
        super().__init__(np.dtype(dtype), shape)
        self._forward = matvec
        self._backward = rmatvec

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._forward(x)

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return self._backward(x)


def combined(operators: Any) -> HostOperator:
    """The same: SciPy's sums and products of operators are operators, which their types leave open."""
    return operators


@compiled
def _product(A: Any, x: Any) -> Any:
    return A.mv(x)


@compiled
def _adjoint_product(A: Any, x: Any) -> Any:
    return A.H.mv(x)


def compiled_products(A: Any) -> HostOperator:
    """The product and the adjoint product of an operator as compiled functions of NumPy arrays."""
    cpu = jax.devices("cpu")[0]
    # Moved in so many words, for those who forbid other transfers.
    moved = jax.device_put(A, cpu)

    def run(product: Any, x: np.ndarray) -> np.ndarray:
        with jax.default_device(cpu):
            # A copy: SciPy's methods write into what a product returns.
            return np.array(jax.block_until_ready(product(moved, jax.device_put(x, cpu))))

    return Products(
        A.shape, A.dtype, functools.partial(run, _product), functools.partial(run, _adjoint_product)
    )
