"""The Jacobian of a condition in the form that its linear solve wants, and one solve with it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.errors import TraceError
from jaxsolve.core.implicit import Rule, implicit
from jaxsolve.core.tangent import pushed
from jaxsolve.core.tree import Packing
from jaxsolve.front.reporting import Judge, guarded
from jaxsolve.front.request import Solve, needs_entries
from jaxsolve.front.structures import Structures
from jaxsolve.linear.deferred_preconditioner import built
from jaxsolve.linear.forward import Plan, System, run
from jaxsolve.linear.gradient import tangent_solve
from jaxsolve.linear.preparation import chosen, limits, prepared
from jaxsolve.linear.problem import null_space
from jaxsolve.nonlinear.differentiation_modes import jacobian
from jaxsolve.nonlinear.elimination import Elimination
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.dense_factors import LU
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.watch import SILENT
from jaxsolve.tracer.jacobian import jacobian_operator

#: Up to this size nothing is gained by looking for a narrow band (dense factors: 0.3 ms at 128 on one core).
SMALL = 128
#: Up to this size a dense Jacobian and its factors (0.2 s at 512 on one core) cost less than anything sparse.
DENSE = 512
#: Up to this size sparse factors of a grid in two dimensions take less than 0.2 s.
DIRECT = 20_000
#: Steps of a cycle of GMRES where multigrid takes 3 to 8: each step reads the whole room of the basis.
SHORT = 10

Function = Callable[[Array], Array]


def linearised(F: Function, x: Array, linear: Solve | None) -> tuple[LinearOperator, Solve]:
    """The derivative of F at x, and the request that solves with it.

    Args:
        F: From vectors of shape (n,) to the same.
        x: The point.
        linear: What the user asks of linear solves; None chooses by size and sparsity.
    """
    if linear is None:
        return _chosen(F, x)
    if isinstance(linear.method, LU) and x.shape[0] <= DENSE:
        return dense(F, x), linear
    if needs_entries(linear):
        return jacobian_operator(F, x), linear
    return matrix_free(F, x), linear


def _chosen(F: Function, x: Array) -> tuple[LinearOperator, Solve]:
    n = x.shape[0]
    # Gradients are solved to this tolerance.
    rtol = 1e-8 if jnp.finfo(x.dtype).eps < 1e-10 else 1e-5
    if n <= SMALL:
        return dense(F, x), Solve("LU", rtol=rtol)
    try:
        A = jacobian_operator(F, x)
    except TraceError:
        if n <= DENSE:
            return dense(F, x), Solve("LU", rtol=rtol)
        return matrix_free(F, x), Solve("GMres", rtol=rtol)
    if max(A.pattern.bandwidth) <= 2:
        return A, Solve("banded", rtol=rtol)
    if n <= DENSE:
        return dense(F, x), Solve("LU", rtol=rtol)
    if n <= DIRECT:
        return A, Solve("sparse-direct", rtol=rtol)
    if A.pattern.is_symmetric:
        return A, Solve(GMRES(SHORT), rtol=rtol, preconditioner="amg")
    return A, Solve("GMres", rtol=rtol, preconditioner="ilu")


def dense(F: Function, x: Array) -> DenseMatrix:
    """The derivative as an array."""
    return DenseMatrix(jacobian(F, x))


def matrix_free(F: Function, x: Array) -> LinearOperator:
    """The derivative by products, the nonlinear parts of which are computed once."""
    value, tangent = jax.linearize(F, x)
    unknown, image = Packing.vector(x.shape[0], x.dtype), Packing.vector(value.shape[0], value.dtype)
    return function_operator(tangent, unknown, image, x.dtype, (), {})[0]


def inverse_of(A: LinearOperator, solve: Solve) -> Any:
    """The factorisation or the preconditioner that a request asks for, None where neither is."""
    structures = Structures.flat(A.shape, A.dtype)
    method, recipe, *_ = chosen(solve, A)
    if _eliminated(A, solve):
        return lax.stop_gradient(Elimination.of(A.as_matrix(), solve.rank_deficiency is None))
    return built(prepared(method, recipe, A, structures, null_space(solve, structures), eager=False))


def _eliminated(A: LinearOperator, solve: Solve) -> bool:
    known = solve.null_space is not None or bool(solve.rank_deficiency) or solve.inner_dtype is not None
    return A.dense_form is not None and isinstance(solve.method, LU) and not known


def lasts(A: LinearOperator, solve: Solve) -> bool:
    """Whether what `inverse_of` gives for A is of use for other matrices near A: preconditioners, not factors."""
    method, recipe, *_ = chosen(solve, A)
    # What is in a lower precision holds A in it, too.
    return method.preconditioned and recipe is not None and solve.inner_dtype is None


def solved(A: LinearOperator, solve: Solve, inverse: Any, rhs: Array, rtol: Any) -> Outcome:
    """The solution of A d = rhs to a tolerance of its own; no gradient is taken of it."""
    if isinstance(inverse, Elimination):
        return inverse.solve(rhs, rtol)
    method, nulls = chosen(solve, A).method, null_space(solve, Structures.flat(A.shape, rhs.dtype))
    real = jnp.finfo(rhs.dtype).dtype
    control = Control(
        jnp.asarray(rtol, real), jnp.zeros((), real), jnp.asarray(solve.max_iterations, jnp.int32)
    )
    return run(method, A.layout(), inverse, rhs, None, control, nulls)


class Linearisation(eqx.Module):
    """A derivative with what its linear solves need, ready for tangents and cotangents.

    Attributes:
        A: The derivative in the form that is applied.
        inverse: Its factors or its preconditioner.
        nulls: Its null space.
        control: Tolerances and limit.
        method: What solves.
    """

    A: LinearOperator
    inverse: Any
    nulls: NullSpace
    control: Control
    method: AbstractMethod = eqx.field(static=True)

    @classmethod
    def at(cls, F: Function, x: Array, linear: Solve | None) -> "Linearisation":
        """The derivative of F at x; `linear` as in `linearised`."""
        A, solve = linearised(F, x, linear)
        structures = Structures.flat(A.shape, x.dtype)
        # Tangents have other units than an absolute tolerance.
        control = limits(eqx.tree_at(lambda s: s.atol, solve, 0.0), structures)
        control = lax.stop_gradient(jax.tree.map(jnp.asarray, control))
        method, nulls = chosen(solve, A).method, null_space(solve, structures)
        return cls(A.layout(), inverse_of(A, solve), nulls, control, method)

    def solved(self, rhs: Array, judge: Judge | None) -> Array:
        """A⁻¹ rhs, linear in rhs and differentiable in A; failures raise."""
        plan = Plan(self.method, self.method, judge, SILENT)
        if isinstance(self.inverse, Elimination):
            return implicit(Eliminated(plan, "tangent"), self, rhs).x
        gradient = (self.inverse, self.control)
        system = System(self.A, self.inverse, None, self.control, self.nulls, gradient)
        return tangent_solve(plan, system, rhs)


@dataclasses.dataclass(frozen=True)
class Eliminated(Rule):
    """A⁻¹ rhs by the factors of a `Linearisation`, as a function of (linearisation, rhs).

    Attributes:
        plan: Where failures go.
        kind: What is solved: a "tangent" system, or with Aᵀ its "adjoint".
    """

    plan: Plan
    kind: str

    linear = True

    def value(self, at: Linearisation, rhs: Array) -> Outcome:
        substituted = at.inverse.solve if self.kind == "tangent" else at.inverse.solve_transposed
        return guarded(self.plan.judge, self.kind, substituted(rhs, at.control.rtol))

    def tangent(self, args: tuple, tangents: tuple) -> tuple[Outcome, Outcome]:
        (at, rhs), (dat, drhs) = args, tangents
        outcome = implicit(self, at, rhs)
        moved = pushed(at.A, dat.A, lambda A: (A if self.kind == "tangent" else A.transpose()).mv(outcome.x))
        drhs = jnp.zeros_like(rhs) if isinstance(drhs, SymbolicZero) else drhs
        dx = implicit(self, at, drhs if moved is None else drhs - moved).x
        return outcome, jax.tree.map(lambda _: None, outcome)._replace(x=dx)

    def transposed(self, args: tuple, places: Any, cotangents: list[Any]) -> Array:
        turned = dataclasses.replace(self, kind="adjoint" if self.kind == "tangent" else "tangent")
        return implicit(turned, args[0], cotangents[0]).x
