"""Implicit gradients of least-squares and minimum-norm solutions of rectangular systems of full rank.

With the residual r = b - A x (Golub & Pereyra 1973, for full rank):

    tall, x = (AᴴA)⁻¹Aᴴ b:    dx = (AᴴA)⁻¹ (Aᴴ(db - dA x) + dAᴴ r)
    wide, x = Aᴴw, w = (AAᴴ)⁻¹b:    dx = dAᴴ w + Aᴴ (AAᴴ)⁻¹ (db - dA x - A dAᴴ w)

A system with AᴴA is solved by two solves with A and Aᴴ, which does not square the condition number.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.linear.forward import Plan, System, guarded, run
from jaxsolve.linear.push import pushed
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nullspace import NullSpace


def pseudo_tangent(plan: Plan, system: System, tangent: Any, outcome: Outcome, rhs: Array) -> Array:
    """dx for a rectangular system.

    Args:
        plan: The methods.
        system: The system.
        tangent: The tangent of its operator.
        outcome: Its solution and residual.
        rhs: db - dA x.
    """
    A, (m, n) = system.A, system.A.shape
    if m > n:
        moved = pushed(A, tangent, lambda A: A.adjoint().mv(outcome.residual))
        rhs = A.adjoint().mv(rhs)
        return normal_solve(plan, system, rhs if moved is None else rhs + moved, wide=False)
    w = normal_solve(plan, system, A.mv(outcome.x), wide=True)
    moved = pushed(A, tangent, lambda A: A.adjoint().mv(w))
    if moved is None:
        return A.adjoint().mv(normal_solve(plan, system, rhs, wide=True))
    return moved + A.adjoint().mv(normal_solve(plan, system, rhs - A.mv(moved), wide=True))


def normal_solve(plan: Plan, system: System, rhs: Array, wide: bool) -> Array:
    """(AᴴA)⁻¹ rhs, or (AAᴴ)⁻¹ rhs for wide A; linear in rhs, differentiable in A."""
    A, (inverse, control) = system.A, system.gradient

    def product(v):
        return A.mv(A.adjoint().mv(v)) if wide else A.adjoint().mv(A.mv(v))

    def solve(kind: str, v: Array) -> Array:
        stages = (A, A.adjoint()) if wide else (A.adjoint(), A)
        for stage in stages:
            prepared = inverse if stage is A or inverse is None else inverse.adjoint()
            nulls = NullSpace()
            outcome = run(plan.gradient_method, stage, prepared, v, None, control, nulls, watch=plan.watch)
            v = guarded(plan, kind, outcome).x
        return v

    def transposed(_, v):
        # (AᴴA)ᵀ is its conjugate.
        return jnp.conj(solve("adjoint", jnp.conj(v)))

    return lax.custom_linear_solve(product, rhs, lambda _, v: solve("tangent", v), transposed)
