"""The one loop of all methods: passes from the true residual until it is small, or until it is known why not."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core import columns
from jaxsolve.core.results import is_any_of
from jaxsolve.core.shards import agreed, cond, joined_axes, while_loop
from jaxsolve.core.status import CONVERGED, Status
from jaxsolve.core.tree import typed
from jaxsolve.core.vector import exponent, mul, peak, plain_norm, power
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers import symmetry
from jaxsolve.solvers.inner_precision import InnerPrecision, believed
from jaxsolve.solvers.krylov.kept_space import AbstractRecycling, unit_rows
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.recycling import recycling
from jaxsolve.solvers.scaled_system import Control as Control
from jaxsolve.solvers.scaled_system import ScaledSystem, scaled_system
from jaxsolve.solvers.split import Split
from jaxsolve.telemetry.watch import SILENT, Watch

#: A pass that ends by its own estimate must at least halve the true residual, or the estimate means nothing.
PROGRESS = 0.5
#: A pass that broke down is worth another one from its iterate if it left no more than this.
RECOVERY = 0.9
#: Restarted methods go on for as long as a cycle gains anything ...
CREEP = 1 - 1e-6
#: ... above this many rounding errors of b - A x, below which a cycle has to halve the residual as all passes do.
ROUNDING = 8


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
        constants: Whether A was found to map constants to zero, None where that was not looked for.
        undetermined: Whether factors show A to be singular to working precision, None where there are none.
        load: The load at which x was found, None but along a path.
        recycled: Directions for the next solve, shape (count, n), None where none are kept.
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
    constants: Any = None
    undetermined: Any = None
    load: Any = None
    recycled: Any = None


class _Pass(NamedTuple):
    """The carry of the outer loop.

    `hint` is the best explanation so far of a failure to come, `seen` for observers, `kept` of methods that recycle.
    """

    x: Array
    r: Array
    residual_norm: Array
    iterations: Array
    evaluations: Array
    status: Array
    hint: Array
    slope: Array
    seen: Any
    kept: Any = None


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
    M: LinearOperator | Split | InnerPrecision | None,
    b: Array,
    x0: Array | None,
    control: Control,
    nulls: NullSpace,
    watch: Watch = SILENT,
    recycled: Array | None = None,
) -> Outcome:
    """Runs `method` on A x = b until the true residual is within the tolerance or there is a reason to stop.

    Works on corrections A d = r scaled by powers of two, so that neither the units of b nor those of A matter.
    Residuals and their norms are in the units of b until the end.

    Args:
        method: What to run.
        A: Operator of shape (m, n).
        M: Approximate inverse of A, a `Split` into a left and a right one, or None; or an `InnerPrecision`, for passes
            in a lower precision.
        b: Shape (m,), of the dtype of the solution.
        x0: First guess of shape (n,); None for zero, which saves a product.
        control: Tolerances and limit, scalars that may be traced.
        nulls: The null space to keep out of the solution.
        watch: What observes the loop.
        recycled: Directions of an earlier solve, shape (count, n), which may be zero; None to keep none.
    """
    if recycled is not None:
        method = recycling(method, recycled.shape[0])
    elif joined_axes():
        method = method.over_devices()
    system, (x, r, norm, products) = scaled_system(method, A, M, b, x0, control, nulls)
    status = jnp.where(norm <= system.target, int(Status.converged), _RUNNING)
    status = jnp.where(
        (status == _RUNNING) & (control.max_iterations <= 0), int(Status.max_iterations), status
    )
    status = jnp.where(jnp.isfinite(norm) & jnp.isfinite(system.unit), status, int(Status.invalid_input))
    if not A.shape[1]:
        status = jnp.where(status == _RUNNING, int(Status.least_squares), status)
    zero, count = jnp.array(0, jnp.int32), jnp.array(products, jnp.int32)
    seen, slope = watch.start(x, norm * system.unit_of_b), jnp.full_like(norm, jnp.inf)
    kept = None
    if recycled is not None and isinstance(method, AbstractRecycling):
        rows = unit_rows(jax.vmap(system.nulls.project)(recycled))
        kept, count = method.opened(system.A, system.M, rows), count + method.opening_products
    end = _Pass(x, r, norm, zero, count, status.astype(jnp.int32), zero, slope, seen, kept)
    if 0 not in A.shape:
        end = while_loop(lambda c: c.status == _RUNNING, lambda c: one_pass(method, system, watch, c), end)
    factors = M.inverse if isinstance(M, InnerPrecision) else M
    return outcome(method, system, watch, end)._replace(undetermined=method.undetermined(factors))


def one_pass(method: AbstractMethod, system: ScaledSystem, watch: Watch, c: _Pass) -> _Pass:
    """Steps of the method on A d = r from the true residual r, and the true residual of x + d."""
    most, real, target = system.control.max_iterations, system.real, system.target
    of_r = exponent(c.residual_norm)
    scale = power(of_r, real)
    # Not c.r / scale: XLA takes quotients of quotients as one by the product of the divisors, and a preconditioner
    # divides by the diagonal of A next. For A and b of 1e-20 each the product is zero in float32.
    incoming = system.incoming(mul(power(-of_r, real), c.r))
    together = method.blocks and columns.are_together()
    if together:
        # A column that is done adds nothing to the space of the others.
        incoming = jnp.where(c.status == _RUNNING, incoming, 0)
    if isinstance(method, AbstractRecycling):
        # A part of r is gone before the first step.
        start: Any = method.resume(system.A, system.M, incoming, c.kept)
        size = plain_norm(incoming)
    else:
        start = method.start(system.A, system.M, incoming)
        size = start.residual_norm
    # Estimates are proportional to the true norm at the start; 0.9 spares a second pass for rounding.
    first = typed(size, real)
    ratio = first / jnp.where(c.residual_norm > 0, c.residual_norm, 1)
    # No pass reduces the true residual by more than rounding allows; the rest is for the next one.
    goal = jnp.maximum(0.9 * target * ratio, system.resolution * first)
    growth = system.limit * ratio
    unit_of_d = power(of_r + system.of_b - system.of_A, real)
    strictness = system.strictness(c.slope, c.residual_norm)

    def unfinished(s: Any) -> Any:
        slope, norm = method.slope(s), typed(s.residual_norm, real)
        steep = True if slope is None else typed(slope, real) > strictness * system.flat(norm / ratio)
        return (norm > goal) & (norm <= growth) & (s.halt == 0) & steep

    def iterate_of(s: Any) -> Array:
        d = system.outgoing(method.finish(system.A, system.M, s))
        if system.inner is None:
            return c.x + mul(unit_of_d, d)
        # Corrections become as small as the last digits of x, which may itself be near the end of the range.
        k = system.of_b - system.of_A
        return mul(power(k, real), mul(power(-k, real), c.x) + mul(scale, d))

    def going_on(k: Array, s: Any) -> Any:
        # The first test is for lanes of a vmap that are done while others go on.
        return (c.status == _RUNNING) & unfinished(s) & (k < most)

    def running(carry: tuple) -> Any:
        k, s, _ = carry
        return columns.any_of(going_on(k, s)) if together else going_on(k, s)

    def advance(carry: tuple) -> tuple:
        before, s, seen = carry
        aim = jnp.where(going_on(before, s), goal, jnp.inf) if together else goal
        k, s = method.advance(system.A, system.M, s, before, typed(aim, s.residual_norm.dtype), most)
        seen = watch.note(
            seen,
            before,
            k,
            lambda: typed(s.residual_norm, real) / ratio * system.unit_of_b,
            system.told,
            lambda: iterate_of(s),
        )
        return k, s, seen

    k, s, seen = while_loop(running, advance, (c.iterations, start, c.seen))
    new, rounding = _checked(method, system, c, k, s, iterate_of(s), scale)
    cut = (k >= most) & unfinished(s)
    halt = s.halt if system.inner is None else believed(s.halt)
    status = _judge(method, system, c, new, halt, cut, rounding)
    # A pass that left the numbers, or that failed and made things worse, is undone.
    undo = ~jnp.isfinite(new.residual_norm) | (
        ~is_any_of(status, _KEPT) & (new.residual_norm > c.residual_norm)
    )
    x, r, norm = (jnp.where(undo, old, found) for old, found in zip(c[:3], new[:3], strict=True))
    if isinstance(method, AbstractRecycling):
        status, new = _without_kept(method, system, c, new, s, status)
    seen = watch.settle(seen, k, norm * system.unit_of_b, x)
    return new._replace(x=x, r=r, residual_norm=norm, status=status, seen=seen)


def _without_kept(
    method: AbstractRecycling, system: ScaledSystem, c: _Pass, new: _Pass, s: Any, status: Array
) -> tuple[Array, _Pass]:
    """The directions for the next pass; none, and another pass, after one that failed with those it had."""
    blamed = jnp.any(method.rows(c.kept) != 0) & ~is_any_of(status, (*_KEPT, Status.invalid_input))
    renewed = method.renewed(system.A, system.M, s)
    kept = jax.tree.map(lambda v: jnp.where(blamed, 0, v).astype(v.dtype), renewed)
    status = jnp.where(blamed, _RUNNING, status)
    return status, new._replace(kept=kept, hint=jnp.where(blamed, c.hint, new.hint))


def _checked(
    method: AbstractMethod, system: ScaledSystem, c: _Pass, k: Array, s: Any, x: Array, scale: Array
) -> tuple[_Pass, Array]:
    """What a pass led to by its true residual, and the norm that is rounding beside b and A x."""
    # In the units of the residual before: what overflows there has diverged, what underflows has converged.
    r, norm, rounding, spent = system.residual(x, system.target, scale)
    slope, tests = jnp.full_like(norm, jnp.inf), 0
    estimate = method.slope(s)
    if estimate is not None or system.columns is not None:
        asked = (s.halt == int(Status.least_squares)) & (norm > system.target)
        if estimate is not None:
            asked |= (typed(estimate, system.real) <= system.flat(norm)) & (norm > system.target)
        rhs = mul(power(-exponent(peak(r)), system.real), r)
        if system.columns is None:
            rhs = system.incoming(rhs)
            slope = cond(
                asked,
                lambda: typed(method.true_slope(system.A, system.M, s, rhs), system.real),
                lambda: slope,
            )
        else:
            slope = cond(asked, lambda: system.slope_by_columns(rhs), lambda: slope)
        tests = asked.astype(jnp.int32)
    found = jnp.asarray(method.diagnose(s), jnp.int32)
    hint = jnp.maximum(c.hint, found if system.inner is None else believed(found))
    steps = (k - c.iterations) // method.stride
    evaluations = c.evaluations + spent + method.spent(s, steps) + tests
    return _Pass(x, r, norm, k, evaluations, c.status, hint, slope, c.seen, c.kept), rounding


def outcome(method: AbstractMethod, system: ScaledSystem, watch: Watch, end: _Pass) -> Outcome:
    """How it ended, in the units of b."""
    norm, told = end.residual_norm * system.unit_of_b, system.told
    trajectory = watch.end(end.seen, end.iterations, norm, told)
    status = system.nulls.explain(end.status, end.r, system.target, system.plain)
    evaluations, skew = end.evaluations, None
    m, n = system.plain.shape
    if method.wants and m == n > 1:
        # Of a matrix that holds NaN or infinity nothing is to be learned.
        asked = ~is_any_of(status, (*CONVERGED, Status.invalid_input))
        skew = symmetry.asymmetry(system.plain, asked)
        evaluations = evaluations + symmetry.PRODUCTS * asked.astype(jnp.int32)
    # Whoever overlooks the status must not take the guess for a solution.
    usable = jnp.isfinite(system.b_norm) & jnp.isfinite(system.unit)
    x, r = jnp.where(usable, end.x, jnp.nan), mul(system.unit_of_b, end.r)
    rows = unit_rows(method.rows(end.kept)) if isinstance(method, AbstractRecycling) else None
    numbers = agreed((norm, told, end.iterations, evaluations, status, skew, system.nulls.singular))
    norm, told, iterations, evaluations, status, skew, singular = numbers
    return Outcome(
        x, r, norm, told, iterations, evaluations, status, trajectory, None, skew, singular, recycled=rows
    )


def _judge(
    method: AbstractMethod,
    system: ScaledSystem,
    old: _Pass,
    new: _Pass,
    halt: Array,
    cut: Array,
    rounding: Array,
) -> Array:
    """The status after a pass: `_RUNNING` for another one.

    Args:
        method: What ran.
        system: The system.
        old: What the pass started from.
        new: What it led to.
        halt: Why the method could not go on, 0 if it did not say so.
        cut: Whether it was stopped in the middle by the limit of iterations.
        rounding: The norm that is rounding beside b and A x.
    """
    norm, exhausted = new.residual_norm, new.iterations >= system.control.max_iterations
    least = jnp.where(halt != 0, RECOVERY, PROGRESS)
    if method.restarts:
        least = jnp.where(norm > rounding, CREEP, PROGRESS)
    progressed = (norm <= least * old.residual_norm) | (new.slope < PROGRESS * old.slope)
    failed = _first(
        (norm > system.limit, int(Status.divergence)),
        (cut | (exhausted & progressed), int(Status.max_iterations)),
        (progressed & ((new.iterations > old.iterations) | (new.kept is not None)), _RUNNING),
        ((halt != 0) & (norm > ROUNDING * system.eps * system.b_norm), halt),
        otherwise=int(Status.stagnation),
    )
    m, n = system.plain.shape
    # A hint explains any failure.
    said = _first(((failed != _RUNNING) & (new.hint != 0), new.hint), otherwise=failed)
    is_flat = (new.slope <= system.flat(norm)) | (said == int(Status.least_squares))
    # Preconditioned from the left, what is least is a weighted residual: all that is known is that b is out of reach.
    weighted = m == n or system.left is not None
    said = _first((is_flat, int(Status.inconsistent if weighted else Status.least_squares)), otherwise=said)
    lost = _first((new.hint != 0, new.hint), otherwise=int(Status.nonfinite))
    return _first(
        (norm <= system.target, int(Status.converged)), (jnp.isfinite(norm), said), otherwise=lost
    ).astype(jnp.int32)


def _first(*cases: tuple[Array, Any], otherwise: Any) -> Array:
    """The status of the first case whose condition holds."""
    status = otherwise
    for condition, found in reversed(cases):
        status = jnp.where(condition, found, status)
    return jnp.asarray(status)
