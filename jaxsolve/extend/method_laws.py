"""The laws of linear methods: honest, free of units, true to their limits, alike in lanes, compiled, differentiated."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.results import SolveInfo
from jaxsolve.core.status import Status
from jaxsolve.extend.findings import Law, apart, require, rounding
from jaxsolve.extend.reference_problems import (
    SIZE,
    band,
    complex_of,
    dense,
    insulated,
    kinds_of,
    precision,
    vector,
)
from jaxsolve.front.request import Solve
from jaxsolve.linear.linear_solve import solve_linear, solve_linear_info
from jaxsolve.operators.conversion import as_operator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.method import AbstractMethod


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A method, and systems of the kinds that it declares.

    Attributes:
        method: What is checked.
        systems: Pairs of a matrix and a right-hand side, by name.
    """

    method: AbstractMethod
    systems: dict[str, tuple[Any, Any]]

    @staticmethod
    def of(method: AbstractMethod, examples: tuple[Any, ...]) -> "Subject":
        """The subject with the reference systems of its kinds, and with examples (A, b)."""
        dtype = precision()
        systems: dict[str, tuple[Any, Any]] = {
            kind: (band(kind, dtype), jnp.asarray(vector(SIZE, 11, dtype))) for kind in kinds_of(method)
        }
        for k, (A, b) in enumerate(examples):
            systems[f"example {k + 1}"] = (as_operator(A), jnp.asarray(b))
        return Subject(method, systems)

    @property
    def rtol(self) -> float:
        """What is asked for: a hundred rounding units and the condition number allow it."""
        return 1e-9 if precision() == np.float64 else 1e-4

    @property
    def first(self) -> tuple[SparseMatrix, jax.Array]:
        """The system for laws that need one only."""
        return next(iter(self.systems.values()))

    @functools.cached_property
    def answer(self) -> SolveInfo:
        """How the first system is solved."""
        return self.info(*self.first)

    def info(self, A: Any, b: Any, **options: Any) -> SolveInfo:
        """How a system is solved."""
        return solve_linear_info(A, b, Solve(self.method, **{"rtol": self.rtol, **options}))


def residual(A: Any, x: Any, b: Any) -> float:
    """‖b - A x‖ / ‖b‖ in double precision of NumPy."""
    b = np.asarray(b)
    return float(np.linalg.norm(b - dense(A) @ np.asarray(x)) / (np.linalg.norm(b) or 1))


def _converges(s: Subject) -> str:
    seen = []
    for name, (A, b) in s.systems.items():
        info = s.info(A, b)
        true = residual(A, info.x, b)
        require(
            bool(info.converged) and true <= 1.01 * s.rtol,
            f"on the {name} system of {A.shape[0]} unknowns the status is {info.status.name} after "
            f"{int(info.iterations)} iterations, ‖b - Ax‖/‖b‖ is {true:.2e}, asked was {s.rtol:.0e}.",
        )
        seen.append(f"{name} {int(info.iterations)}")
    return f"iterations: {', '.join(seen)}"


def _estimates(s: Subject) -> str | None:
    if not s.method.preconditioned or s.method.prepare(as_operator(s.first[0])) is not None:
        return None
    A, b = s.first
    operator = as_operator(A).layout()
    start = jax.jit(lambda r: s.method.start(operator, None, r))
    advance = jax.jit(lambda k, t, goal: s.method.advance(operator, None, t, k, goal, jnp.array(100)))
    finish = jax.jit(lambda t: s.method.finish(operator, None, t))
    state = start(b)
    begin = float(state.residual_norm)
    goal, k = jnp.asarray(s.rtol * begin, state.residual_norm.dtype), jnp.array(0)
    while float(state.residual_norm) > float(goal) and not int(state.halt) and int(k) < 100:
        k, state = advance(k, state, goal)
    claimed = float(state.residual_norm) / (begin or 1)
    true = residual(A, finish(state), b)
    # Estimates may be in another norm, and drift by rounding; by more than the condition number they may not.
    require(
        true <= 100 * max(claimed, s.rtol),
        f"after {int(k)} iterations of one pass residual_norm fell to {claimed:.2e} of its start, and the true "
        f"residual ‖r - A d‖/‖r‖ is {true:.2e}.",
    )
    return f"claimed {claimed:.1e}, true {true:.1e}"


