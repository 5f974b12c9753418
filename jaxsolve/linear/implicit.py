"""Implicit gradients: tangents and cotangents by one more solve each, never through the loop.

From A x = b follows A dx = db - dA x. The primal solve has this rule as its `custom_jvp`; the tangent solve is linear
in its right-hand side, and `custom_linear_solve` turns it into the transposed solve for reverse mode. Keeping the two
apart gives tangent and adjoint systems their own tolerance (relative to their own right-hand side: the user's `atol`
is in other units there), their own guess (none) and their own failures.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.checks import checked
from jaxsolve.core.results import CONVERGED, ConvergenceException, is_any_of
from jaxsolve.operators.base import LinearOperator
from jaxsolve.solvers.base import AbstractMethod
from jaxsolve.solvers.driver import Control, Outcome, iterate
from jaxsolve.solvers.nullspace import NullSpace


class System(eqx.Module):
    """A system ready to be solved: everything that is an array or may be traced.

    Attributes:
        A: The operator in the form that runs.
        inverse: Preconditioner or factorisation, None for neither.
        b: Right-hand side, shape (m,).
        x0: First guess, None for zero.
        control: Tolerances and limit.
        nulls: Null space of A.
        gradient: Inverse and control for tangent and adjoint solves.
    """

    A: LinearOperator
    inverse: Any
    b: Array
    x0: Array | None
    control: Control
    nulls: NullSpace
    gradient: tuple[Any, Control]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is decided before tracing: the methods, and what judges their outcome (None: nothing is raised)."""

    method: AbstractMethod
    gradient_method: AbstractMethod
    judge: Callable[..., Callable[..., ConvergenceException | None]] | None


@functools.partial(jax.jit, static_argnums=0)
def run(method: AbstractMethod, A: Any, inverse: Any, b: Array, x0: Any, control: Control, nulls: NullSpace) -> Outcome:
    """The driver, compiled once for each method and structure."""
    return iterate(method, A, inverse, b, x0, control, nulls)


def guarded(plan: Plan, kind: str, outcome: Outcome) -> Outcome:
    """The outcome, whose x raises when used unless the solve converged (or nothing is to be raised)."""
    if plan.judge is None:
        return outcome
    failed = ~is_any_of(outcome.status, CONVERGED)
    leaves, treedef = jax.tree.flatten(outcome)
    x = checked(outcome.x, failed, leaves, plan.judge(kind, treedef))
    return eqx.tree_at(lambda o: o.x, outcome, x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def implicit_solve(plan: Plan, system: System) -> Outcome:
    """The outcome of a system, differentiable in A and b by the implicit function theorem."""
    s = system
    return guarded(plan, "solve", run(plan.method, s.A, s.inverse, s.b, s.x0, s.control, s.nulls))


@functools.partial(implicit_solve.defjvp, symbolic_zeros=True)
def _tangent(plan, primals, tangents):
    (system,), (tangent,) = primals, tangents
    outcome = implicit_solve(plan, system)
    x = outcome.x
    rhs = _pushed(system.A, tangent.A, x)
    rhs = jnp.zeros_like(system.b) if rhs is None else -rhs.astype(system.b.dtype)
    if not isinstance(tangent.b, SymbolicZero):
        rhs = rhs + tangent.b
    dx = tangent_solve(plan, system, rhs)
    # The residual is that of a solved system for every b and A: its derivative is zero, as are those of the counts.
    zeros = jax.tree.map(_zero_tangent, outcome)
    return outcome, eqx.tree_at(lambda o: o.x, zeros, dx)


def tangent_solve(plan: Plan, system: System, rhs: Array) -> Array:
    """A⁻¹ rhs, linear in rhs: solved again for tangents, transposed for cotangents."""
    A, (inverse, control), nulls = system.A, system.gradient, system.nulls

    def forward(_, c):
        return guarded(plan, "tangent", run(plan.gradient_method, A, inverse, c, None, control, nulls)).x

    def transposed(_, c):
        At = A.transpose()
        inverse_t = None if inverse is None else inverse.transpose()
        # JAX drops everything but x here: a failure that is not raised is a wrong gradient.
        outcome = run(plan.gradient_method, At, inverse_t, c, None, control, nulls.transposed())
        return guarded(plan, "adjoint", outcome).x

    return lax.custom_linear_solve(A.mv, rhs, forward, transposed)


def _pushed(A: Any, tangent: Any, x: Array) -> Array | None:
    """dA x, None where A has no tangent."""
    leaves, treedef = jax.tree.flatten(A)
    tangents = jax.tree.leaves(tangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    moved = [k for k, t in enumerate(tangents) if not isinstance(t, SymbolicZero)]
    if not moved:
        return None

    def product(*values):
        full = list(leaves)
        for k, value in zip(moved, values, strict=True):
            full[k] = value
        return jax.tree.unflatten(treedef, full).mv(x)

    return jax.jvp(product, tuple(leaves[k] for k in moved), tuple(tangents[k] for k in moved))[1]


def _zero_tangent(value: Array) -> Any:
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
