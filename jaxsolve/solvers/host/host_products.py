"""Operators as SciPy sees them: products by NumPy and SciPy, rebuilt inside of a callback."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator as HostOperator
from scipy.sparse.linalg import aslinearoperator

from jaxsolve.core.memo import compiled
from jaxsolve.operators.adjoint_pair import Paired
from jaxsolve.operators.algebra import Diagonal, Identity
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import RowsOperator, plan_rows
from jaxsolve.operators.operator import (
    Conjugated,
    Declared,
    LinearOperator,
    Product,
    Scaled,
    Sum,
    Transposed,
)
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.host.factor import apply
from jaxsolve.solvers.host.host_inverse import HostInverse, factor_of
from jaxsolve.solvers.nullspace import Compressed
from jaxsolve.solvers.units import Rescaled

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


@functools.singledispatch
def on_host(A: LinearOperator) -> HostOperator:
    """The SciPy operator with the products of A, whose leaves are NumPy arrays.

    Known operators need NumPy alone. Others (functions) run their compiled product, which is started from inside of a
    callback: on the CPU, one at a time.
    """
    forward, backward = _compiled(A)
    return Products(A.shape, A.dtype, forward, backward)


@on_host.register
def _(A: SparseMatrix) -> HostOperator:
    return aslinearoperator(A.pattern.to_scipy(A.data))


@on_host.register
def _(A: DenseMatrix) -> HostOperator:
    return aslinearoperator(np.asarray(A.matrix))


@on_host.register
def _(A: RowsOperator) -> HostOperator:
    slots = np.concatenate([np.asarray(A.values).reshape(-1), np.asarray(A.tail[0])])
    return aslinearoperator(A.pattern.to_scipy(slots[plan_rows(A.pattern).slots]))


@on_host.register
def _(A: DiagonalsOperator) -> HostOperator:
    m, n = A.shape
    values = np.asarray(A.values)
    # SciPy stores diagonal k by columns: entry [k, j] is A[j - offset, j].
    shifted = np.zeros((len(A.offsets), n), values.dtype)
    for k, offset in enumerate(A.offsets):
        first, last = max(0, -offset), min(m, n - offset)
        if last > first:
            shifted[k, first + offset : last + offset] = values[k, first:last]
    return aslinearoperator(scipy.sparse.dia_matrix((shifted, A.offsets), shape=(m, n)).tocsr())


@on_host.register
def _(A: Identity) -> HostOperator:
    return aslinearoperator(scipy.sparse.csr_matrix(scipy.sparse.diags_array(np.ones(A.size, A.dtype))))


@on_host.register
def _(A: Diagonal) -> HostOperator:
    return aslinearoperator(scipy.sparse.diags_array(np.asarray(A.values), format="csr"))


@on_host.register
def _(A: Scaled) -> HostOperator:
    inner = on_host(A.operator)
    factor = np.asarray(A.factor)[()]
    return Products(
        A.shape,
        np.result_type(inner.dtype, factor),
        lambda x: factor * inner.matvec(x),
        lambda x: np.conj(factor) * inner.rmatvec(x),
    )


@on_host.register
def _(A: Rescaled) -> HostOperator:
    inner = on_host(A.operator)
    first, second = np.asarray(A.inner)[()], np.asarray(A.outer)[()]
    return Products(
        A.shape,
        np.result_type(inner.dtype, first),
        lambda x: second * inner.matvec(first * x),
        lambda x: second * inner.rmatvec(first * x),
    )


@on_host.register(Declared)
@on_host.register(Paired)
def _(A: Declared | Paired) -> HostOperator:
    return on_host(A.operator)


@on_host.register
def _(A: Transposed) -> HostOperator:
    return on_host(A.operator).T


@on_host.register
def _(A: Conjugated) -> HostOperator:
    return on_host(A.operator).T.H


@on_host.register
def _(A: Sum) -> HostOperator:
    return _operator(on_host(A.left) + on_host(A.right))


@on_host.register
def _(A: Product) -> HostOperator:
    return _operator(on_host(A.left) @ on_host(A.right))


@on_host.register
def _(A: Compressed) -> HostOperator:
    inner, basis = on_host(A.operator), np.asarray(A.nulls.basis)

    def kept(v: np.ndarray) -> np.ndarray:
        return v - basis @ (basis.conj().T @ v)

    return Products(
        A.shape,
        np.result_type(inner.dtype, basis.dtype),
        lambda x: kept(inner.matvec(kept(x))),
        lambda x: kept(inner.rmatvec(kept(x))),
    )


@on_host.register
def _(A: HostInverse) -> HostOperator:
    factor = factor_of(A.recipe, np.asarray(A.key), np.asarray(A.data))

    def solve(x: np.ndarray, transposed: bool) -> np.ndarray:
        return apply(factor, x.reshape(1, -1), transposed)[0]

    return Products(
        A.shape,
        A.dtype,
        lambda x: solve(x, A.transposed),
        # A⁻ᴴ x = conj(A⁻ᵀ conj(x))
        lambda x: solve(x.conj(), not A.transposed).conj(),
    )


def _operator(combined: Any) -> HostOperator:
    # SciPy's sums and products of operators are operators, which their types leave open.
    return combined


@compiled
def _product(A: LinearOperator, x: Any) -> Any:
    return A.mv(x)


@compiled
def _adjoint_product(A: LinearOperator, x: Any) -> Any:
    return A.H.mv(x)


def _compiled(
    A: LinearOperator,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The product and the adjoint product of A as compiled functions of NumPy arrays."""
    cpu = jax.devices("cpu")[0]
    # Moved in so many words, for those who forbid other transfers.
    A = jax.device_put(A, cpu)

    def run(product: Any, x: np.ndarray) -> np.ndarray:
        with jax.default_device(cpu):
            # A copy: SciPy's methods write into what a product returns.
            return np.array(jax.block_until_ready(product(A, jax.device_put(x, cpu))))

    return functools.partial(run, _product), functools.partial(run, _adjoint_product)