def _zero(s: Subject) -> str:
    A, b = s.first
    info = s.info(A, 0 * b)
    require(
        info.status is Status.converged and int(info.iterations) == 0 and not np.any(np.asarray(info.x)),
        f"{info.status.name} after {int(info.iterations)} iterations, the largest |x| is {np.abs(info.x).max():.1e}.",
    )
    return "0 iterations"


def _solution_as_guess(s: Subject) -> str:
    A, b = s.first
    x = jnp.asarray(np.linalg.solve(dense(A), np.asarray(b)), b.dtype)
    info = s.info(A, b, x0=x)
    require(
        info.status is Status.converged and int(info.iterations) == 0,
        f"{info.status.name} after {int(info.iterations)} iterations from x0 = A⁻¹b.",
    )
    return "0 iterations"


def _units(s: Subject) -> str:
    A, b = s.first
    exponent = 100 if precision() == np.float64 else 30
    for scale_A, scale_b in ((exponent, 0), (-exponent, 0), (0, exponent), (0, -exponent)):
        of_A, of_b = 2.0**scale_A, 2.0**scale_b
        info = s.info(SparseMatrix(A.data * of_A, A.pattern, A.traits), b * of_b)
        same = apart(np.asarray(info.x, np.float64) * of_A / of_b, s.answer.x)
        require(
            int(info.iterations) == int(s.answer.iterations) and same <= rounding(b.dtype, 100),
            f"with A times 2^{scale_A} and b times 2^{scale_b} it takes {int(info.iterations)} iterations instead of "
            f"{int(s.answer.iterations)}, and x differs by {same:.1e} relatively.",
        )
    return f"A and b times 2^±{exponent}"


def _complex(s: Subject) -> str | None:
    if "real" in s.method.needs.lower().split():
        return None
    dtype = complex_of(precision())
    for kind in kinds_of(s.method):
        A, b = band(kind, dtype), jnp.asarray(vector(SIZE, 12, dtype))
        info = s.info(A, b)
        true = residual(A, info.x, b)
        require(
            bool(info.converged) and true <= 1.01 * s.rtol,
            f"on the {kind} complex system the status is {info.status.name}, ‖b - Ax‖/‖b‖ {true:.2e}. (A method for "
            "real systems says so in `needs`, by the word real.)",
        )
    return ", ".join(kinds_of(s.method))


def _limit(s: Subject) -> str:
    A, b = s.first
    info = s.info(A, b, max_iterations=0)
    require(
        info.status is Status.max_iterations and int(info.iterations) == 0 and not np.any(np.asarray(info.x)),
        f"max_iterations=0 gives {info.status.name} after {int(info.iterations)} iterations.",
    )
    one = s.info(A, b, max_iterations=1)
    require(
        int(one.iterations) <= s.method.stride,
        f"max_iterations=1 gives {int(one.iterations)} iterations; `stride` is {s.method.stride}.",
    )
    return "0 iterations, 1 step"


def _singular(s: Subject) -> str:
    A = insulated(precision())
    outside = jnp.asarray(vector(SIZE, 13, precision()))
    for where, b in (("inside", A.mv(outside)), ("outside", outside)):
        info = s.info(A, b, max_iterations=200)
        true = residual(A, info.x, b)
        require(np.isfinite(np.asarray(info.x)).all(), f"with b {where} of the range x is not finite.")
        require(
            bool(info.converged) == (true <= 1.01 * s.rtol),
            f"with b {where} of the range of a singular A the status is {info.status.name} at ‖b - Ax‖/‖b‖ = "
            f"{true:.2e}.",
        )
    return "the status is that of the true residual"


