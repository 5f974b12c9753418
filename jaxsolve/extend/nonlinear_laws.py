"""The laws of nonlinear methods: they find what they declare, say so truly, and their solutions are differentiated."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.results import SolveInfo
from jaxsolve.core.status import Status
from jaxsolve.extend.findings import Law, apart, require
from jaxsolve.extend.reference_problems import precision
from jaxsolve.front.request import Solve
from jaxsolve.nonlinear.equations import solve_fixed_point_info, solve_nonlinear_info
from jaxsolve.nonlinear.minima import least_squares_info, minimize_info
from jaxsolve.solvers.nonlinear_methods import FIT, FIXED_POINT, MINIMUM, ROOT, AbstractNonlinearMethod

#: The couplings of the reference problems: no symmetry, small enough that f is near the identity.
COUPLING = np.array([[0.2, -0.1, 0.0], [0.1, 0.1, -0.2], [0.0, 0.3, 0.1]])
TIMES = np.linspace(0.0, 2.0, 8)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference problem with a parameter p.

    Attributes:
        solved: How a request solves it for p.
        condition: What vanishes at the solution, of (x, p).
        start: A first guess.
    """

    solved: Callable[[Solve, Any], SolveInfo]
    condition: Callable[[Any, Any], Any]
    start: tuple[float, ...]


def _map(x: Any, p: Any) -> Any:
    """A contraction with its fixed point near (p, p, p)."""
    return p + jnp.tanh(jnp.asarray(COUPLING, x.dtype) @ x)


def _misfit(x: Any, p: Any) -> Any:
    t = jnp.asarray(TIMES, x.dtype)
    return x[0] * jnp.exp(-x[1] * t) - (1 + p) * jnp.exp(-0.7 * t) - 0.01 * jnp.sin(5 * t)


def _cost(x: Any, p: Any) -> Any:
    r = x - _map(0.5 * x, p)
    return jnp.sum(r**2) + 0.1 * jnp.sum(x**4) + 0.3 * jnp.prod(jnp.cos(x))


