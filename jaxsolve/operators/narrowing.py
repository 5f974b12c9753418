"""Narrowing: an operator in a unit of its own and in a lower precision.

The unit comes first: entries of 1e±300 have no place in float32, their ratios to the largest one do.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common, typed
from jaxsolve.core.vector import mul, power
from jaxsolve.operators.coo import CoordinateOperator
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.diagonal import Diagonal
from jaxsolve.operators.ell import RowsOperator
from jaxsolve.operators.operator import Declared, LinearOperator, Sum, Wrapper
from jaxsolve.operators.sparse import SparseMatrix

#: Operators that are linear in each of their inexact arrays, so that a factor of these is one of the operator.
BY_ENTRIES = (DenseMatrix, SparseMatrix, DiagonalsOperator, RowsOperator, CoordinateOperator, Diagonal)


def narrow(dtype: Any, real: Any) -> Any:
    """The dtype of numbers of `dtype` in the precision of `real`: complex ones stay complex.

    >>> narrow(jnp.complex128, jnp.float32), narrow(jnp.float64, jnp.float32)
    (dtype('complex64'), dtype('float32'))
    """
    return common(real, jnp.complex64) if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.dtype(real)


def narrowed(A: LinearOperator, k: Array, real: Any) -> LinearOperator:
    """2^k A in the precision of `real`, real where A is.

    Args:
        A: An operator in the precision of the system. One that is known by its products alone is multiplied in its
            own precision, or in that of its `astype`; its vectors are converted.
        k: An integer, that brings the largest entry near 1.
        real: A real dtype.
    """
    if isinstance(A, BY_ENTRIES):
        return jax.tree.map(lambda v: _narrowed_array(v, k, real), A)
    if isinstance(A, Declared):
        return Declared(narrowed(A.operator, k, real), A.declared)
    if isinstance(A, Sum):
        return Sum(narrowed(A.left, k, real), narrowed(A.right, k, real))
    wide = jnp.finfo(A.dtype).dtype
    kind = narrow(A.dtype, real)
    return Converted(A.astype(kind), power(k // 2, wide), power(k - k // 2, wide), real)


def _narrowed_array(v: Any, k: Array, real: Any) -> Any:
    if not jnp.issubdtype(v.dtype, jnp.inexact):
        return v
    # XLA converts constants while it compiles, and takes seconds for a million.
    v, wide = lax.optimization_barrier(v), jnp.finfo(v.dtype).dtype
    return mul(power(k - k // 2, wide), mul(power(k // 2, wide), v)).astype(narrow(v.dtype, real))


class Converted(Wrapper):
    """2^k A for vectors of a lower precision, by products in that of A: outer (A (inner x)).

    Args:
        operator: A.
        inner: Half of the factor.
        outer: The other half.
        real: The precision of the vectors.
    """

    operator: LinearOperator
    inner: Array
    outer: Array
    real: Any = eqx.field(static=True)

    @property
    def dtype(self) -> Any:
        """The dtype of the products."""
        return narrow(self.operator.dtype, self.real)

    @property
    def traits(self) -> Traits:
        """The facts about A: the factor is positive."""
        return self.operator.traits

    def mv(self, x: Array) -> Array:
        """The product 2^k A x."""
        x = mul(self.inner, typed(x, common(x, self.operator.dtype)))
        y = mul(self.outer, self.operator.mv(x))
        return y.astype(narrow(y.dtype, self.real))

    def transpose(self) -> LinearOperator:
        """The same of the transpose."""
        return Converted(self.operator.T, self.inner, self.outer, self.real)

    def adjoint(self) -> LinearOperator:
        """The same of the adjoint."""
        return Converted(self.operator.H, self.inner, self.outer, self.real)

    def conj(self) -> LinearOperator:
        """The same of the conjugate."""
        return Converted(self.operator.conj(), self.inner, self.outer, self.real)

    def diagonal(self) -> Array:
        """The diagonal."""
        return self._scaled(self.operator.diagonal())

    def known_diagonal(self) -> Array | None:
        """The diagonal where A knows its own."""
        found = self.operator.known_diagonal()
        return None if found is None else self._scaled(found)

    def _scaled(self, v: Array) -> Array:
        return mul(self.outer, mul(self.inner, v)).astype(narrow(v.dtype, self.real))
