"""Implicit gradients: tangents and cotangents by one more solve each, never through the loop.

From A x = b follows A dx = db - dA x. The tangent system is solved by the same rule as the first one, and so is the
transposed system of a cotangent, which gives derivatives of any order. Both have their own tolerance (relative to their
own right-hand side: the user's `atol` is in other units there), their own guess (none) and their own failures. Where A
is singular or not finite the derivative is NaN.

Under a null space N(p) of A and Aᴴ, x has no part in N: from Nᴴ x = 0 follows dx = A⁺(db - dA x) - N dNᴴ x. As A N = 0,
-N dNᴴ x = N Nᴴ dAᴴ A⁺ᴴ x: of methods that find A⁺b for any A it is the last term of `pseudo`, and not added again.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.implicit import Rule, implicit
from jaxsolve.core.memo import compiled
from jaxsolve.core.results import is_any_of
from jaxsolve.core.shards import axes_of, greatest, one_vector_over, varying
from jaxsolve.core.status import UNDEFINED, Status
from jaxsolve.core.tangent import pushed
from jaxsolve.core.vector import dot, mul, norm
from jaxsolve.front.reporting import guarded
from jaxsolve.linear.forward import Plan, System, run
from jaxsolve.linear.least_squares_gradient import in_scaled_columns, pseudo_tangent
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.units import unit_of

T = TypeVar("T")

#: What is left of a right-hand side that vanishes, in rounding errors of its terms.
CANCELLED = 100


def implicit_solve(plan: Plan, system: System, *terms: Array, kind: str = "solve") -> Outcome:
    """The outcome of a system, differentiable in A, b and the null space by the implicit function theorem.

    Args:
        plan: The methods.
        system: The system.
        *terms: b as a sum: where it vanishes, the size of its terms tells what is rounding.
        kind: What is solved, for those who listen: "solve", "tangent" or "adjoint".
    """
    # Parts of one vector vary over its devices, be the values that they are made of the same on all.
    axes = axes_of((system, terms)).union(plan.joined.axes)
    return implicit(Solution(plan, kind), system, varying(terms, axes))


def tangent_solve(plan: Plan, system: System, rhs: Array) -> Array:
    """A⁻¹ rhs by the method for gradients, linear in rhs and differentiable in A."""
    return implicit_solve(plan.of_gradient(), system.of_gradient(), rhs, kind="tangent").x


def _over_its_parts(f: Callable[..., T]) -> Callable[..., T]:
    """A method of a solution with the vectors that its plan tells of."""

    @functools.wraps(f)
    def over(self: "Solution", *args: Any) -> T:
        with one_vector_over(self.plan.joined):
            return f(self, *args)

    return over


@dataclasses.dataclass(frozen=True)
class Solution(Rule):
    """The solution of a system as a function of (system, terms of b)."""

    plan: Plan
    kind: str

    linear = True

    @_over_its_parts
    def value(self, system: System, terms: tuple[Array, ...]) -> Outcome:
        s, b = system, sum(terms[1:], terms[0])
        control = s.control
        if self.kind != "solve" and (s.nulls.basis is not None or s.nulls.detect):
            control = control._replace(noise=_rounding(terms))
        outcome = run(
            self.plan.method, s.A, s.inverse, b, s.x0, control, s.nulls, s.recycled, watch=self.plan.watch
        )
        if self.kind != "solve":
            outcome = outcome._replace(x=_if_defined(self, s.origin, outcome, b))
            if self.plan.method.least_norm:
                # A⁺ of any vector is meant, also where A is square and does not reach it.
                nearest = outcome.status == int(Status.inconsistent)
                status = jnp.where(nearest, int(Status.least_squares), outcome.status)
                outcome = outcome._replace(status=status.astype(outcome.status.dtype))
        return guarded(self.plan.judge, self.kind, outcome)

    @_over_its_parts
    def tangent(self, args: tuple, tangents: tuple) -> tuple[Outcome, Outcome]:
        (system, terms), (dsystem, dterms) = args, tangents
        system = system.built()
        outcome = implicit(self, system, terms)
        x, (m, n) = outcome.x, system.A.shape
        # A dx = db - dA x, the sum of these.
        rhs = [t for t in dterms if not isinstance(t, SymbolicZero)]
        moved = pushed(system.A, dsystem.A, lambda A: A.mv(x))
        if moved is not None:
            rhs.append(-moved.astype(x.dtype))
        plan, kind = self.plan.of_gradient(), "tangent" if self.kind == "solve" else self.kind

        def solve(system: System, *terms: Array, turned: bool = False) -> Array:
            return implicit_solve(plan, system, *terms, kind=_turned(kind) if turned else kind).x

        if not rhs:
            dx = jnp.zeros_like(x)
        elif m == n and not self.plan.method.least_norm:
            dx = solve(system.of_gradient(outcome.status), *rhs)
        else:
            dx = pseudo_tangent(self.plan.method, system, dsystem.A, outcome, rhs, solve)
        # What turns the null space turns the rows of A, which tangents of least norm take along.
        basis = None if m < n or self.plan.method.least_norm else system.nulls.basis
        if basis is not None:
            turning = pushed(system.nulls, dsystem.nulls, lambda nulls: jnp.conj(nulls.basis.T) @ x)
            dx = dx if turning is None else dx - basis @ turning
        dr, along = _residual_tangent(system.A, outcome, rhs, dx)
        still = jax.tree.map(lambda _: None, outcome)
        return outcome, still._replace(x=dx, residual=dr, residual_norm=along)

    def held_linear(self, system: System, terms: tuple[Array, ...]) -> Any:
        # A first guess leaves no trace but within the tolerance, and nor do directions of an earlier solve.
        return terms, system.x0, system.recycled

    @_over_its_parts
    def transposed(self, args: tuple, places: tuple, cotangents: list[Any]) -> tuple[Array, ...]:
        """The cotangent of b: Aᵀ⁻¹ applied to that of x, and what comes by r = b - A x."""
        system = args[0].built().of_gradient()
        c, direct, *others = cotangents
        if any(ct is not None for ct in others):
            raise NotImplementedError(
                "a solve can be transposed by its x and its residual only, which are linear in b; take jax.vjp."
            )
        if direct is not None:
            through = system.A.transpose().mv(direct)
            c = -through if c is None else c - through
        if system.nulls.basis is not None or system.nulls.detect:
            parts = c, _ineffective(system.A, system.nulls, c)
        else:
            parts = (c,)
        # x = S (A S)⁺ b where the columns of A are scaled, which is another x where they depend on each other.
        S = None
        if self.plan.method.least_norm:
            system, S = in_scaled_columns(self.plan.method, system, c.dtype)
        if S is not None:
            parts = tuple(mul(S, part) for part in parts)
        found = implicit_solve(
            self.plan.of_gradient(), system.transposed(), *parts, kind=_turned(self.kind)
        ).x
        return (found if direct is None else found + direct,) * len(places)


def _turned(kind: str) -> str:
    return "tangent" if kind == "adjoint" else "adjoint"


@functools.partial(compiled, static=1)
def _if_defined(solution: Solution, origin: Array | None, outcome: Outcome, b: Array) -> Array:
    """x, NaN where there is no derivative."""
    # Solutions of least norm have one whatever the rank.
    void = is_any_of(outcome.status, UNDEFINED[:1] if solution.plan.method.least_norm else UNDEFINED)
    if origin is not None:
        void = void | is_any_of(origin, UNDEFINED)
    x = jnp.where(void, jnp.nan, outcome.x)
    # The failed lane of a batch does not touch the gradient of the others, which asks nothing of it.
    return jnp.where(greatest(jnp.any(b != 0)), x, 0) if solution.kind == "adjoint" else x


@compiled
def _residual_tangent(
    A: LinearOperator, outcome: Outcome, rhs: Sequence[Array], dx: Array
) -> tuple[Array, Array]:
    """The tangents of b - A x, which is not zero where nothing solves the system or it was not solved; of its norm."""
    dr, length = sum(rhs, -A.mv(dx)), outcome.residual_norm
    return dr, dot(outcome.residual / jnp.where(length > 0, length, 1), dr).real


@compiled
def _rounding(terms: Sequence[Array]) -> Array:
    """The rounding of a sum, which is not to be solved for: a singular system has no solution for it."""
    size = sum(map(norm, terms[1:]), norm(terms[0]))
    return CANCELLED * jnp.finfo(size.dtype).eps * size


@compiled
def _ineffective(A: LinearOperator, nulls: NullSpace, c: Array) -> Array:
    """What to add to a cotangent of x, so that it asks for nothing that no x has: all are orthogonal to the null space.

    Of a cotangent of constants rounding is left.
    """
    found, _ = nulls.detected(A, unit_of(A, lax.stop_gradient(c))[0])
    return found.transposed().project_solution(c) - c
