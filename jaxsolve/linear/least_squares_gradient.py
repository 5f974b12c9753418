"""Implicit gradients of least-squares solutions of least norm, x = A⁺b, for A of any shape and of constant rank.

With the residual r = b - A x and u = A⁺ᴴ x (Golub & Pereyra 1973, equation 4.12, times b):

    dx = A⁺ (db - dA x)  +  A⁺ A⁺ᴴ dAᴴ r  +  (I - A⁺A) dAᴴ u

Columns of different units are scaled where x is looked for: x = S y with the y of least norm (`solvers.units`).

The second term vanishes where A x = b, as for wide A of full rank, the third where the columns of A are independent, as
for tall A of full rank. Both are linear in solves with A and Aᴴ, which does not square the condition number.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.tangent import pushed
from jaxsolve.core.vector import exponent, mul
from jaxsolve.linear.forward import System
from jaxsolve.linear.scaled_products import ColumnScaled
from jaxsolve.solvers.column_units import column_norms, column_scales
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.units import unit_of


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
    A, (m, n) = system.A, system.A.shape
    x = outcome.x if system.x0 is None else outcome.x - system.x0
    given = system.of_gradient(None if method.least_norm else outcome.status)
    AS, S = in_scaled_columns(method, given, outcome.residual.dtype)

    def unscaled(v: Array) -> Array:
        return v if S is None else mul(S, v)

    def solve_adjoint(v: Array) -> Array:
        return jnp.conj(solve(AS.transposed(), jnp.conj(v), turned=True))

    def moved_adjoint(v: Array) -> Array | None:
        """dAᴴ v."""
        moved = pushed(A, tangent, lambda A: A.adjoint().mv(v))
        return None if moved is None else unscaled(moved)

    if m > n or method.least_norm:
        moved = moved_adjoint(outcome.residual)
        rhs = rhs if moved is None else [*rhs, solve_adjoint(moved)]
    if (m < n or method.least_norm) and pushed(A, tangent, lambda A: A.mv(x)) is not None:
        # From a guess, x is the solution next to it.
        u = solve_adjoint(x if S is None else x / S.astype(x.dtype))
        moved = moved_adjoint(u)
        assert moved is not None
        return unscaled(moved + solve(AS, *rhs, -AS.A.mv(moved)))
    return unscaled(solve(AS, *rhs))


def in_scaled_columns(method: AbstractMethod, system: System, dtype: Any) -> tuple[System, Array | None]:
    """The system of the y in x = S y, and S; the system itself and None where the driver does not scale columns."""
    A, (m, n) = lax.stop_gradient(system.A), system.A.shape
    scaled = isinstance(A, ColumnScaled)
    if scaled or not method.least_norm or m <= n or system.inverse is not None:
        return system, None
    unit, _ = unit_of(A, jnp.zeros(0, dtype))
    found = column_norms(A, exponent(unit), jnp.finfo(dtype).dtype)
    if found is None:
        return system, None
    S = column_scales(found[0])
    return dataclasses.replace(system, A=ColumnScaled(system.A, S)), S
