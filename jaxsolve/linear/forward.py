"""The forward solve: a system as arrays, the compiled driver, and the check of its outcome."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
from jax import Array

from jaxsolve.core.checks import checked
from jaxsolve.core.results import is_any_of
from jaxsolve.core.status import CONVERGED
from jaxsolve.linear.verdict import Judge
from jaxsolve.operators.base import LinearOperator
from jaxsolve.solvers.base import AbstractMethod
from jaxsolve.solvers.driver import Control, Outcome, iterate
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.tell import tell
from jaxsolve.telemetry.watch import SILENT, Watch


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
    """What is decided before tracing.

    Attributes:
        method: The method of the system.
        gradient_method: The method of tangent and adjoint systems.
        judge: Where outcomes go, None where nothing is raised and nobody listens.
        watch: What observes the loops.
    """

    method: AbstractMethod
    gradient_method: AbstractMethod
    judge: Judge | None
    watch: Watch


@functools.partial(jax.jit, static_argnums=0, static_argnames="watch")
def run(
    method: AbstractMethod,
    A: Any,
    inverse: Any,
    b: Array,
    x0: Any,
    control: Control,
    nulls: NullSpace,
    watch: Watch = SILENT,
) -> Outcome:
    """The driver, compiled once for each method and structure."""
    return iterate(method, A, inverse, b, x0, control, nulls, watch)


def guarded(plan: Plan, kind: str, outcome: Outcome) -> Outcome:
    """The outcome, told to whoever listens; its x raises when used unless the solve converged (or nothing is to)."""
    if plan.judge is None:
        return outcome
    leaves, treedef = jax.tree.flatten(outcome)
    if plan.judge.heard:
        tell(plan.judge.notice(kind, treedef), *leaves, ordered=True)
    if not plan.judge.throw:
        return outcome
    failed = ~is_any_of(outcome.status, CONVERGED)
    x = checked(outcome.x, failed, leaves, plan.judge.verdict(kind, treedef))
    return outcome._replace(x=x)
