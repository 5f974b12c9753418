"""The forward solve: a system as arrays, the compiled driver, and the check of its outcome."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax import Array

from jaxsolve.core.checks import checked
from jaxsolve.core.results import ConvergenceException, is_any_of
from jaxsolve.core.status import CONVERGED
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
def run(
    method: AbstractMethod, A: Any, inverse: Any, b: Array, x0: Any, control: Control, nulls: NullSpace
) -> Outcome:
    """The driver, compiled once for each method and structure."""
    return iterate(method, A, inverse, b, x0, control, nulls)


def guarded(plan: Plan, kind: str, outcome: Outcome) -> Outcome:
    """The outcome, whose x raises when used unless the solve converged (or nothing is to be raised)."""
    if plan.judge is None:
        return outcome
    failed = ~is_any_of(outcome.status, CONVERGED)
    leaves, treedef = jax.tree.flatten(outcome)
    x = checked(outcome.x, failed, leaves, plan.judge(kind, treedef))
    return outcome._replace(x=x)
