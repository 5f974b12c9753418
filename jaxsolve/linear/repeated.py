"""Systems like one that was solved before: the program that solves them, found by one look-up.

Of concrete arrays that enter a program as they are, everything else follows from their structure and from that of the
request, where it names a method and nothing is to be made of the matrix beforehand. So it is found out once.
"""

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.core
from jax import Array

from jaxsolve.core.memo import PROGRAMS, recent
from jaxsolve.core.results import Frozen, SolveInfo
from jaxsolve.core.staging import is_traced
from jaxsolve.front.answer import Posed, frozen
from jaxsolve.front.reporting import Judge
from jaxsolve.front.request import Solve
from jaxsolve.front.structures import Structures
from jaxsolve.linear.diagnosis import remember
from jaxsolve.linear.execution import LinearSystem
from jaxsolve.linear.forward import numbers_on_device
from jaxsolve.operators.conversion import is_operator
from jaxsolve.solvers.driver import Outcome
from jaxsolve.telemetry.watch import SILENT, Watch


class Form:
    """What the first system of a form has found out.

    Attributes:
        fits: Whether its arrays enter a program as they are, as far as is known.
        program: Gives what takes the arrays of the matrix as laid out, b, the first guess if there is one, and three
            numbers; None where it is not kept, or not any more.
        layout: The structure of the matrix as laid out.
        structures: Those of the vectors.
        methods: The names of the method and of that of gradients.
    """

    fits = True
    # `driver` keeps programs, and drops the oldest.
    program: Callable[[], Callable[..., Outcome] | None] = staticmethod(lambda: None)
    layout: Any
    structures: Structures
    methods: tuple[str, str]

    def learn(self, system: LinearSystem, A: Any, vectors: list[Any]) -> None:
        """Takes down how a system runs that is that of A and these vectors."""
        entries, layout = _laid_out(A)
        arrays = entries + vectors
        alone = not system.structures.batch
        if system.eager and system.bare and alone and system.choice.rule is None:
            program, leaves = system.program(SILENT)
            if is_traced(leaves):
                return
            own = leaves[: len(arrays)]
            if len(leaves) == len(arrays) + 3 and all(a is b for a, b in zip(own, arrays, strict=True)):
                self.structures, self.methods = system.structures, system.methods
                self.program, self.layout = weakref.ref(program), layout
                return
        self.fits = False


@functools.lru_cache(maxsize=PROGRAMS)
def _of_array(request: Frozen, shapes: tuple) -> Form:
    return Form()


# The structure of an operator may hold a pattern, whose bytes count.
@recent(most=PROGRAMS, each=0)
def _of_operator(request: Frozen, shapes: tuple, kind: Any) -> Form:
    return Form()


class RepeatedSystem(Posed):
    """A system of a form that is known."""

    def __init__(
        self, form: Form, program: Callable[..., Outcome], leaves: list[Any], pose: Callable[[], LinearSystem]
    ):
        self.program, self.leaves, self.pose = program, leaves, pose
        self.structures, self.methods = form.structures, form.methods

    def at_once(self, watch: Watch) -> Outcome | None:
        return self.program(*self.leaves) if watch is SILENT else self.pose().at_once(watch)

    def by_rule(self, judge: Judge | None, watch: Watch) -> Outcome:
        return self.pose().by_rule(judge, watch)

    def ended(self, info: SolveInfo) -> None:
        remember(info, self.pose)


def repeated(A: Any, b: Any, solve: Solve, pose: Callable[[], LinearSystem]) -> Posed:
    """The system that `pose` gives, without posing it where one of its form was solved before."""
    if (
        not isinstance(solve, Solve)
        or solve.recycle is not None
        or not (isinstance(A, jax.Array) or is_operator(A))
    ):
        return pose()
    request, settings = frozen(solve)
    numbers, guess = settings[:3], settings[3:]
    if (
        request.rest
        or len(guess) != (solve.x0 is not None)
        or not {int, float}.issuperset(map(type, numbers))
    ):
        return pose()
    entries, kind = ([A], None) if isinstance(A, jax.Array) else jax.tree.flatten(A)
    vectors = [b, *guess]
    if not all(isinstance(v, jax.Array) and not isinstance(v, jax.core.Tracer) for v in entries + vectors):
        return pose()
    shapes = tuple([(v.shape, v.dtype) for v in entries + vectors])
    form = _of_array(request, shapes) if kind is None else _of_operator(request, shapes, kind)
    if not form.fits:
        return pose()
    program = form.program()
    if program is None:
        system = pose()
        form.learn(system, A, vectors)
        return system
    entries, layout = _laid_out(A)
    if layout != form.layout:
        return pose()
    return RepeatedSystem(form, program, [*entries, *vectors, *numbers_on_device(*numbers, b.dtype)], pose)


def _laid_out(A: Any) -> tuple[list[Array], Any]:
    """The arrays of a matrix in the form that runs, and their structure."""
    if isinstance(A, jax.Array):
        return [A], None
    kind: Any = type(A)
    return jax.tree.flatten(kind.layout(A))
