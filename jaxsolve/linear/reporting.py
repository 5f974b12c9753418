"""From an outcome with concrete values to the result that listeners get, and to the exception of a failure."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from jaxsolve.core.results import ConvergenceException, Frozen, SolveInfo, failure_of, raises_nothing
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing
from jaxsolve.linear.observation import unpacked
from jaxsolve.linear.problem import Problem
from jaxsolve.linear.request import Solve, method_name
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.telemetry.listeners import Ear


@dataclasses.dataclass(frozen=True)
class Judge:
    """What happens with the outcomes of a request that is traced: they are told to listeners, and failures raise.

    Equal for equal requests, so that programs that hold it are compiled once; unequal for others, since JAX lets equal
    calls share one.
    """

    suppress: tuple[type, ...]
    request: Frozen
    methods: tuple[str, str]
    unknown: Packing
    rhs: Packing
    batch: tuple[int, ...]
    ear: Ear | None
    throw: bool
    settings: tuple["_Setting", ...]

    @classmethod
    def of(
        cls,
        solve: Solve,
        request: Frozen,
        method: AbstractMethod,
        problem: Problem,
        ear: Ear | None,
        throw: bool,
    ) -> "Judge | None":
        """The judge of a request; None where nobody listens and nothing raises."""
        other = solve.gradient_solve
        names = (method_name(method), method_name(method if other is None else other.method))
        structures = (problem.unknown, problem.rhs, problem.batch)
        return cls.judging(solve.suppress, request, request.split(solve), names, structures, ear, throw)

    @classmethod
    def judging(
        cls,
        suppress: tuple[type, ...],
        request: Frozen,
        settings: list[Any],
        methods: tuple[str, str],
        structures: tuple[Packing, Packing, tuple[int, ...]],
        ear: Ear | None,
        throw: bool,
    ) -> "Judge | None":
        """The judge of a request, for any kind of problem; None where nobody listens and nothing raises.

        Args:
            suppress: The exception classes that are not raised.
            request: The request without its numbers.
            settings: Its numbers.
            methods: The names of the method and of that of gradients.
            structures: Those of the solution and of the right-hand side, and the leading axes of a batch.
            ear: Who listens.
            throw: Whether failures raise.
        """
        # A program in which nothing can be raised holds no call to the host, and can be exported.
        throw = throw and not raises_nothing(suppress)
        if not throw and (ear is None or not ear.compiled):
            return None
        known = tuple(_Setting(None if is_traced(v) else v) for v in settings)
        return cls(suppress, request, methods, *structures, ear, throw, known)

    @property
    def heard(self) -> bool:
        """Whether somebody listens to what programs do."""
        return self.ear is not None and self.ear.compiled

    def notice(self, kind: str, treedef: Any) -> "Notice":
        """The listener of one solve: of the system itself, of a tangent or of an adjoint system."""
        return Notice(self, kind, treedef)

    def verdict(self, kind: str, treedef: Any) -> "Verdict":
        """The judge of one solve."""
        return Verdict(self, kind, treedef)

    def info(self, kind: str, treedef: Any, leaves: tuple[np.ndarray, ...]) -> SolveInfo:
        """The result, from the leaves of an outcome as NumPy arrays."""
        outcome = jax.tree.unflatten(treedef, leaves)
        lanes = np.shape(outcome.status)
        # The axis of a batch in one call of the front door comes last, after those of `vmap`. Adjoint systems that are
        # the same for the whole batch have none.
        batched = self.batch and lanes[-1:] == (math.prod(self.batch),)
        batch = (*lanes[:-1], *self.batch) if batched else lanes
        outcome = jax.tree.map(lambda v: v.reshape((*batch, *v.shape[len(lanes) :])), outcome)
        # Of a gradient through a rectangular system, half of the solves are with the adjoint matrix.
        square = self.unknown.size == self.rhs.size
        turned = kind == "adjoint" if square else outcome.x.shape[-1] == self.rhs.size
        unknown, rhs = (self.rhs, self.unknown) if turned else (self.unknown, self.rhs)
        trajectory = outcome.trajectory
        if trajectory is not None:
            if trajectory.x is not None:
                trajectory = dataclasses.replace(
                    trajectory, x=unpacked(unknown, trajectory.x, trajectory.iterations.shape)
                )
            trajectory = trajectory.trimmed()
        return SolveInfo(
            x=unpacked(unknown, outcome.x, batch),
            residual=unpacked(rhs, outcome.residual, batch),
            residual_norm=outcome.residual_norm,
            target=outcome.target,
            iterations=outcome.iterations,
            function_evaluations=outcome.evaluations,
            code=outcome.status,
            solve_time=np.nan,
            settings=[setting.value for setting in self.settings],
            request=self.request,
            method=self.methods[kind != "solve"],
            kind=kind,
            trajectory=trajectory,
            objective=outcome.objective,
            asymmetry=outcome.asymmetry,
            constants=outcome.constants,
        )


class _Setting:
    """A number, equal to others of its value, or an array, equal to itself."""

    def __init__(self, value: Any):
        self.value = value
        self.key = value if isinstance(value, int | float) or value is None else id(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Setting) and type(self.value) is type(other.value) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclasses.dataclass(frozen=True)
class Notice:
    """Tells listeners of one solve, unless it raises: then its verdict does."""

    judge: Judge
    kind: str
    treedef: Any

    def __call__(self, *leaves: np.ndarray) -> None:
        info = self.judge.info(self.kind, self.treedef, leaves)
        raises = self.judge.throw and failure_of(info, self.judge.suppress) is not None
        if self.judge.ear is not None and not raises:
            self.judge.ear.hear(info)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The exception of one solve that failed, None where its class is suppressed."""

    judge: Judge
    kind: str
    treedef: Any

    def __call__(self, *leaves: np.ndarray) -> ConvergenceException | None:
        info = self.judge.info(self.kind, self.treedef, leaves)
        failure = failure_of(info, self.judge.suppress)
        # The exception ends the program, and with it calls that have not been made: heard here, it is not lost.
        if failure is not None and self.judge.ear is not None:
            self.judge.ear.hear(info)
        return failure
