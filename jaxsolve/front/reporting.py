"""What becomes of the outcome of a program: the result that listeners get, and the exception of a failure."""

import dataclasses
import math
from typing import Any

import jax
import jax.core
import numpy as np
from jax.sharding import Mesh

from jaxsolve.core.checks import checked
from jaxsolve.core.results import (
    ConvergenceException,
    Frozen,
    SolveInfo,
    failure_of,
    is_any_of,
    raises_nothing,
)
from jaxsolve.core.status import CONVERGED
from jaxsolve.front.structures import Structures, unpacked
from jaxsolve.solvers.driver import Outcome
from jaxsolve.telemetry.callback_primitive import disorder, tell
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
    structures: Structures
    ear: Ear | None
    throw: bool
    settings: "_Numbers"
    mesh: Mesh | None = None

    @classmethod
    def of(
        cls,
        suppress: tuple[type, ...],
        request: Frozen,
        settings: list[Any],
        methods: tuple[str, str],
        structures: Structures,
        ear: Ear | None,
        throw: bool,
        mesh: Mesh | None = None,
    ) -> "Judge | None":
        """The judge of a request, for any kind of problem; None where nobody listens and nothing raises.

        Args:
            suppress: The exception classes that are not raised.
            request: The request without its numbers.
            settings: Its numbers.
            methods: The names of the method and of that of gradients.
            structures: Those of the solution and of the right-hand side.
            ear: Who listens.
            throw: Whether failures raise.
            mesh: The devices over which a system lies, None for one.
        """
        # A program in which nothing can be raised holds no call to the host, and can be exported.
        throw = throw and not raises_nothing(suppress)
        if not throw and (ear is None or not ear.compiled):
            return None
        known = _Numbers([None if isinstance(v, jax.core.Tracer) else v for v in settings])
        return cls(suppress, request, methods, structures, ear, throw, known, mesh)

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
        own = self.structures.batch
        batched = own and lanes[-1:] == (math.prod(own),)
        batch = (*lanes[:-1], *own) if batched else lanes
        outcome = jax.tree.map(lambda v: v.reshape((*batch, *v.shape[len(lanes) :])), outcome)
        # Of a gradient through a rectangular system, half of the solves are with the adjoint matrix.
        unknown, rhs = self.structures.unknown, self.structures.rhs
        turned = kind == "adjoint" if unknown.size == rhs.size else outcome.x.shape[-1] == rhs.size
        unknown, rhs = (rhs, unknown) if turned else (unknown, rhs)
        residual, shown = outcome.residual, self.structures.shown
        if shown is not None and kind == "solve":
            rhs, residual = shown, residual[..., : shown.size]
        trajectory = outcome.trajectory
        if trajectory is not None:
            if trajectory.x is not None:
                trajectory = dataclasses.replace(
                    trajectory, x=unpacked(unknown, trajectory.x, trajectory.iterations.shape)
                )
            trajectory = trajectory.trimmed()
        return SolveInfo.of(
            outcome,
            x=unpacked(unknown, outcome.x, batch),
            residual=unpacked(rhs, residual, batch),
            trajectory=trajectory,
            settings=list(self.settings.values),
            request=self.request,
            method=self.methods[kind != "solve"],
            kind=kind,
            solve_time=np.nan,
        )


class _Numbers:
    """The numbers of a request, equal to others of their values; an array among them is equal to itself alone."""

    def __init__(self, values: list[Any]):
        self.values = values
        plain = [v if isinstance(v, int | float) or v is None else id(v) for v in values]
        self.keys = tuple(zip(map(type, values), plain, strict=True))
        self.hash = hash(self.keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numbers) and self.keys == other.keys

    def __hash__(self) -> int:
        return self.hash


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
        failure = self.quietly(*leaves)
        # The exception ends the program, and with it calls that have not been made: heard here, it is not lost.
        if failure is not None and self.judge.ear is not None:
            self.judge.ear.hear(info)
            disorder()
        return failure

    def quietly(self, *leaves: np.ndarray) -> ConvergenceException | None:
        """The same, which nobody hears."""
        return failure_of(self.judge.info(self.kind, self.treedef, leaves), self.judge.suppress)


def guarded(judge: Judge | None, kind: str, outcome: Outcome) -> Outcome:
    """The outcome, told to whoever listens; its x raises when used unless the solve converged (or nothing is to)."""
    if judge is None:
        return outcome
    # Directions for the next solve are for no listener.
    leaves, treedef = jax.tree.flatten(outcome._replace(recycled=None))
    if judge.heard:
        tell(judge.notice(kind, treedef), *leaves, ordered=True)
    if not judge.throw:
        return outcome
    failed = ~is_any_of(outcome.status, CONVERGED)
    x = checked(outcome.x, failed, leaves, judge.verdict(kind, treedef), judge.mesh)
    return outcome._replace(x=x)
