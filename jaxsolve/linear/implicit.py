"""Implicit gradients: tangents and cotangents by one more solve each, never through the loop.

From A x = b follows A dx = db - dA x. The primal solve has this rule as its `custom_jvp`; the tangent solve is linear
in its right-hand side, and `custom_linear_solve` turns it into the transposed solve for reverse mode. Keeping the two
apart gives tangent and adjoint systems their own tolerance (relative to their own right-hand side: the user's `atol`
is in other units there), their own guess (none) and their own failures.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.compat import marked_solution
from jaxsolve.core.staging import staged
from jaxsolve.core.vector import norm
from jaxsolve.linear.forward import Plan, System, guarded, run
from jaxsolve.linear.pseudo import pseudo_tangent
from jaxsolve.linear.push import pushed
from jaxsolve.operators.base import LinearOperator
from jaxsolve.solvers.driver import Outcome, unit_of
from jaxsolve.solvers.nullspace import NullSpace


def implicit_solve(plan: Plan, system: System) -> Outcome:
    """The outcome of a system, differentiable in A and b by the implicit function theorem."""
    # JAX makes a new rule each time that it traces `custom_jvp`; compiled, equal solves are one, and so are programs
    # that hold them. Not in eager mode, where failures in gradients keep their class.
    return _compiled_solve(plan, system) if staged() else _solve(plan, system)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(plan: Plan, system: System) -> Outcome:
    s = system
    outcome = run(plan.method, s.A, s.inverse, s.b, s.x0, s.control, s.nulls, watch=plan.watch)
    outcome = guarded(plan, "solve", outcome)
    return outcome._replace(x=marked_solution(outcome.x))


@functools.partial(_solve.defjvp, symbolic_zeros=True)
def _tangent(plan, primals, tangents):
    (system,), (tangent,) = primals, tangents
    system = system.built()
    outcome = implicit_solve(plan, system)
    x = outcome.x
    rhs = pushed(system.A, tangent.A, lambda A: A.mv(x))
    rhs = jnp.zeros_like(system.b) if rhs is None else -rhs.astype(system.b.dtype)
    if not isinstance(tangent.b, SymbolicZero):
        rhs = rhs + tangent.b
    m, n = system.A.shape
    dx = tangent_solve(plan, system, rhs) if m == n else pseudo_tangent(plan, system, tangent.A, outcome, rhs)
    # The residual is that of a solved system for every b and A: its derivative is zero, as are those of the counts.
    zeros = jax.tree.map(zero_tangent, outcome)
    return outcome, zeros._replace(x=dx)


_compiled_solve = functools.partial(jax.jit, static_argnums=0)(_solve)


def tangent_solve(plan: Plan, system: System, rhs: Array) -> Array:
    """A⁻¹ rhs, linear in rhs: solved again for tangents, transposed for cotangents."""
    A, (inverse, control), nulls = system.A, system.gradient, system.nulls

    def forward(_, c):
        outcome = run(plan.gradient_method, A, inverse, c, None, control, nulls, watch=plan.watch)
        return guarded(plan, "tangent", outcome).x

    def transposed(_, c):
        At = A.transpose()
        inverse_t = None if inverse is None else inverse.transpose()
        # JAX drops everything but x here: a failure that is not raised is a wrong gradient.
        method, nulls_t = plan.gradient_method, nulls.transposed()
        limits = control
        if nulls.basis is not None or nulls.detect:
            c, noise = _effective(A, nulls, c)
            limits = control._replace(atol=jnp.maximum(control.atol, noise))
        outcome = run(method, At, inverse_t, c, None, limits, nulls_t, watch=plan.watch)
        return guarded(plan, "adjoint", outcome).x

    return lax.custom_linear_solve(A.mv, rhs, forward, transposed)


@jax.jit
def _effective(A: LinearOperator, nulls: NullSpace, c: Array) -> tuple[Array, Any]:
    """A cotangent of x without what no x has, all being orthogonal to the null space; and the size of its rounding."""
    found, _ = nulls.detected(A, unit_of(A, c)[0])
    if found.basis is None and found.found is None:
        return c, 0.0
    # A cotangent of constants leaves rounding, which is not to be solved for.
    size = norm(c)
    noise = 100 * jnp.finfo(size.dtype).eps * size
    if found.found is not None:
        noise = jnp.where(found.found, noise, 0)
    return found.transposed().project_solution(c), noise


def zero_tangent(value: Array) -> Any:
    """The tangent of a value that does not change: of integers it has the dtype float0."""
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
