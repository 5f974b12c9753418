"""How a linear system runs: at once, traced, or as a batch of matrices."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.columns import COLUMNS
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import TRIED, SolveInfo
from jaxsolve.core.shards import joined, one_vector_over
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import CONVERGED, Status
from jaxsolve.front.answer import Posed, frozen
from jaxsolve.front.reporting import Judge
from jaxsolve.front.request import Solve, method_name
from jaxsolve.linear.auto import DEFICIENT, FACTORISING, Choice, another
from jaxsolve.linear.diagnosis import remember
from jaxsolve.linear.forward import Plan, System, driver, on_device
from jaxsolve.linear.gradient import implicit_solve
from jaxsolve.linear.mixed_precision import mixed
from jaxsolve.linear.preparation import chosen, limits, prepared, recycled_directions
from jaxsolve.linear.problem import Problem, null_space
from jaxsolve.operators.conversion import told_entries
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.watch import Watch

#: What a result says of a singular system that was not declared to be one.
LEAST_NORM = (
    "A is singular: of the solutions this is the one of least norm. Declare the null space (`null_space=`) "
    "if it is known."
)
#: After these the next rule of the table is tried: the method does not fit the matrix, which was not known before.
UNFIT = (
    Status.stagnation,
    Status.breakdown,
    Status.negative_curvature,
    Status.divergence,
    Status.nonfinite,
)
#: A residual of this many rounding errors of |A| |x| + |b| is what any method leaves.
ROUNDING = 8


class LinearSystem(Posed):
    """A system with what was chosen for it: one matrix, with one right-hand side or a batch of them.

    Concrete systems go straight to the compiled driver. What is traced goes through the implicit solve, which
    differentiates and raises; under jit even constants yield tracers, which shows in the first outcome.

    Args:
        problem: The system.
        solve: The request.
        choice: The method and the preconditioner, or what is made of A already.
        nulls: The null space; None for that of the request.
        of_gradient: The choice for tangent and adjoint systems where the request has a `gradient_solve`; None to make
            it.
        roads: What was tried before, and what became of it.
    """

    def __init__(
        self,
        problem: Problem,
        solve: Solve,
        choice: Choice,
        nulls: NullSpace | None = None,
        of_gradient: Choice | None = None,
        roads: tuple[str, ...] = (),
    ):
        other = solve.gradient_solve
        self.problem, self.solve, self.choice, self.of_gradient = problem, solve, choice, of_gradient
        self.structures = problem.structures
        self.nulls = null_space(solve, problem.structures) if nulls is None else nulls
        self.control = limits(solve, problem.structures)
        self.recycled = recycled_directions(solve, problem.structures)
        self.methods = (method_name(choice.method), method_name((other or of_gradient or choice).method))
        self.note = LEAST_NORM if choice.rule is DEFICIENT else ""
        self.roads = roads
        if roads and not self.note:
            self.note = f"{TRIED}{', '.join(roads)}; then this."
        self.joined = joined()
        self.mesh = None if problem.A.on_mesh is None else problem.A.on_mesh.mesh
        self.eager = not self.joined.axes and not is_traced(
            (problem.A, problem.b, problem.x0, self.nulls, frozen(solve)[1])
        )

    @functools.cached_property
    def A(self) -> LinearOperator:
        """The operator in the form that runs."""
        # Called on the class: Equinox makes a module of every bound method, which costs 20 µs.
        kind: Any = type(self.problem.A)
        return kind.layout(self.problem.A)

    @functools.cached_property
    def together(self) -> bool:
        """Whether a dense matrix is factorised by the program that solves with it: one call less."""
        dense = isinstance(self.choice.method, AbstractDense) and self.problem.A.dense_form is not None
        return self.eager and dense and self.choice.preconditioner is None

    @functools.cached_property
    def inverse(self) -> Any:
        """The factorisation or the preconditioner, None for neither."""
        return self.prepared(self.choice)

    @in_full
    def prepared(self, choice: Choice, eager: bool | None = None) -> Any:
        """What a choice makes of the matrix."""
        eager, recipe = self.eager if eager is None else eager, choice.preconditioner
        return prepared(choice.method, recipe, self.problem.A, self.structures, self.nulls, eager)

    @property
    def bare(self) -> bool:
        """Whether nothing is made of the matrix before its program runs."""
        return self.together or (self.choice.method.preconditioned and self.choice.preconditioner is None)

    def program(self, watch: Watch) -> tuple[Callable[..., Outcome], list[Any]]:
        """The compiled driver for a concrete system, and what it takes."""
        inverse = None if self.together else self.inverse
        parts = (self.A, inverse, self.problem.b, self.problem.x0, self.control, self.nulls, self.recycled)
        leaves, treedef = jax.tree.flatten(parts)
        leaves = [on_device(v.item(), v.dtype) if _is_number(v) else v for v in leaves]
        shapes = tuple([(v.shape, v.dtype) for v in leaves])
        guess, kept = (None if v is None else 0 for v in (self.problem.x0, self.recycled))
        lanes = (None, None, 0, guess, 0, None, kept)
        axes = lanes if self.structures.batch else None
        return driver(self.choice.method, treedef, shapes, watch, axes), leaves

    def at_once(self, watch: Watch) -> Outcome | None:
        if not self.eager:
            return None
        run, leaves = self.program(watch)
        return run(*leaves)

    @in_full
    def by_rule(self, judge: Judge | None, watch: Watch) -> Outcome:
        with one_vector_over(self.joined):
            return self._ruled(judge, watch)

    def _ruled(self, judge: Judge | None, watch: Watch) -> Outcome:
        gradient_method, other, limited = self._gradient()
        plan = Plan(self.choice.method, gradient_method, judge, watch, self.joined)
        x0, b = self.problem.x0, self.problem.b
        system = System(
            self.A, self.inverse, x0, self.control, self.nulls, (other, limited), recycled=self.recycled
        )
        if not self.structures.batch:
            return implicit_solve(plan, system, b)
        guess, kept = (None if v is None else 0 for v in (x0, self.recycled))
        axes: Any = System(*(None, None, guess, 0, None, (None, 0), None, kept))  # pyright: ignore[reportArgumentType]  # axes
        name = COLUMNS if self.choice.method.blocks or gradient_method.blocks else None
        return jax.vmap(functools.partial(implicit_solve, plan), in_axes=(axes, 0), axis_name=name)(system, b)

    def _gradient(self) -> tuple[Any, Any, Control]:
        """Method, inverse and control for tangent and adjoint systems."""
        other, control = self.solve.gradient_solve, self.control
        if other is None:
            # The user's atol is in the units of b, which those systems do not have.
            limited = Control(control.rtol, jnp.zeros_like(control.atol), control.max_iterations)
            return self.choice.method, self.inverse, limited
        A, dtype = self.problem.A, self.structures.dtype
        choice = chosen(other, A, dtype) if self.of_gradient is None else self.of_gradient
        own = self.prepared(choice, eager=False)
        return choice.method, own, limits(eqx.tree_at(lambda s: s.atol, other, 0.0), self.structures)

    def instead(self, outcome: Outcome | Exception) -> "LinearSystem | None":
        rule = self.choice.rule
        # How a program ends is known when it runs; what is refused is refused while it is traced.
        if rule is None or not (self.eager or isinstance(outcome, Exception)):
            return None
        if isinstance(outcome, Exception):
            why, singular, steps = f"was refused ({outcome})", False, 0
        else:
            codes, steps = np.asarray(outcome.status), int(np.max(outcome.iterations, initial=0))
            failed = codes[~np.isin(codes, CONVERGED)]
            # A null space that was declared is filled up: factors that are singular still have another one.
            filled = self.nulls.basis is not None and outcome.undetermined is not None
            singular = bool((failed == Status.singular).any() or (filled and np.any(outcome.undetermined)))
            singular = singular or (failed.size > 0 and rule.method in FACTORISING and self._one_sided())
            if not singular and not (failed.size and np.isin(failed, UNFIT).all()):
                return None
            if not singular and self._rounds(outcome):
                return None
            code = int(failed.flat[0]) if failed.size else Status.singular
            why = f"ended with {Status(code).name} after {steps} iteration{'s' * (steps != 1)}"
        self.roads = (*self.roads, f"{rule.pair} {why}")
        left: Any = self.solve.max_iterations
        if self.eager:
            left = np.maximum(np.asarray(left) - steps, 0)
        spent = self.eager and not left.any()
        other = None if spent else another(self.problem.A, self.solve, self.choice, why, singular)
        if other is None:
            return None
        other = mixed(other, self.solve, self.problem.A, self.structures.dtype)
        # A number stays a number, which costs no transfer.
        left = int(left) if self.eager and not left.ndim else left
        limited = eqx.tree_at(lambda s: s.max_iterations, self.solve, left)
        # Factors that stay singular say that what was declared is not the null space, or not all of it.
        wrong = other.rule is DEFICIENT and self.nulls.basis is not None
        return LinearSystem(self.problem, limited, other, NullSpace() if wrong else None, roads=self.roads)

    @property
    def failures(self) -> str:
        return f"{TRIED}{', '.join(self.roads)}."

    def _one_sided(self) -> bool:
        """Whether the null space that is declared is that of A, and Aᴴ has another one, which nobody has told."""
        matrix = told_entries(self.problem.A)
        if self.nulls.basis is None or matrix is None or is_traced((matrix.data, self.nulls.basis)):
            return False
        M, Q = matrix.to_scipy(), np.asarray(self.nulls.basis)
        tiny = np.sqrt(np.finfo(Q.dtype).eps) * np.abs(M.data).max(initial=0)
        return bool(np.abs(M @ Q).max() <= tiny < np.abs(M.conj().T @ Q).max())

    def _rounds(self, outcome: Outcome) -> bool:
        """Whether the residual is what rounding leaves of b - A x with this x."""
        if self.mesh is not None:
            return False
        matrix = told_entries(self.problem.A)
        if matrix is None or is_traced(matrix.data):
            return True
        x, r, b = (np.atleast_2d(np.asarray(v)) for v in (outcome.x, outcome.residual, self.problem.b))
        with np.errstate(all="ignore"):
            sizes = np.abs(x) @ abs(matrix.to_scipy()).T + np.abs(b)
            eps = np.finfo(r.dtype).eps
            return bool((np.linalg.norm(r, axis=-1) <= ROUNDING * eps * np.linalg.norm(sizes, axis=-1)).all())

    def ended(self, info: SolveInfo) -> None:
        system = (self.problem, self.solve, self.choice, self.nulls, self.of_gradient)
        remember(info, functools.partial(LinearSystem, *system))


def _is_number(v: Any) -> bool:
    return type(v) is np.ndarray and v.ndim == 0
