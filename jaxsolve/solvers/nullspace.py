"""NullSpace: what A maps to zero, kept out of the iteration and out of the solution."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.results import is_any_of
from jaxsolve.core.shards import cond, joined_axes, length, ones, summed
from jaxsolve.core.status import CONVERGED, Status
from jaxsolve.core.tree import common, typed
from jaxsolve.core.vector import applied, dot, mul, norm, peak, scattered
from jaxsolve.operators.adjoint_pair import product_if
from jaxsolve.operators.host_products import HostOperator, Products
from jaxsolve.operators.operator import LinearOperator, Sum, Wrapper

#: So many rows are summed before all are: the first boundary condition rules the constants out.
_ROWS = 64


class NullSpace(eqx.Module):
    """An orthonormal basis of the null space of A and of its adjoint, or the order to look for the constants.

    Args:
        basis: Shape (n, k), orthonormal; None where nothing is known.
        detect: Whether to test if A maps constants to zero.
        found: Whether that was so (set by `detected`); under `constants` for each of these.
        constants: Shape (n, k), orthonormal: the constants of a system over real and imaginary parts, which has two.
            None for the one whose elements are all equal.
        exact: Whether A and Aᴴ map the basis to zero (set by `verified`): products with A then have no part in it, and
            none is taken out of them. None where that was not looked for.
    """

    basis: Array | None = None
    detect: bool = eqx.field(static=True, default=False)
    found: Any = None
    constants: Array | None = None
    exact: Array | None = None

    def detected(self, A: LinearOperator, unit: Array) -> tuple["NullSpace", int]:
        """This null space with the result of the test on A, whose entries have size `unit`; and its products."""
        m, n = A.shape
        if not self.detect or m != n or length(n) < 2:
            return self, 0
        # Rows of a few dozen entries sum to zero up to rounding of about their number times eps.
        tiny = 100 * jnp.finfo(unit.dtype).eps * unit
        if self.constants is not None:
            each = (self.constants != 0).astype(common(A.dtype, unit)).T
            finite = jnp.isfinite(unit)
            found = jnp.stack([peak(product_if(finite, A, one)) <= tiny for one in each])
            return NullSpace(None, True, found, self.constants), len(each)
        constant = ones(n, common(A.dtype, unit))

        first = None if joined_axes() else A.leading_row_sums(_ROWS)
        if first is None:
            return NullSpace(None, True, peak(product_if(jnp.isfinite(unit), A, constant)) <= tiny), 1
        plausible = jnp.max(jnp.abs(first)) <= tiny
        found = plausible & (jnp.max(jnp.abs(product_if(plausible, A, constant))) <= tiny)
        return NullSpace(None, True, found), 0

    def verified(self, A: LinearOperator, unit: Array) -> tuple["NullSpace", int]:
        """This null space with the result of a test whether A, of entries of size `unit`, and Aᴴ map it to zero.

        With a combination v of the basis and a vector u of no order, A v = 0 and vᴴA u = 0 by chance only if not for
        all of them. The second needs no adjoint. The products are returned too.
        """
        if self.basis is None or not self.basis.size:
            return self, 0
        (n, k), real = self.basis.shape, unit.dtype
        v = applied(self.basis, 1 + scattered(k, real))
        u = scattered(n, real).astype(v.dtype)
        Av, Au = lax.map(A.mv, jnp.stack([v, u]))
        largest = peak(v)
        tiny = 100 * jnp.finfo(real).eps * unit * largest
        # The sum over a column is one of n terms whose rounding has no order.
        exact = (peak(Av) <= tiny) & (jnp.abs(dot(v, Au)) <= math.sqrt(length(n)) * tiny)
        return NullSpace(self.basis, exact=exact), 2

    def transposed(self) -> "NullSpace":
        """The null space of the transpose: the conjugate basis."""
        return self if self.basis is None else NullSpace(jnp.conj(self.basis), exact=self.exact)

    def project(self, v: Array) -> Array:
        """v without its component in the declared null space."""
        if self.basis is None:
            return v
        if self.basis.shape[1] == 1:
            # On a CPU a matrix of one column is multiplied three times slower than a vector.
            q = self.basis[:, 0]
            return v - mul(dot(q, v), q)
        return v - applied(self.basis, summed(applied(jnp.conj(self.basis.T), v)))

    def project_solution(self, v: Array) -> Array:
        """v without its component in the declared or detected null space."""
        if self.found is None:
            return self.project(v)
        if self.constants is not None:
            return v - self.constants @ jnp.where(self.found, summed(self.constants.T @ v), 0)
        return cond(self.found, lambda: _without_mean(v), lambda: v)

    @property
    def singular(self) -> Any:
        """Whether constants were found to be mapped to zero, None where that was not looked for."""
        return self.found if self.constants is None or self.found is None else jnp.any(self.found)

    def where_singular(self, value: Array) -> Array:
        """The value where A is known to be singular, else 0."""
        if self.found is not None:
            return jnp.where(self.singular, value, 0)
        return value if self.basis is not None else jnp.zeros_like(value)

    def compressed(self, A: LinearOperator) -> LinearOperator:
        """P A P with the projector P onto the complement; A itself where no basis is declared."""
        return A if self.basis is None else Compressed(A, self)

    def regularized(self, A: LinearOperator) -> LinearOperator:
        """A + u Q Qᴴ, u the size of its entries: the same on the complement, and invertible where A is singular."""
        unit = A.magnitude()
        unit = jnp.ones((), A.dtype).real if unit is None else unit
        if self.basis is not None:
            return Sum(A, _Projector(self.basis, unit))
        found, _ = self.detected(A, unit)
        if found.found is None:
            return A
        if self.constants is not None:
            return Sum(A, _Projector(jnp.where(found.found, self.constants, 0), unit))
        n = A.shape[0]
        ones = jnp.full((n, 1), 1 / math.sqrt(n), A.dtype)
        return Sum(A, _Projector(ones, jnp.where(found.found, unit, 0)))

    def explain(self, status: Array, r: Array, target: Array, A: LinearOperator) -> Array:
        """The status of a failure, where the part of the residual that A cannot reach explains it.

        Args:
            status: How it ended.
            r: The residual.
            target: The norm it had to reach.
            A: The operator, its entries near 1: nothing follows of a basis that A or its adjoint does not map to zero.
        """
        failed = ~is_any_of(status, CONVERGED) & (status != int(Status.invalid_input))
        if self.basis is not None:
            unreachable = failed & (norm(r - self.project(r)) > target)
            n, k = self.basis.shape
            v = applied(self.basis, 1 + scattered(k, target.dtype))
            u = scattered(n, target.dtype).astype(v.dtype)
            Av, Au = (product_if(unreachable, A, w) for w in (v, u))
            # A basis may be computed, to half the digits.
            tiny = math.sqrt(jnp.finfo(target.dtype).eps) * peak(v)
            # b is out of reach of A where Aᴴ maps the basis to zero: vᴴA u = 0 for a vector u of no order.
            mapped = (peak(Av) <= tiny) & (jnp.abs(dot(v, Au)) <= math.sqrt(length(n)) * tiny)
            return jnp.where(unreachable & mapped, int(Status.inconsistent), status)
        if self.found is None:
            return status
        return jnp.where(failed & self.singular, int(Status.singular), status)


def _without_mean(v: Array) -> Array:
    if not joined_axes():
        return v - jnp.mean(v)
    mean = summed(jnp.sum(v)) / length(v.shape[0])
    return v - mean * ones(v.shape[0], v.dtype)


class Compressed(Wrapper):
    """P A P: A between complements of the null space, where it is invertible.

    Where A and Aᴴ map the null space to zero, A is P A P already, and its products are left alone: of the null space
    they hold rounding alone, which the driver takes out of each true residual.
    """

    operator: LinearOperator
    nulls: NullSpace

    @property
    def dtype(self) -> Any:
        """The dtype of the product of matrix and projector."""
        basis = self.nulls.basis
        return self.operator.dtype if basis is None else common(self.operator.dtype, basis.dtype)

    def mv(self, x: Array) -> Array:
        """The product P A P x."""
        nulls = self.nulls
        if nulls.exact is None:
            return nulls.project(self.operator.mv(nulls.project(x)))
        # Vectors made of projected products stay in the complement: P A is enough. A branch keeps XLA from computing
        # the product once for the projection and once more for its use.
        y = self.operator.mv(x)
        y = typed(y, common(y, nulls.basis))
        return cond(nulls.exact, lambda y: y, lambda y: nulls.project(y), y)

    def transpose(self) -> LinearOperator:
        """The transpose, between the complements of the conjugate basis."""
        return Compressed(self.operator.T, self.nulls.transposed())

    def conj(self) -> LinearOperator:
        """The conjugate."""
        return Compressed(self.operator.conj(), self.nulls.transposed())

    def on_host(self) -> HostOperator:
        """The products between projections."""
        inner, basis = self.operator.on_host(), np.asarray(self.nulls.basis)

        def kept(v: np.ndarray) -> np.ndarray:
            return v - basis @ (basis.conj().T @ v)

        return Products(
            self.shape,
            np.result_type(inner.dtype, basis.dtype),
            lambda x: kept(inner.matvec(kept(x))),
            lambda x: kept(inner.rmatvec(kept(x))),
        )


class _Projector(LinearOperator):
    """scale * Q Qᴴ."""

    basis: Array
    scale: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.basis.shape[0], self.basis.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the basis."""
        return self.basis.dtype

    def mv(self, x: Array) -> Array:
        """The projection of x, scaled."""
        return mul(self.scale, self.basis @ (jnp.conj(self.basis.T) @ x))

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return mul(self.scale, self.basis @ jnp.conj(self.basis.T))


def orthonormal(basis: Array) -> Array:
    """An orthonormal basis of the span of the columns of `basis`, shape (n, k)."""
    return jnp.linalg.qr(basis)[0]
