"""continuation: the solutions of f(x, load) = y along a load, by steps that shorten where a solve fails."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.array_likes import told
from jaxsolve.core.memo import compiled
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import Frozen, SolveInfo, is_any_of
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import CONVERGED, Status
from jaxsolve.core.tree import Packing, inexact
from jaxsolve.core.vector import norm
from jaxsolve.front.answer import Posed, answered, frozen
from jaxsolve.front.reporting import Judge, guarded
from jaxsolve.front.request import Solve, method_name
from jaxsolve.front.structures import Structures
from jaxsolve.nonlinear.equations import is_real, requested
from jaxsolve.nonlinear.inner import gradient_request
from jaxsolve.nonlinear.linearisation import Linearisation
from jaxsolve.nonlinear.method_choice import chosen
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement, arrays, state
from jaxsolve.nonlinear.search_start import search
from jaxsolve.nonlinear.solution_gradient import Task, implicit_search
from jaxsolve.operators.program import separated
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nonlinear_methods import ROOT
from jaxsolve.telemetry.watch import SILENT, Watch

#: The shortest step, as a part of the way between two points of the path.
SHORTEST = 2.0**-10
#: A step of more iterations is better made in two; one of no more than the latter may be longer the next time.
MOST, EASY = 25, 4


def continuation(
    f: Callable[..., Any], y: Any, solve: Solve | None, path: Any, *args: Any, **kwargs: Any
) -> SolveInfo:
    """The solutions x of f(x, load) = y at the loads of a path, each found from the one before.

    Newton's method from far away finds nothing, or another solution than the one that grew out of the unloaded state.
    From a solution the next one is predicted along the tangent dx/dload, and corrected by the method of the request.
    Where that fails the step is halved, where it is easy doubled; without failures there is one step from point to
    point. The path may turn back. At a limit point, where no solution is near beyond some load, the steps shrink and
    the path ends; it is followed by its load alone, and a solution on another branch is a solution.

    Converged means for each point what it does in `solve_nonlinear` with the same x0.

    Args:
        f: Called as f(x, load, *args, **kwargs), with the load a scalar; differentiable. It returns the structure of y.
        y: Right-hand side, any pytree of arrays.
        solve: As in `solve_nonlinear`; x0 is the first guess at the first load. Of Newton's method more than 25
            iterations count as a failure, but for the first load.
        path: The loads, shape (k,).
        *args: Further arguments of f.
        **kwargs: The same by name.

    Returns:
        A `SolveInfo` whose fields have k for leading axis, x in the structure of x0 with it. `load` is the load at
        which each x was found; from the first point on that was not reached, x is the solution at the last load
        reached, and `converged` is false. `iterations` are those since the point before, failed steps included.
        Derivatives by y, loads and arguments are those of the implicit rule at each point.

    Raises:
        StructureError: If shapes or structures do not fit; a ValueError.
        TypeError: If the path holds something else than real numbers.
        ValueError: If the path has no points, or the method is for other problems.

    Cost: for each step one linear solve for the tangent, and a solve from a near guess. A gradient costs one linear
        solve a point.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.continuation(
    ...     lambda x, load: x + x**3 - load, jnp.zeros(()), js.Solve(rtol=1e-6), jnp.array([0.0, 2.0, 10.0])
    ... )
    >>> info.x.round(4).tolist(), info.converged.tolist()
    ([0.0, 1.0, 2.0], [True, True, True])
    """
    request = requested(solve)
    return answered(lambda: _posed(f, y, request, path, args, kwargs), request, throw=False)


def _posed(f: Any, y: Any, solve: Solve, path: Any, args: tuple, kwargs: dict) -> "LoadPath":
    loads = arrays("path", path)
    if not hasattr(loads, "shape") or jnp.iscomplexobj(loads):
        raise TypeError(f"continuation: path is an array of real loads, shape (k,); got {told(path)}.")
    if loads.ndim != 1 or not loads.size:
        raise ValueError(
            f"continuation: path is an array of one load or more, shape (k,); got shape {loads.shape}."
        )
    rhs = arrays("y", y)
    x0 = jax.tree.map(jnp.zeros_like, rhs) if solve.x0 is None else arrays("x0", solve.x0)
    # A load is known no better than what it acts on, and must not widen it.
    loads = loads.astype(jnp.finfo(inexact(*Packing.of((x0, rhs)).dtypes)).dtype)
    load = lax.index_in_dim(loads, 0, keepdims=False)
    statement, given, x = state(ROOT, f, x0, rhs, (load, *args), kwargs, is_real(solve))
    place = len(given.parameters) - len(separated((load, *args), kwargs)[0])
    return LoadPath(statement, given, x, loads, place, solve)


class LoadPath(Posed):
    """The equations along their path.

    Args:
        statement: The equations, with the load for a parameter.
        given: What they depend on.
        x0: The flat first guess.
        loads: The path.
        place: Which of the parameters the load is.
        asked: The request.
    """

    def __init__(self, statement: Statement, given: Given, x0: Array, loads: Array, place: int, asked: Solve):
        solve = chosen(asked, statement, False)
        linear, name = gradient_request(solve), method_name(solve.method)
        self.methods = (
            name,
            f"{name} ({'the linear solve' if linear is None else method_name(linear.method)})",
        )
        self.structures = Structures(statement.unknown, statement.image, statement.dtype, loads.shape)
        self.statement, self.given, self.x0, self.loads, self.place = statement, given, x0, loads, place
        self.solve = eqx.tree_at(lambda s: s.x0, solve, None, is_leaf=lambda leaf: leaf is None)

    def at_once(self, watch: Watch) -> Outcome | None:
        request, settings = frozen(self.solve)
        if is_traced((self.given, self.x0, self.loads, settings)):
            return None
        return self._found(request, settings)

    def by_rule(self, judge: Judge | None, watch: Watch) -> Outcome:
        return guarded(judge, "solve", self._found(*frozen(self.solve)))

    @in_full
    def _found(self, request: Frozen, settings: list[Any]) -> Outcome:
        numbers = (self.given, settings, self.x0, self.loads)
        walked = _walked(self.statement, request, self.place, *lax.stop_gradient(numbers))
        return _ended(self.statement, request, self.place, *numbers, walked)


class _Step(NamedTuple):
    """Where the walk is: x, its load, whether it is a solution, the next length, and what the steps cost."""

    x: Array
    load: Array
    begun: Array
    length: Array
    status: Array
    iterations: Array
    evaluations: Array


@functools.partial(compiled, static=3)
def _walked(
    statement: Statement,
    request: Frozen,
    place: int,
    given: Given,
    settings: list[Any],
    x0: Array,
    loads: Array,
) -> _Step:
    """The last solutions on the way to each load."""
    solve = request.join(settings)
    zero, one = jnp.array(0, jnp.int32), jnp.ones((), loads.dtype)
    most = jnp.asarray(solve.max_iterations, jnp.int32)
    few = jnp.minimum(most, MOST) if solve.method.inner else most

    def to(s: _Step, end: Array) -> tuple[_Step, _Step]:
        shortest = SHORTEST * jnp.abs(end - s.load)

        def running(s: _Step) -> Array:
            return is_any_of(s.status, CONVERGED) & (~s.begun | (s.load != end))

        def advance(s: _Step) -> _Step:
            left = jnp.abs(end - s.load)
            load = jnp.where(left <= s.length, end, s.load + jnp.sign(end - s.load) * s.length)
            taken = jnp.abs(load - s.load)
            guess = s.x + (load - s.load) * _tangent(statement, solve, _at(given, place, s.load), place, s.x)
            guess = jnp.where(s.begun & jnp.all(jnp.isfinite(guess)), guess, s.x).astype(s.x.dtype)
            there = _at(given, place, load)
            step = eqx.tree_at(
                lambda s: (s.rtol, s.atol, s.max_iterations),
                solve,
                (0.0, _target(statement, solve, there, x0), jnp.where(s.begun, few, most)),
            )
            outcome = search(statement, step, SILENT, None, there, guess)
            gained = is_any_of(outcome.status, CONVERGED)
            longer = jnp.where(outcome.iterations <= EASY, jnp.maximum(s.length, 2 * taken), s.length)
            length = jnp.where(gained, longer, taken / 2)
            short = ~(jnp.isfinite(end) & (length >= shortest))
            # So near to the end that no number lies between.
            stuck = s.begun & (taken == 0) & (s.load != end)
            lost = (~gained & (~s.begun | short)) | stuck
            status = jnp.where(gained, int(Status.stagnation), outcome.status)
            return _Step(
                jnp.where(gained | ~s.begun, outcome.x, s.x),
                jnp.where(gained, load, s.load),
                s.begun | gained,
                length,
                jnp.where(lost, status, zero).astype(jnp.int32),
                s.iterations + outcome.iterations,
                s.evaluations + outcome.evaluations + 2,
            )

        s = lax.while_loop(running, advance, s._replace(iterations=zero, evaluations=zero))
        return s, s

    begin = _Step(x0, loads[0], jnp.array(False), jnp.inf * one, zero, zero, zero)
    return lax.scan(to, begin, loads)[1]


def _at(given: Given, place: int, load: Array) -> Given:
    """What the equations depend on, with another load."""
    parameters = given.parameters
    load = load.astype(parameters[place].dtype)
    return given._replace(parameters=(*parameters[:place], load, *parameters[place + 1 :]))


def _target(statement: Statement, solve: Solve, given: Given, x0: Array) -> Array:
    """The norm that the residual has to reach, as in a solve from x0."""
    first, size = norm(statement.value(given, x0)), norm(jnp.asarray(given.rhs).astype(x0.dtype))
    reference = jnp.maximum(size, jnp.where(jnp.isfinite(first), first, 0))
    return jnp.maximum(solve.rtol * reference, solve.atol).astype(reference.dtype)


def _tangent(statement: Statement, solve: Solve, given: Given, place: int, x: Array) -> Array:
    """dx/dload at a solution."""
    load = given.parameters[place]

    def condition(load: Array) -> Array:
        return statement.condition(_at(given, place, load), x)

    moved = jax.jvp(condition, (load,), (jnp.ones_like(load),))[1]
    at = Linearisation.at(lambda z: statement.condition(given, z), x, gradient_request(solve))
    return -at.solved(moved.astype(x.dtype), None)


@functools.partial(compiled, static=3)
def _ended(
    statement: Statement,
    request: Frozen,
    place: int,
    given: Given,
    settings: list[Any],
    x0: Array,
    loads: Array,
    walked: _Step,
) -> Outcome:
    """The outcome at each point, differentiable by the implicit rule of that point."""
    solve = eqx.tree_at(lambda s: s.max_iterations, request.join(settings), 0)
    plain, numbers = Frozen(solve), Frozen(solve).split(solve)
    task = Task(statement, plain, None, SILENT)

    def point(at: tuple[Array, _Step]) -> Outcome:
        load, step = at
        there = _at(given, place, load)
        # No iteration is left: this is the search that ends where it begins, with its derivatives.
        outcome = implicit_search(task, there, numbers, step.x)
        return outcome._replace(
            iterations=step.iterations,
            evaluations=step.evaluations + 1,
            target=lax.stop_gradient(_target(statement, solve, there, x0)),
            status=step.status,
            load=jnp.where(is_any_of(step.status, CONVERGED), load, step.load),
        )

    return lax.map(point, (loads, walked))
