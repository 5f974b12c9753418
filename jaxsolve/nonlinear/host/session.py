"""Sessions: SciPy in a thread of its own, led from a compiled program by questions and answers.

A callback must not run JAX, and SciPy wants functions to call. So the loop is the program's: it evaluates on the
device what SciPy asks for, hands the answer to the callback, and gets the next question. Nothing waits for the device
but the device itself; under vmap all lanes are evaluated together, each with its own session.
"""

import dataclasses
import itertools
import logging
import queue
import threading
import time
from typing import Any

import numpy as np

from jaxsolve.core.host_call import FAILURES
from jaxsolve.core.store import Store
from jaxsolve.nonlinear.host.scipy import DONE, RAISED, WAIT, Job, Report, run

#: Seconds that a question is waited for before the loop turns without it.
PAUSE = 0.005
#: Seconds after which a session that nobody has answered is taken for given up.
FORGOTTEN = 3600

_LOG = logging.getLogger("jaxsolve.host")
_NUMBERS = itertools.count(1)
_OPEN: dict[int, "Session"] = {}
#: The iterates of sessions that are over, until the program asks for them; of programs that do not, the last ones.
_PATHS = Store(most=10_000, most_bytes=2**28)


class Session:
    """One minimisation by SciPy that has been started and waits for answers."""

    def __init__(self, method: Any, limits: Any, job: Job, recorded: bool):
        self.recorded = recorded
        self.questions: queue.SimpleQueue = queue.SimpleQueue()
        self.answers: queue.SimpleQueue = queue.SimpleQueue()
        self.start = job.x0
        self.seen = time.monotonic()
        # A daemon: a program that was given up leaves it waiting, and must not keep the process alive.
        threading.Thread(target=self._work, args=(method, limits, job), daemon=True).start()

    def _work(self, method: Any, limits: Any, job: Job) -> None:
        try:
            report = run(method, limits, self._ask, job)
        except BaseException as error:  # whatever is raised must reach the program that waits
            FAILURES.append(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            _LOG.warning("%s in %s: %s", type(error).__name__, method.name, error)
            report = Report(self.start, 0, RAISED)
        self.questions.put((DONE, report, None))

    def _ask(self, kind: int, x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        # Copies: SciPy goes on writing into its arrays.
        self.questions.put((kind, np.array(x, float), np.array(v, float)))
        answer = self.answers.get()
        if answer is None:
            raise TimeoutError(f"no answer in {FORGOTTEN} s: the program that asked for this has ended.")
        return answer


#: A question as arrays: session, kind, x, v (the sizes of the unknowns where it is over), iterations, code.
Question = tuple[Any, ...]


def _next(number: int, session: Session) -> Question:
    session.seen = time.monotonic()
    try:
        kind, content, v = session.questions.get(timeout=PAUSE)
    except queue.Empty:
        return number, WAIT, session.start, np.zeros_like(session.start), 0, 0
    if kind == DONE:
        _OPEN.pop(number, None)
        if session.recorded:
            _PATHS.get(number, lambda: np.stack([session.start, *content.path]))
        sizes = np.ones_like(content.x) if content.sizes is None else content.sizes
        return number, DONE, content.x, sizes, content.iterations, content.code
    return number, kind, content, v, 0, 0


def _lanes(function: Any, arguments: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    size = max(map(len, arguments))
    rows = [function(*(a[min(k, len(a) - 1)] for a in arguments)) for k in range(size)]
    return tuple(np.stack([np.asarray(value) for value in column]) for column in zip(*rows, strict=True))


@dataclasses.dataclass(frozen=True)
class Open:
    """The callback that starts a session for each lane and returns its first question.

    Attributes:
        method: SciPy's method.
        limits: The constraints.
        bounded: Whether there are bounds.
        recorded: Whether iterates are asked for in the end.
    """

    method: Any
    limits: Any
    bounded: bool
    recorded: bool

    def __call__(self, x0, target, rtol, atol, limit, lower, upper, *first):
        return _lanes(self._open, (x0, target, rtol, atol, limit, lower, upper, *first))

    def _open(self, x0, target, rtol, atol, limit, lower, upper, *first):
        bounds = (np.array(lower, float), np.array(upper, float)) if self.bounded else (None, None)
        for other in tuple(_OPEN.values()):
            if time.monotonic() - other.seen > FORGOTTEN:
                other.answers.put(None)
        numbers = float(target), float(rtol), float(atol), int(limit)
        job = Job(np.array(x0, float), *numbers, *bounds, eps=float(np.finfo(x0.dtype).eps))
        number = next(_NUMBERS)
        _OPEN[number] = session = Session(self.method, self.limits, job, self.recorded)
        return _next(number, session)


@dataclasses.dataclass(frozen=True)
class Step:
    """The callback that hands over answers and returns the next question; lanes that are done stay as they are.

    Attributes:
        places: For each kind of question the range of arrays that are its answer.
    """

    places: tuple[tuple[int, int, int], ...]

    def __call__(self, number, kind, x, v, iterations, code, *answers):
        return _lanes(self._step, (number, kind, x, v, iterations, code, *answers))

    def _step(self, number, kind, x, v, iterations, code, *answers):
        session = _OPEN.get(int(number))
        if kind == DONE:
            return number, kind, x, v, iterations, code
        if session is None:
            FAILURES.append(RuntimeError("a session of SciPy was continued after its end."))
            return number, DONE, x, np.ones_like(x), iterations, RAISED
        for asked, start, stop in self.places:
            if asked == kind:
                session.answers.put(tuple(np.array(a) for a in answers[start:stop]))
        return _next(int(number), session)


def recalled(path: tuple[np.ndarray, ...], every: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Every so many of the iterates of a path in so many rows, and their numbers: -1 where there are none."""
    kept = np.arange(0, len(path), every)[:rows]
    numbers, points = np.full(rows, -1, np.int32), np.zeros((rows, path[0].size))
    numbers[: len(kept)] = kept
    points[: len(kept)] = [path[k] for k in kept]
    return numbers, points


@dataclasses.dataclass(frozen=True)
class Recall:
    """The callback that hands over the iterates of sessions that are over.

    Attributes:
        every: Iterations from one to the next.
        rows: How many at most.
    """

    every: int
    rows: int

    def __call__(self, number, x):
        return _lanes(self._recall, (number, x))

    def _recall(self, number, x):
        # Of a session that broke down the last point is all there is.
        path = _PATHS.find(int(number))
        _PATHS.discard(int(number))
        return recalled((x,) if path is None else tuple(path), self.every, self.rows)
