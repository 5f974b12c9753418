"""Units: operators of ordinary size, whatever the units of A are.

In float32 the product of an entry 1e-37 and a number below 0.1 is zero. So no number near the ends of the range of its
dtype meets another one before it is scaled, and every scale is a power of two, which is exact.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.shards import greatest, length
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import exponent, mul, peak, plain_norm, power, scattered
from jaxsolve.operators.host_products import HostOperator, Products
from jaxsolve.operators.operator import LinearOperator, Wrapper


class Rescaled(Wrapper):
    """2^k A, applied as outer (A (inner x)): each side takes half of a factor that may be at the end of the range."""

    operator: LinearOperator
    inner: Array
    outer: Array

    @property
    def traits(self) -> Traits:
        """The facts about A: the factor is positive."""
        return self.operator.traits

    def mv(self, x: Array) -> Array:
        """The product 2^k A x."""
        return mul(self.outer, self.operator.mv(mul(self.inner, x)))

    def transpose(self) -> LinearOperator:
        """The scaled transpose."""
        return Rescaled(self.operator.T, self.inner, self.outer)

    def adjoint(self) -> LinearOperator:
        """The scaled adjoint."""
        return Rescaled(self.operator.H, self.inner, self.outer)

    def conj(self) -> LinearOperator:
        """The scaled conjugate."""
        return Rescaled(self.operator.conj(), self.inner, self.outer)

    def on_host(self) -> HostOperator:
        """The scaled products."""
        inner = self.operator.on_host()
        first, second = np.asarray(self.inner)[()], np.asarray(self.outer)[()]
        return Products(
            self.shape,
            np.result_type(inner.dtype, first),
            lambda x: second * inner.matvec(first * x),
            lambda x: second * inner.rmatvec(first * x),
        )

    def leading_row_sums(self, count: int) -> Array | None:
        """The sums of the first rows, where they are cheap to know."""
        sums = self.operator.leading_row_sums(count)
        return None if sums is None else mul(self.outer, mul(self.inner, sums))


def rescaled(A: LinearOperator, k: Array, real: jnp.dtype) -> Rescaled:
    """2^k A, the factor in the dtype `real`."""
    return Rescaled(A, power(k // 2, real), power(k - k // 2, real))


def unit_of(A: LinearOperator, b: Array) -> tuple[Array, int]:
    """The power of two nearest to the size of A's entries, NaN where they are not finite, in the precision of b.

    Returns:
        The unit, and the products spent to learn it.
    """
    real = jnp.finfo(b.dtype).dtype
    size, products = A.magnitude(), 0
    if size is not None:
        size = greatest(size)
    else:
        # One product with numbers of mean square 1/12 has entries of the size of A's rows.
        probe = scattered(A.shape[1], real).astype(b.dtype)
        size, products = _rms(lax.optimization_barrier(A.mv(probe))) * jnp.sqrt(12.0), 1
    unit = power(exponent(size), size.dtype)
    return jnp.where(jnp.isfinite(size), unit, jnp.nan).astype(real), products


def _rms(v: Array) -> Array:
    largest = peak(v)
    scale = power(-exponent(largest), largest.dtype)
    # What is not finite stays so: its scale is 1.
    return (
        plain_norm(mul(scale, v)) / jnp.sqrt(jnp.asarray(max(length(v.shape[0]), 1), largest.dtype)) / scale
    )
