"""The one loop of all methods: passes from the true residual until it is small, or until it is known why not."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.results import is_any_of
from jaxsolve.core.status import CONVERGED, Status
from jaxsolve.core.vector import exponent, mul, plain_norm, power
from jaxsolve.operators.adjoint_pair import Paired
from jaxsolve.operators.algebra import Diagonal
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers import symmetry
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.residual import Residual
from jaxsolve.solvers.split import Split
from jaxsolve.solvers.units import column_norms, column_scales, rescaled, unit_of
from jaxsolve.telemetry.watch import SILENT, Watch

#: Growth of the residual over its start that is called divergence.
GROWTH = 1e5
#: A pass that ends by its own estimate must at least halve the true residual, or the estimate means nothing.
PROGRESS = 0.5
#: A pass that broke down is worth another one from its iterate if it left no more than this.
RECOVERY = 0.9
#: Restarted methods go on for as long as a cycle gains anything ...
CREEP = 1 - 1e-6
#: ... above this many rounding errors of b - A x, below which a cycle has to halve the residual as all passes do.
ROUNDING = 8
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


class Outcome(NamedTuple):
    """How a solve ended.

    Attributes:
        x: The solution, or the last iterate; shape (n,).
        residual: b - A x, computed from x, shape (m,).
        residual_norm: Its norm.
        target: The norm it had to reach.
        iterations: Steps of the method.
        evaluations: Products with A and with its adjoint, checks included.
        status: A `Status` as an integer.
        trajectory: What was recorded on the way, None for nothing.
        objective: What was minimised, None for systems.
        asymmetry: ‖A - Aᴴ‖ / ‖A‖, estimated where a method failed that needs A = Aᴴ; else 0, None of others.
    """

    x: Array
    residual: Array
    residual_norm: Array
    target: Array
    iterations: Array
    evaluations: Array
    status: Array
    trajectory: Any = None
    objective: Any = None
    asymmetry: Any = None


class _Pass(NamedTuple):
    """The carry of the outer loop; `hint` is the best explanation so far of a failure to come, `seen` for observers."""

    x: Array
    r: Array
    residual_norm: Array
    iterations: Array
    evaluations: Array
    status: Array
    hint: Array
    slope: Array
    seen: Any


class _Bounds(NamedTuple):
    """What a pass is judged by.

    Attributes:
        target: The norm that is asked for.
        limit: The norm that is called divergence.
        flat: The slope ‖Aᴴr‖ / (‖A‖‖r‖) that is called zero.
        rounding: The norm that is rounding beside b.
        noise: The norm that is rounding beside b and A x.
    """

    target: Array
    limit: Array
    flat: Array
    rounding: Array
    noise: Array


_RUNNING = -1
#: After these a pass is kept even if its residual is larger than the one before.
_KEPT = (
    _RUNNING,
    Status.converged,
    Status.least_squares,
    Status.inconsistent,
    Status.max_iterations,
    Status.divergence,
)


def iterate(
    method: AbstractMethod,
    A: LinearOperator,
    M: LinearOperator | Split | None,
    b: Array,
    x0: Array | None,
    control: Control,
    nulls: NullSpace,
    watch: Watch = SILENT,
) -> Outcome:
    """Runs `method` on A x = b until the true residual is within the tolerance or there is a reason to stop.

    Works on corrections A d = r scaled by powers of two, so that neither the units of b nor those of A matter.
    Residuals and their norms are in the units of b until the end.

    Args:
        method: What to run.
        A: Operator of shape (m, n).
        M: Approximate inverse of A, a `Split` into a left and a right one, or None.
        b: Shape (m,), of the dtype of the solution.
        x0: First guess of shape (n,); None for zero, which saves a product.
        control: Tolerances and limit, scalars that may be traced.
        nulls: The null space to keep out of the solution.
        watch: What observes the loop.
    """
    m, size = A.shape
    largest = jnp.max(jnp.abs(b), initial=0)
    real, of_b = largest.dtype, exponent(largest)
    unit_of_b = power(of_b, real)
    b_norm = plain_norm(mul(power(-of_b, real), b))
    target = jnp.maximum(control.rtol * b_norm, control.atol * power(-of_b, real)).astype(real)
    unit, probes = unit_of(A, b)
    of_A = exponent(unit)
    A_ordinary = rescaled(A, -of_A, real)
    nulls, null_probes = nulls.detected(A_ordinary, jnp.ones((), real))
    if control.noise is not None:
        noise = nulls.where_singular(control.noise) * power(-of_b, real)
        target = jnp.maximum(target, noise).astype(real)
    residual = Residual(A, A_ordinary, mul(power(-of_b, real), b), of_A, of_b)

    if x0 is None:
        x, r, first_norm, products = jnp.zeros(size, b.dtype), residual.b, b_norm, 0
    else:
        # The solution for b = 0 is 0, whatever the guess.
        x = jnp.where(b_norm == 0, 0, nulls.project_solution(x0.astype(b.dtype)))
        # A guess far off leaves a residual of other size than b, and one in the null space one of its size.
        r, first_norm, _, products = residual(x, target, None)
    Au = nulls.compressed(A_ordinary)
    left, right, Mu = None, None, None
    if isinstance(M, Split):
        left, right = (None if part is None else nulls.compressed(part) for part in (M.left, M.right))
    elif M is not None:
        Mu = nulls.compressed(rescaled(M, of_A, real))
    columns = None
    if m > size and method.rectangular:
        found = column_norms(A, of_A, real)
        columns, column_probes = (None, 0) if found is None else found
        probes += column_probes
        if columns is not None and M is None:
            right = Diagonal(column_scales(columns))
    Au = Au if left is None else left @ Au
    Au = Au if right is None else Au @ right
    if method.adjoint:
        Au, Mu = Paired(Au, Au.H), None if Mu is None else Paired(Mu, Mu.H)
    limit = GROWTH * jnp.maximum(first_norm, target)
    eps = jnp.finfo(real).eps

    def incoming(v: Array) -> Array:
        """A residual as the method gets it."""
        v = nulls.project(v)
        return v if left is None else left.mv(v)

    def slope_by_columns(r: Array) -> Array:
        """The largest |aᴴr| / (‖a‖‖r‖) over the columns a of A."""
        assert columns is not None
        gradient = jnp.abs(A_ordinary.H.mv(r)) / jnp.where(columns > 0, columns, 1)
        return jnp.max(gradient, initial=0) / plain_norm(r)

    # A tall system is solved where its residual is orthogonal to the range of A within the tolerance; of others that
    # is said only where it holds to rounding, since ill-conditioned ones come close to it on their way.
    slope_of_b = jnp.zeros((), real)
    if columns is not None:
        slope_of_b, products = slope_by_columns(residual.b), products + 1

    def flat(r_norm: Array) -> Array:
        """The slope that is called zero at a residual of this norm."""
        if m <= size:
            return jnp.asarray(FLAT * eps, real)
        loose = 1 if columns is None else jnp.minimum(1, slope_of_b * b_norm / r_norm)
        return jnp.maximum(control.rtol * loose, FLAT * eps).astype(real)

    def one_pass(c: _Pass) -> _Pass:
        of_r = exponent(c.residual_norm)
        scale = power(of_r, real)
        # Not c.r / scale: XLA takes quotients of quotients as one by the product of the divisors, and a preconditioner
        # divides by the diagonal of A next. For A and b of 1e-20 each the product is zero in float32.
        start: Any = method.start(Au, Mu, incoming(mul(power(-of_r, real), c.r)))
        # Estimates are proportional to the true norm at the start; 0.9 spares a second pass for rounding.
        ratio = start.residual_norm / jnp.where(c.residual_norm > 0, c.residual_norm, 1)
        # No pass reduces the true residual by more than rounding allows; the rest is for the next one.
        goal, growth = jnp.maximum(0.9 * target * ratio, eps * start.residual_norm), limit * ratio
        unit_of_d = power(of_r + of_b - of_A, real)

        # The estimate is of all columns together. Where the check before found a column for which it was too lax, this
        # pass goes on to where it is not.
        strictness = 0.9
        if columns is not None:
            seen_as = jnp.where(jnp.isfinite(c.slope), c.slope, 0)
            strictness = 0.9 / jnp.maximum(1, 2 * seen_as / flat(c.residual_norm))

        def unfinished(s):
            slope = method.slope(s)
            steep = True if slope is None else slope > strictness * flat(s.residual_norm / ratio)
            return (s.residual_norm > goal) & (s.residual_norm <= growth) & (s.halt == 0) & steep

        def iterate_of(s):
            d = method.finish(Au, Mu, s)
            d = nulls.project_solution(d if right is None else right.mv(d))
            return c.x + mul(unit_of_d, d)

        def running(carry):
            k, s, _ = carry
            # The first test is for lanes of a vmap that are done while others go on.
            return (c.status == _RUNNING) & unfinished(s) & (k < control.max_iterations)

        def advance(carry):
            before, s, seen = carry
            k, s = method.advance(Au, Mu, s, before, goal, control.max_iterations)
            seen = watch.note(
                seen, before, k, lambda: s.residual_norm / ratio * unit_of_b, told, lambda: iterate_of(s)
            )
            return k, s, seen

        k, s, seen = lax.while_loop(running, advance, (c.iterations, start, c.seen))
        x = iterate_of(s)
        # In the units of the residual before: what overflows there has diverged, what underflows has converged.
        r, r_norm, rounding, spent = residual(x, target, scale)
        slope, tests = jnp.full_like(r_norm, jnp.inf), 0
        estimate = method.slope(s)
        if estimate is not None or columns is not None:
            asked = (s.halt == int(Status.least_squares)) & (r_norm > target)
            if estimate is not None:
                asked |= (estimate <= flat(r_norm)) & (r_norm > target)
            rhs = mul(power(-exponent(jnp.max(jnp.abs(r), initial=0)), real), r)
            if columns is None:
                rhs = incoming(rhs)
                slope = lax.cond(asked, lambda: method.true_slope(Au, Mu, s, rhs), lambda: slope)
            else:
                slope = lax.cond(asked, lambda: slope_by_columns(rhs), lambda: slope)
            tests = asked.astype(jnp.int32)
        hint = jnp.maximum(c.hint, jnp.asarray(method.diagnose(s), jnp.int32))
        new = _Pass(x, r, r_norm, k, c.evaluations, c.status, hint, slope, seen)
        exhausted = (k >= control.max_iterations) & unfinished(s)
        bounds = _Bounds(target, limit, flat(r_norm), ROUNDING * eps * b_norm, rounding)
        status = _judge(method, A, c, new, s.halt, exhausted, k >= control.max_iterations, bounds)
        # A pass that left the numbers, or that failed and made things worse, is undone.
        undo = ~jnp.isfinite(r_norm) | (~is_any_of(status, _KEPT) & (r_norm > c.residual_norm))
        steps = (k - c.iterations) // method.stride
        evaluations = c.evaluations + spent + method.spent(s, steps) + tests
        x, r, r_norm = (
            jnp.where(undo, old, new) for old, new in ((c.x, x), (c.r, r), (c.residual_norm, r_norm))
        )
        seen = watch.settle(seen, k, r_norm * unit_of_b, x)
        return _Pass(x, r, r_norm, k, evaluations, status, hint, slope, seen)

    status = jnp.where(first_norm <= target, int(Status.converged), _RUNNING)
    status = jnp.where(
        (status == _RUNNING) & (control.max_iterations <= 0), int(Status.max_iterations), status
    )
    status = jnp.where(jnp.isfinite(first_norm) & jnp.isfinite(unit), status, int(Status.invalid_input))
    zero = jnp.array(0, jnp.int32)
    count = jnp.array(products + probes + null_probes, jnp.int32)
    # What people see is in the units of b.
    told = jnp.maximum(control.rtol * (b_norm * unit_of_b), control.atol).astype(real)
    seen, slope = watch.start(x, first_norm * unit_of_b), jnp.full_like(first_norm, jnp.inf)
    if not size:
        status = jnp.where(status == _RUNNING, int(Status.least_squares), status)
    end = _Pass(x, r, first_norm, zero, count, status.astype(jnp.int32), zero, slope, seen)
    if 0 not in A.shape:
        end = lax.while_loop(lambda c: c.status == _RUNNING, one_pass, end)
    trajectory = watch.end(end.seen, end.iterations, end.residual_norm * unit_of_b, told)
    status = nulls.explain(end.status, end.r, target)
    evaluations, skew = end.evaluations, None
    if method.wants and m == size > 1:
        # Of a matrix that holds NaN or infinity nothing is to be learned.
        asked = ~is_any_of(status, (*CONVERGED, Status.invalid_input))
        skew = symmetry.asymmetry(A_ordinary, asked)
        evaluations = evaluations + symmetry.PRODUCTS * asked.astype(jnp.int32)
    # Whoever overlooks the status must not take the guess for a solution.
    usable = jnp.isfinite(b_norm) & jnp.isfinite(unit)
    return Outcome(
        jnp.where(usable, end.x, jnp.nan),
        mul(unit_of_b, end.r),
        end.residual_norm * unit_of_b,
        told,
        end.iterations,
        evaluations,
        status,
        trajectory,
        None,
        skew,
    )


def _judge(
    method: AbstractMethod,
    A: LinearOperator,
    old: _Pass,
    new: _Pass,
    halt: Array,
    cut: Array,
    exhausted: Array,
    bounds: _Bounds,
) -> Array:
    """The status after a pass: `_RUNNING` for another one.

    Args:
        method: What ran.
        A: The operator.
        old: What the pass started from.
        new: What it led to.
        halt: Why the method could not go on, 0 if it did not say so.
        cut: Whether it was stopped in the middle by the limit of iterations.
        exhausted: Whether that limit is reached.
        bounds: What the numbers are compared with.
    """
    least = jnp.where(halt != 0, RECOVERY, PROGRESS)
    if method.restarts:
        least = jnp.where(new.residual_norm > bounds.noise, CREEP, PROGRESS)
    progressed = (new.residual_norm <= least * old.residual_norm) | (new.slope < PROGRESS * old.slope)
    failure = jnp.where((halt != 0) & (new.residual_norm > bounds.rounding), halt, int(Status.stagnation))
    status = jnp.where(progressed & (new.iterations > old.iterations), _RUNNING, failure)
    status = jnp.where(cut | (exhausted & progressed), int(Status.max_iterations), status)
    status = jnp.where(new.residual_norm > bounds.limit, int(Status.divergence), status)
    status = jnp.where((status != _RUNNING) & (new.hint != 0), new.hint, status)
    m, n = A.shape
    status = jnp.where(
        (new.slope <= bounds.flat) | (status == int(Status.least_squares)),
        int(Status.inconsistent if m == n else Status.least_squares),
        status,
    )
    lost = jnp.where(new.hint != 0, new.hint, int(Status.nonfinite))
    status = jnp.where(jnp.isfinite(new.residual_norm), status, lost)
    return jnp.where(new.residual_norm <= bounds.target, int(Status.converged), status).astype(jnp.int32)