#: One for each goal.
PROBLEMS = {
    ROOT: Reference(
        lambda solve, p: solve_nonlinear_info(lambda x: x - _map(x, p) + p, p * jnp.ones(3), solve),
        lambda x, p: x - _map(x, p),
        (0.1, 0.2, 0.3),
    ),
    FIXED_POINT: Reference(
        lambda solve, p: solve_fixed_point_info(_map, solve, p), lambda x, p: x - _map(x, p), (0.1, 0.2, 0.3)
    ),
    FIT: Reference(
        lambda solve, p: least_squares_info(_misfit, solve, p),
        lambda x, p: jax.grad(lambda x: jnp.sum(_misfit(x, p) ** 2) / 2)(x),
        (1.2, 0.5),
    ),
    MINIMUM: Reference(
        lambda solve, p: minimize_info(_cost, solve, p), lambda x, p: jax.grad(_cost)(x, p), (0.1, 0.2, 0.3)
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A nonlinear method, and the problems that it declares."""

    method: AbstractNonlinearMethod

    @property
    def problems(self) -> dict[str, Reference]:
        """One for each goal."""
        return {goal: PROBLEMS[goal] for goal in self.method.solves}

    @property
    def rtol(self) -> float:
        """What is asked for."""
        return 1e-8 if precision() == np.float64 else 1e-4

    def info(self, problem: Reference, p: Any = 0.5, **options: Any) -> SolveInfo:
        """How a problem is solved."""
        x0 = jnp.asarray(problem.start)
        asked = {"rtol": self.rtol, "x0": x0, "max_iterations": 2000, **options}
        return problem.solved(Solve(self.method, **asked), jnp.asarray(p, precision()))


def _finds(s: Subject) -> str:
    seen = []
    for goal, problem in s.problems.items():
        info = s.info(problem)
        x = np.asarray(info.x)
        p, start = jnp.asarray(0.5, precision()), jnp.asarray(problem.start)
        left = float(jnp.linalg.norm(problem.condition(info.x, p)))
        begin = float(jnp.linalg.norm(problem.condition(start, p)))
        require(
            bool(info.converged) and np.isfinite(x).all(),
            f"{goal}: {info.status.name} after {int(info.iterations)} iterations, the condition fell from {begin:.1e} "
            f"to {left:.1e}.",
        )
        require(
            left <= 1e3 * s.rtol * max(begin, 1),
            f"{goal}: called converged, and the condition fell from {begin:.1e} to {left:.1e} only.",
        )
        if goal in (FIT, MINIMUM):
            curvature = np.linalg.eigvalsh(jax.jacobian(problem.condition)(info.x, p))
            require(curvature[0] > 0, f"{goal}: the point found is no minimum, curvature {curvature[0]:.1e}.")
        seen.append(f"{goal} {int(info.iterations)}")
    return f"iterations: {', '.join(seen)}"


def _solution_as_guess(s: Subject) -> str:
    for goal, problem in s.problems.items():
        x = _solution(problem, 0.5)
        # A guess that is the solution leaves a gap of rounding, to which nothing relative can be asked.
        info = s.info(problem, x0=x, atol=1e-7 if precision() == np.float64 else 1e-3)
        require(
            bool(info.converged) and apart(info.x, x) <= 1e-4,
            f"{goal}: from the solution it goes on to {np.asarray(info.x)}, {info.status.name}.",
        )
    return "stays there"


def _solution(problem: Reference, p: float) -> Any:
    """The solution by Newton's method on the condition."""
    x, at = jnp.asarray(problem.start), jnp.asarray(p, precision())
    F = jax.jit(lambda x: (problem.condition(x, at), jax.jacobian(problem.condition)(x, at)))
    for _ in range(30):
        value, slope = F(x)
        step = jnp.linalg.solve(slope, value)
        x = x - step * jnp.minimum(1, 0.5 / jnp.maximum(jnp.linalg.norm(step), 1e-30))
    return x


def _limit(s: Subject) -> str:
    for goal, problem in s.problems.items():
        info = s.info(problem, max_iterations=0)
        require(
            not bool(info.converged) and int(info.iterations) == 0,
            f"{goal}: max_iterations=0 gives {info.status.name} after {int(info.iterations)} iterations.",
        )
    return "0 iterations"


def _honest(s: Subject) -> str | None:
    if ROOT not in s.method.solves:
        return None
    start = jnp.ones(2, precision())
    solve = Solve(s.method, x0=start, max_iterations=50)
    info = solve_nonlinear_info(lambda x: x**2 + 1, jnp.zeros(2, precision()), solve)
    require(
        not bool(info.converged), f"x² + 1 = 0 is called solved at {np.asarray(info.x)}; it has no real root."
    )
    return f"x² + 1 = 0 ends as {Status(int(info.status)).name}"


def _compiled(s: Subject) -> str:
    for goal, problem in s.problems.items():
        x = jax.jit(lambda p, problem=problem: s.info(problem, p).x)(0.5)
        error = apart(x, s.info(problem).x)
        require(error <= 1e-4, f"{goal}: compiled x differs by {error:.1e} relatively.")
    return "jit"


def _gradients(s: Subject) -> str:
    for goal, problem in s.problems.items():
        p = jnp.asarray(0.5, precision())
        x = _solution(problem, 0.5)
        exact = -jnp.linalg.solve(
            jax.jacobian(problem.condition)(x, p), jax.jacobian(problem.condition, 1)(x, p)
        )
        found = jax.jacobian(lambda p, problem=problem: s.info(problem, p).x)(p)
        error = apart(found, exact)
        limit = 1e-4 if precision() == np.float64 else 3e-2
        require(
            error <= limit, f"{goal}: dx/dp differs from that of the implicit rule by {error:.1e} relatively."
        )
    return "dx/dp"


NONLINEAR_LAWS = (
    Law("it finds what it declares", _finds, "`solves` and `step`: does s.gap point where the step goes?"),
    Law("from the solution it goes nowhere", _solution_as_guess, "`step` where s.gap is of rounding size."),
    Law("max_iterations is the limit", _limit, "`start`, which must not solve."),
    Law("what has no solution is not called solved", _honest, "`step`."),
    Law("compiled it gives the same", _compiled, "Python branches on values; use jnp.where and lax."),
    Law("gradients are those of the implicit rule", _gradients, "`solves`: is the point found a solution?"),
)
