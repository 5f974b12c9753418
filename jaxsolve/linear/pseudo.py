"""Implicit gradients of least-squares solutions of least norm, x = A⁺b, for A of any shape and of constant rank.

With the residual r = b - A x and u = A⁺ᴴ x (Golub & Pereyra 1973, equation 4.12, times b):

    dx = A⁺ (db - dA x)  +  A⁺ A⁺ᴴ dAᴴ r  +  (I - A⁺A) dAᴴ u

The second term vanishes where A x = b, as for wide A of full rank, the third where the columns of A are independent, as
for tall A of full rank. Both are linear in solves with A and Aᴴ, which does not square the condition number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxsolve.linear.forward import System
from jaxsolve.linear.push import pushed
from jaxsolve.solvers.base import AbstractMethod
from jaxsolve.solvers.driver import Outcome


def pseudo_tangent(
    method: AbstractMethod,
    system: System,
    tangent: Any,
    outcome: Outcome,
    rhs: Sequence[Array],
    solve: Callable[..., Array],
) -> Array:
    """dx.

    Args:
        method: What found x; one that is not for any rank had A of full rank.
        system: The system.
        tangent: The tangent of its operator.
        outcome: Its solution and residual.
        rhs: db - dA x, as a sum.
        solve: The solution of a system for tangents, from the terms of its right-hand side; `turned` for one with Aᵀ.
    """
    A, (m, n), of_gradient = system.A, system.A.shape, system.of_gradient()

    def solve_adjoint(v: Array) -> Array:
        return jnp.conj(solve(of_gradient.transposed(), jnp.conj(v), turned=True))

    if m > n or method.least_norm:
        moved = pushed(A, tangent, lambda A: A.adjoint().mv(outcome.residual))
        rhs = rhs if moved is None else [*rhs, solve_adjoint(moved)]
    if (m < n or method.least_norm) and pushed(A, tangent, lambda A: A.mv(outcome.x)) is not None:
        # From a guess, x is the solution next to it.
        u = solve_adjoint(outcome.x if system.x0 is None else outcome.x - system.x0)
        moved = pushed(A, tangent, lambda A: A.adjoint().mv(u))
        assert moved is not None
        return moved + solve(of_gradient, *rhs, -A.mv(moved))
    return solve(of_gradient, *rhs)