def _lanes(s: Subject) -> str:
    A, b = s.first
    rows = jnp.stack([b, 0 * b, jnp.asarray(vector(len(b), 14, b.dtype)) * 1e-3])
    many = jax.jit(jax.vmap(lambda b: s.info(A, b)))(rows)
    for k, row in enumerate(rows):
        alone = s.info(A, row)
        same = apart(many.x[k], alone.x)
        require(
            int(many.iterations[k]) == int(alone.iterations) and same <= 10 * s.rtol,
            f"lane {k} takes {int(many.iterations[k])} iterations, alone {int(alone.iterations)}; x differs by "
            f"{same:.1e} relatively.",
        )
    return f"{len(rows)} lanes"


def _compiled(s: Subject) -> str:
    A, b = s.first
    info = jax.jit(lambda A, b: s.info(A, b))(A, b)
    same = apart(info.x, s.answer.x)
    require(
        bool(info.converged) and same <= 10 * s.rtol,
        f"compiled the status code is {int(info.status)}, x differs by {same:.1e} relatively.",
    )
    return f"{int(info.iterations)} iterations"


def _derivatives(s: Subject) -> str:
    A, b = s.first
    weights = jnp.asarray(vector(SIZE, 15, b.dtype))
    solve = Solve(s.method, rtol=1e-12 if precision() == np.float64 else 1e-6, suppress=())
    # Directions that keep what the method needs: the diagonal, and all of A.
    place = A.pattern.rows == A.pattern.indices

    def value(p: Any, x_of: Any) -> Any:
        data = A.data * (1 + p[0]) + jnp.where(place, p[1], 0).astype(A.dtype)
        return jnp.sum(weights * x_of(SparseMatrix(data, A.pattern, A.traits), b * (1 + p[1] * p[2])) ** 2)

    def ours(p: Any) -> Any:
        return value(p, lambda A, b: solve_linear(A, b, solve))

    def exact(p: Any) -> Any:
        return value(p, lambda A, b: jnp.linalg.solve(A.as_matrix(), b))

    p, v = jnp.array([0.1, 0.2, 0.3], b.dtype), jnp.array([0.5, -1.0, 2.0], b.dtype)
    limit = 1e-7 if precision() == np.float64 else 1e-2

    def derived(f: Any) -> Any:
        return jax.jit(lambda p: (*jax.jvp(jax.grad(f), (p,), (v,)), jax.jvp(f, (p,), (v,))[1]))(p)

    names = ("grad", "the product with the Hessian", "jvp")
    for name, found, expected in zip(names, derived(ours), derived(exact), strict=True):
        error = apart(found, expected)
        require(error <= limit, f"{name} differs by {error:.1e} relatively from that of a dense solve.")
    return "grad, jvp, Hessian"


METHOD_LAWS = (
    Law(
        "the true residual is within the tolerance",
        _converges,
        "`step` and `finish`: A times the returned correction must be the right-hand side. `residual_norm` must be the "
        "norm of r - A x: a recurrence that loses touch with it claims a convergence that the driver does not confirm.",
    ),
    Law(
        "the estimated residual is the true one",
        _estimates,
        "`residual_norm` in `start` and `step`: recur the residual by the same products as x, or compute it.",
    ),
    Law("b = 0 is solved by x = 0 at once", _zero, "`start`: divisions by the norm of r."),
    Law("a solution as x0 needs no iteration", _solution_as_guess, "`start`, with r of rounding size."),
    Law(
        "units of A and b change nothing",
        _units,
        "constants that are compared with numbers of the system: breakdown tests must be relative.",
    ),
    Law(
        "complex systems are solved", _complex, "products that need a conjugate: use jnp.vdot, and r.conj()."
    ),
    Law("max_iterations is the limit", _limit, "`stride` and `advance`."),
    Law("of a singular matrix only what is solved is called solved", _singular, "0/0 in `step`: set `halt`."),
    Law("lanes of a vmap are what each is alone", _lanes, "Python branches on values; use jnp.where."),
    Law("compiled it gives the same", _compiled, "Python branches on values, state kept outside of `State`."),
    Law(
        "derivatives are those of a dense solve",
        _derivatives,
        "`needs` and `wants`: is A of the kind they tell?",
    ),
)
