"""Scaled systems: A x = b in units of its own, as a method gets it."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.tree import typed
from jaxsolve.core.vector import exponent, mul, peak, plain_norm, power
from jaxsolve.operators.adjoint_pair import Paired
from jaxsolve.operators.diagonal import Diagonal
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.column_units import column_norms, column_scales
from jaxsolve.solvers.inner_precision import InnerPrecision
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.residual import Residual
from jaxsolve.solvers.split import Split
from jaxsolve.solvers.units import rescaled, unit_of

#: Growth of the residual over its start that is called divergence.
GROWTH = 1e5
#: ‖Aᴴr‖ is zero to rounding below this times eps ‖A‖‖r‖ (measured: it stops falling between 1 and 5).
FLAT = 16


class Control(NamedTuple):
    """When to stop: converged at ‖b - A x‖ <= max(rtol ‖b‖, atol), given up after `max_iterations`.

    Where A is known to be singular, at ‖b - A x‖ <= noise too: the rounding of b, which has no solution.

    A tall system is solved, too, where for every column a of A the residual has |aᴴr| <= rtol ‖a‖ ‖r‖, or rtol times
    the largest |aᴴb| / ‖a‖ if that is less: the correction that is left is small beside x.
    """

    rtol: Any
    atol: Any
    max_iterations: Any
    noise: Any = None


@dataclasses.dataclass(frozen=True)
class ScaledSystem:
    """A d = r in units of powers of two, without the null space, between the parts of a preconditioner.

    Attributes:
        A: What the method multiplies by: L A R, with the parts of a preconditioner or the scales of columns.
        M: An approximate inverse of it, None for none.
        left: L, None for the identity.
        right: R, None for the identity.
        plain: A without these, its entries near 1.
        nulls: The null space to keep out of the solution.
        residual: b - A x of an x, in the units of b.
        columns: The norms of the columns of a tall A where the method takes it as it is, else None.
        slope_of_b: The largest |aᴴb| / (‖a‖‖b‖) over these columns a.
        b_norm: ‖b‖ in the units of b.
        unit: The size of A's entries.
        unit_of_b: The unit of b.
        of_A: The exponent of 2 of the unit of A.
        of_b: That of the unit of b.
        target: The norm of the residual that is asked for, in the units of b.
        told: The same in those of the user.
        limit: The norm that is called divergence.
        control: Tolerances and limit.
        inner: The precision of the method where it is a lower one; None for that of b. A, M, left and right have it.
    """

    A: LinearOperator
    M: LinearOperator | None
    left: LinearOperator | None
    right: LinearOperator | None
    plain: LinearOperator
    nulls: NullSpace
    residual: Residual
    columns: Array | None
    slope_of_b: Array
    b_norm: Array
    unit: Array
    unit_of_b: Array
    of_A: Array
    of_b: Array
    target: Array
    told: Array
    limit: Array
    control: Control
    inner: InnerPrecision | None = None

    @property
    def real(self) -> Any:
        """The dtype of norms."""
        return self.b_norm.dtype

    @property
    def eps(self) -> Any:
        """The rounding unit."""
        return jnp.finfo(self.real).eps

    def incoming(self, v: Array) -> Array:
        """A residual as the method gets it."""
        v = self.nulls.project(v)
        v = v if self.inner is None else self.inner.entering(v)
        return v if self.left is None else self.left.mv(v)

    def outgoing(self, d: Array) -> Array:
        """The correction of x from that of the method."""
        d = d if self.right is None else self.right.mv(d)
        return self.nulls.project_solution(typed(d, self.residual.b.dtype))

    @property
    def resolution(self) -> Any:
        """The share of its first residual below which a pass sees nothing but rounding."""
        return self.eps if self.inner is None else self.inner.resolution()

    def slope_by_columns(self, r: Array) -> Array:
        """The largest |aᴴr| / (‖a‖‖r‖) over the columns a of A."""
        assert self.columns is not None
        return _slope(self.plain, self.columns, r)

    def flat(self, r_norm: Array) -> Array:
        """The slope ‖Aᴴr‖ / (‖A‖‖r‖) that is called zero at a residual of this norm.

        A tall system is solved where its residual is orthogonal to the range of A within the tolerance; of others that
        is said only where it holds to rounding, since ill-conditioned ones come close to it on their way.
        """
        m, n = self.plain.shape
        if m <= n:
            return jnp.asarray(FLAT * self.eps, self.real)
        loose = 1 if self.columns is None else jnp.minimum(1, self.slope_of_b * self.b_norm / r_norm)
        return jnp.maximum(self.control.rtol * loose, FLAT * self.eps).astype(self.real)

    def strictness(self, slope: Array, r_norm: Array) -> Any:
        """The share of `flat` to which a pass goes on that follows a check which found this slope.

        The estimate is of all columns together. Where the check before found a column for which it was too lax, this
        pass goes on to where it is not.
        """
        if self.columns is None:
            return 0.9
        seen_as = jnp.where(jnp.isfinite(slope), slope, 0)
        return 0.9 / jnp.maximum(1, 2 * seen_as / self.flat(r_norm))


#: x, its residual and the norm of that, and how many products that took.
Start = tuple[Array, Array, Array, Any]


def scaled_system(
    method: AbstractMethod,
    A: LinearOperator,
    M: LinearOperator | Split | InnerPrecision | None,
    b: Array,
    x0: Array | None,
    control: Control,
    nulls: NullSpace,
) -> tuple[ScaledSystem, Start]:
    """The system as the method gets it, and where it starts; the arguments are those of the driver."""
    m, n = A.shape
    largest = peak(b)
    real, of_b = largest.dtype, exponent(largest)
    unit_of_b = power(of_b, real)
    b_norm = plain_norm(mul(power(-of_b, real), b))
    target = jnp.maximum(control.rtol * b_norm, control.atol * power(-of_b, real)).astype(real)
    unit, probes = M.unit_of(A, b) if isinstance(M, InnerPrecision) else unit_of(A, b)
    of_A = exponent(unit)
    plain = rescaled(A, -of_A, real)
    nulls, null_probes = nulls.detected(plain, jnp.ones((), real))
    verified, more = nulls.verified(plain, jnp.ones((), real)) if method.preconditioned else (nulls, 0)
    null_probes += more
    if control.noise is not None:
        noise = nulls.where_singular(control.noise) * power(-of_b, real)
        target = jnp.maximum(target, noise).astype(real)
    residual = Residual(A, plain, mul(power(-of_b, real), b), of_A, of_b)

    if x0 is None:
        x, r, norm, products = jnp.zeros(n, b.dtype), residual.b, b_norm, 0
    else:
        # The solution for b = 0 is 0, whatever the guess.
        x = jnp.where(b_norm == 0, 0, nulls.project_solution(x0.astype(b.dtype)))
        # A guess far off leaves a residual of other size than b, and one in the null space one of its size.
        r, norm, _, products = residual(x, target, None)

    inner, worked, own = M if isinstance(M, InnerPrecision) else None, plain, nulls
    if isinstance(M, InnerPrecision):
        worked, own, verified, M = M.matrix(A, of_A), M.nulls(nulls), M.nulls(verified), M.scaled(of_A)
    elif not (M is None or isinstance(M, Split)):
        M = rescaled(M, of_A, real)
    left, right, Mu = None, None, None
    if isinstance(M, Split):
        left, right = (None if part is None else own.compressed(part) for part in (M.left, M.right))
    elif M is not None:
        # Of the part that a diagonal M brings in A takes no notice. That of others may be huge.
        Mu = (verified if M.traits.diagonal else own).compressed(M)
    columns, slope_of_b = None, jnp.zeros((), real)
    if m > n and method.rectangular:
        found = column_norms(A, of_A, real)
        columns, column_probes = (None, 0) if found is None else found
        probes += column_probes
        if columns is not None:
            slope_of_b, products = _slope(plain, columns, residual.b), products + 1
            right = Diagonal(column_scales(columns)) if M is None else right
    Au = verified.compressed(worked)
    Au = Au if left is None else left @ Au
    Au = Au if right is None else Au @ right
    if method.adjoint:
        Au, Mu = Paired(Au, Au.H), None if Mu is None else Paired(Mu, Mu.H)
    # What people see is in the units of b.
    told = jnp.maximum(control.rtol * (b_norm * unit_of_b), control.atol).astype(real)
    limit = GROWTH * jnp.maximum(norm, target)
    system = ScaledSystem(
        A=Au,
        M=Mu,
        left=left,
        right=right,
        plain=plain,
        nulls=nulls,
        residual=residual,
        columns=columns,
        slope_of_b=slope_of_b,
        b_norm=b_norm,
        unit=unit,
        unit_of_b=unit_of_b,
        of_A=of_A,
        of_b=of_b,
        target=target,
        told=told,
        limit=limit,
        control=control,
        inner=inner,
    )
    return system, (x, r, norm, products + probes + null_probes)


def _slope(A: LinearOperator, columns: Array, r: Array) -> Array:
    gradient = jnp.abs(A.H.mv(r)) / jnp.where(columns > 0, columns, 1)
    return peak(gradient) / plain_norm(r)
