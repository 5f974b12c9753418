"""The one loop of all methods: passes from the true residual until it is small, or until it is known why not."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm, plain_norm, power_of_two
from jaxsolve.operators.base import LinearOperator, Scaled
from jaxsolve.solvers.base import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.split import Split

#: Growth of the residual over its start that is called divergence.
GROWTH = 1e5
#: A pass that ends by its own estimate must at least halve the true residual, or the estimate means nothing.
PROGRESS = 0.5


class Control(eqx.Module):
    """When to stop: converged at ‖b - A x‖ <= max(rtol ‖b‖, atol), given up after `max_iterations`."""

    rtol: Any
    atol: Any
    max_iterations: Any


class Outcome(eqx.Module):
    """How a solve ended.

    Attributes:
        x: The solution, or the last iterate; shape (n,).
        residual: b - A x, computed from x, shape (m,).
        residual_norm: Its norm.
        target: The norm it had to reach.
        iterations: Steps of the method.
        evaluations: Products with A and with its adjoint, checks included.
        status: A `Status` as an integer.
    """

    x: Array
    residual: Array
    residual_norm: Array
    target: Array
    iterations: Array
    evaluations: Array
    status: Array


class _Pass(eqx.Module):
    """The carry of the outer loop; `hint` is the best explanation so far of a failure to come."""

    x: Array
    r: Array
    residual_norm: Array
    iterations: Array
    evaluations: Array
    status: Array
    hint: Array


_RUNNING = -1


def iterate(
    method: AbstractMethod,
    A: LinearOperator,
    M: LinearOperator | Split | None,
    b: Array,
    x0: Array | None,
    control: Control,
    nulls: NullSpace,
) -> Outcome:
    """Runs `method` on A x = b until the true residual is within the tolerance or there is a reason to stop.

    Works on corrections A d = r scaled by powers of two, so that neither the units of b nor those of A matter.

    Args:
        method: What to run.
        A: Operator of shape (m, n).
        M: Approximate inverse of A, a `Split` into a left and a right one, or None.
        b: Shape (m,), of the dtype of the solution.
        x0: First guess of shape (n,); None for zero, which saves a product.
        control: Tolerances and limit, scalars that may be traced.
        nulls: The null space to keep out of the solution.
    """
    size = A.shape[1]
    b_norm = norm(b)
    target = jnp.maximum(control.rtol * b_norm, control.atol).astype(b_norm.dtype)
    if x0 is None:
        x, r, products = jnp.zeros(size, b.dtype), b, 0
    else:
        # The solution for b = 0 is 0, whatever the guess.
        x = jnp.where(b_norm == 0, 0, x0.astype(b.dtype))
        r, products = b - A.mv(x), 1
    first_norm = b_norm if x0 is None else norm(r)
    unit, probes = _unit(A, r)
    nulls, null_probes = nulls.detected(A, unit)
    Au = nulls.compressed(Scaled(A, 1 / unit))
    left, right, Mu = None, None, None
    if isinstance(M, Split):
        left, right = (None if part is None else nulls.compressed(part) for part in (M.left, M.right))
    elif M is not None:
        Mu = nulls.compressed(Scaled(M, unit))
    Au = Au if left is None else left @ Au
    Au = Au if right is None else Au @ right
    limit = GROWTH * jnp.maximum(first_norm, target)

    def one_pass(c: _Pass) -> _Pass:
        scale = power_of_two(jnp.max(jnp.abs(c.r), initial=0))
        rhs = nulls.project(c.r / scale)
        rhs = rhs if left is None else left.mv(rhs)
        start = method.start(Au, Mu, rhs)
        # Estimates are proportional to the true norm at the start; 0.9 spares a second pass for rounding.
        ratio = start.residual_norm / jnp.where(c.residual_norm > 0, c.residual_norm, 1)
        goal, growth = 0.9 * target * ratio, limit * ratio

        def running(carry):
            k, s = carry
            return (s.residual_norm > goal) & (s.residual_norm <= growth) & (s.halt == 0) & (k < control.max_iterations)

        def advance(carry):
            k, s = carry
            return k + method.stride, method.step(Au, Mu, s)

        k, s = lax.while_loop(running, advance, (c.iterations, start))
        d = method.finish(Au, Mu, s)
        d = nulls.project_solution(d if right is None else right.mv(d))
        x = c.x + d * (scale / unit)
        r = b - A.mv(x)
        r_norm = norm(r)
        hint = jnp.maximum(c.hint, jnp.asarray(method.diagnose(s), jnp.int32))
        status = _judge(method, c, s, r_norm, target, limit, k >= control.max_iterations, hint)
        # A pass that left the numbers, or only added rounding, is undone.
        undo = ~jnp.isfinite(r_norm) | ((status == int(Status.stagnation)) & (r_norm > c.residual_norm))
        steps = (k - c.iterations) // method.stride
        evaluations = c.evaluations + 1 + method.start_products + steps * method.products
        return _Pass(
            jnp.where(undo, c.x, x),
            jnp.where(undo, c.r, r),
            jnp.where(undo, c.residual_norm, r_norm),
            k,
            evaluations,
            status,
            hint,
        )

    status = jnp.where(first_norm <= target, int(Status.converged), _RUNNING)
    status = jnp.where((status == _RUNNING) & (control.max_iterations <= 0), int(Status.max_iterations), status)
    finite = jnp.isfinite(first_norm) & jnp.isfinite(unit)
    status = jnp.where(finite, status, int(Status.invalid_input)).astype(jnp.int32)
    zero = jnp.array(0, jnp.int32)
    count = jnp.array(products + probes + null_probes, jnp.int32)
    end = lax.while_loop(
        lambda c: c.status == _RUNNING, one_pass, _Pass(x, r, first_norm, zero, count, status, zero)
    )
    status = nulls.explain(end.status, end.r, target)
    return Outcome(end.x, end.r, end.residual_norm, target, end.iterations, end.evaluations, status)


def _judge(method, c, s, r_norm, target, limit, exhausted, hint) -> Array:
    """The status after a pass: `_RUNNING` for another one."""
    least = 1 - 1e-6 if method.restarts else PROGRESS
    halted = s.halt != 0
    progressed = r_norm <= least * c.residual_norm
    failure = jnp.where(halted, s.halt, int(Status.stagnation))
    status = jnp.where(progressed, _RUNNING, failure)
    status = jnp.where(exhausted & (status == _RUNNING), int(Status.max_iterations), status)
    status = jnp.where(r_norm > limit, int(Status.divergence), status)
    status = jnp.where((status != _RUNNING) & (hint != 0), hint, status)
    status = jnp.where(jnp.isfinite(r_norm), status, jnp.where(hint != 0, hint, int(Status.nonfinite)))
    return jnp.where(r_norm <= target, int(Status.converged), status).astype(jnp.int32)


def _unit(A: LinearOperator, r: Array) -> tuple[Array, int]:
    """The power of two nearest to the size of A's entries, and the products spent to learn it."""
    magnitude = A.magnitude()
    if magnitude is not None:
        finite = jnp.where(jnp.isfinite(magnitude), 1, jnp.nan)
        return power_of_two(magnitude).astype(r.real.dtype) * finite.astype(r.real.dtype), 0
    probe = r / power_of_two(jnp.max(jnp.abs(r), initial=0))
    image = A.mv(probe) / jnp.sqrt(jnp.maximum(plain_norm(probe) ** 2, 1))
    return power_of_two(jnp.max(jnp.abs(image), initial=0)).astype(r.real.dtype), 1
