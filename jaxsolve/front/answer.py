"""answered: how a problem of any kind is solved for the user. Listen, pose, run, judge, tell, raise."""

import abc
import time
from collections.abc import Callable
from typing import Any

import jax.core
import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import by_identity
from jaxsolve.core.results import Frozen, SolveInfo, failure_of
from jaxsolve.core.status import Status
from jaxsolve.front.observation import shown, watch_for
from jaxsolve.front.reporting import Judge
from jaxsolve.front.request import Solve
from jaxsolve.front.structures import Structures
from jaxsolve.solvers.driver import Outcome
from jaxsolve.telemetry.listeners import Ear, ear
from jaxsolve.telemetry.watch import SILENT, Watch


class Posed(abc.ABC):
    """A problem that was posed, ready to run.

    Attributes:
        structures: Those of its vectors.
        methods: The names of the method that runs and of that of gradients.
        note: What else there is to say of its result.
        fit: What its result keeps of a fit.
        mesh: The devices over which it lies, None for one.
    """

    structures: Structures
    methods: tuple[str, str]
    note: str = ""
    fit: Any = None
    mesh: Any = None

    @abc.abstractmethod
    def at_once(self, watch: Watch) -> Outcome | None:
        """The outcome where all values are concrete; traced or None where they are not."""

    @abc.abstractmethod
    def by_rule(self, judge: Judge | None, watch: Watch) -> Outcome:
        """The outcome of traced values, which raises, tells and is differentiated by itself."""

    def instead(self, outcome: Outcome | Exception) -> "Posed | None":
        """What is tried after this concrete outcome or refusal, None for nothing; its own counts if it converged."""
        return None

    @property
    def failures(self) -> str:
        """What is to be said where this was the last road, and failed as the others did."""
        return self.note

    def ended(self, info: SolveInfo) -> None:  # noqa: B027  (most have nothing to do)
        """Hears of its result where the values are concrete."""


@by_identity
def frozen(solve: Solve) -> tuple[Frozen, list[Any]]:
    """A request without its numbers, and these."""
    request = Frozen(solve)
    return request, request.split(solve)


def answered(pose: Callable[[], Posed], solve: Solve, throw: bool) -> SolveInfo:
    """How the solve of a problem went, told to whoever listens.

    Args:
        pose: Poses the problem, or refuses it.
        solve: The request.
        throw: Whether failures raise.
    """
    listener = ear()
    if listener is None:
        return _answered(pose, solve, throw, None)
    with listener.quiet():
        return _answered(pose, solve, throw, listener)


def _answered(pose: Callable[[], Posed], solve: Solve, throw: bool, listener: Ear | None) -> SolveInfo:
    started = time.perf_counter()
    posed = pose()
    request, settings = frozen(solve)
    watched = listener is not None or solve.progress
    watch = watch_for(solve, posed.structures, posed.methods[0], listener) if watched else SILENT

    def run(posed: Posed) -> tuple[Outcome, bool]:
        """The outcome, and whether its program has told it."""
        outcome = posed.at_once(watch)
        if outcome is not None and not isinstance(outcome.status, jax.core.Tracer):
            return outcome, False
        judge = Judge.of(
            solve.suppress, request, settings, posed.methods, posed.structures, listener, throw, posed.mesh
        )
        return posed.by_rule(judge, watch), True

    outcome, told, posed = _arrived(posed, run)
    traced = isinstance(outcome.status, jax.core.Tracer)
    # Looking at the status waits for the result, so the time is that of the solve.
    if not traced:
        np.asarray(outcome.status)
    seconds = np.nan if traced else time.perf_counter() - started
    info = _result(posed, outcome, settings, request, seconds)
    if not traced:
        posed.ended(info)
    if listener is not None:
        listener.hear_traced(info)
        if not told:
            listener.hear(info)
    failure = failure_of(info, solve.suppress) if throw and not traced else None
    if failure is not None:
        raise failure
    return info


def _arrived(posed: Posed, run: Callable[[Posed], tuple[Outcome, bool]]) -> tuple[Outcome, bool, Posed]:
    """The outcome of the first road that arrives, else of the first that could be gone; told or not; and the road."""
    outcome, told, refused, last = None, False, None, None
    road: Posed | None = posed
    while road is not None:
        found: Outcome | Exception
        try:
            found, also = run(road)
        except (MemoryError, StructureError) as error:
            found, refused = error, refused or error
        else:
            told = told or also
            if isinstance(found.status, jax.core.Tracer):
                return found, told, road
            # Solved, and not by factors that leave a part of x open.
            if (np.asarray(found.status) == Status.converged).all() and not (
                found.undetermined is not None and np.asarray(found.undetermined).any()
            ):
                return found, told, road
            if outcome is None:
                outcome, posed = found, road
        last, road = road, road.instead(found)
    if outcome is None or last is None:
        raise refused or StructureError("this problem has no road.")
    if last is not posed:
        posed.note = last.failures
    return outcome, told, posed


def _result(
    posed: Posed, outcome: Outcome, settings: list[Any], request: Frozen, seconds: float
) -> SolveInfo:
    """The outcome in the structures of the user."""
    structures, trajectory = posed.structures, outcome.trajectory
    return SolveInfo.of(
        structures.lanes_first(outcome._replace(trajectory=None)) if structures.batch else outcome,
        x=structures.solution(outcome.x),
        residual=structures.residual(outcome.residual),
        trajectory=None if trajectory is None else shown(trajectory, structures),
        settings=settings,
        request=request,
        method=posed.methods[0],
        solve_time=seconds,
        note=posed.note,
        fit=posed.fit,
    )
