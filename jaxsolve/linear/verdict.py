"""From a failed outcome to the exception that tells of it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxsolve.core.results import Frozen, SolveInfo, failure_of
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing
from jaxsolve.linear.problem import Problem
from jaxsolve.linear.request import Solve, method_name
from jaxsolve.solvers.base import AbstractMethod


@dataclasses.dataclass(frozen=True)
class Judge:
    """Makes the exception of a failed solve out of its outcome, when that is concrete.

    Equal for equal requests, so that programs that hold it are compiled once.
    """

    suppress: tuple[type, ...]
    request: Frozen
    methods: tuple[str, str]
    unknown: Packing
    rhs: Packing
    settings: Any = dataclasses.field(compare=False)

    def __init__(self, solve: Solve, request: Frozen, method: AbstractMethod, problem: Problem):
        other = solve.gradient_solve
        names = (method_name(method), method_name(method if other is None else other.method))
        values = [None if is_traced(v) else v for v in request.split(solve)]
        for name, value in (
            ("suppress", solve.suppress),
            ("request", request),
            ("methods", names),
            ("unknown", problem.unknown),
            ("rhs", problem.rhs),
            ("settings", values),
        ):
            object.__setattr__(self, name, value)

    def __call__(self, kind: str, treedef: Any) -> Any:
        """The judge of one solve: of the system itself, of a tangent or of an adjoint system."""
        return Verdict(self, kind, treedef)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What `Judge` says of one solve, given the leaves of its outcome as NumPy arrays."""

    judge: Judge
    kind: str
    treedef: Any

    def __call__(self, *evidence):
        outcome = jax.tree.unflatten(self.treedef, evidence)
        transposed = self.kind == "adjoint"
        unknown, rhs = self.judge.unknown, self.judge.rhs
        batch = np.shape(outcome.status)
        info = SolveInfo(
            x=_numpy(rhs if transposed else unknown, outcome.x, batch),
            residual=_numpy(unknown if transposed else rhs, outcome.residual, batch),
            residual_norm=outcome.residual_norm,
            target=outcome.target,
            iterations=outcome.iterations,
            function_evaluations=outcome.evaluations,
            code=outcome.status,
            solve_time=np.nan,
            settings=self.judge.settings,
            request=self.judge.request,
            method=self.judge.methods[self.kind != "solve"],
            kind=self.kind,
        )
        return failure_of(info, self.judge.suppress)


def _numpy(packing: Packing, values: np.ndarray, batch: tuple[int, ...]) -> Any:
    """The tree of a (batch of) flat NumPy vectors; no JAX, since this runs inside callbacks."""
    leaves, start = [], 0
    for shape in packing.shapes:
        stop = start + int(np.prod(shape, dtype=int))
        leaves.append(values[..., start:stop].reshape(*batch, *shape))
        start = stop
    return jax.tree.unflatten(packing.treedef, leaves)
