"""solve_linear: the front door."""

import dataclasses
import functools
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.errors import NotLinearError, StructureError
from jaxsolve.core.results import Frozen, SolveInfo, failure_of
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing
from jaxsolve.linear.forward import Plan, System, run
from jaxsolve.linear.implicit import implicit_solve
from jaxsolve.linear.problem import Problem, null_space, pose
from jaxsolve.linear.request import Solve, method_name, needs_entries, preconditioner_name
from jaxsolve.linear.select import choose
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.convert import as_operator
from jaxsolve.operators.function import function_operator
from jaxsolve.preconditioners.base import AbstractPreconditioner
from jaxsolve.solvers.base import AbstractMethod
from jaxsolve.solvers.direct.dense import AbstractDense
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.split import Split


def solve_linear(
    A: Any, b: Any, solve: Solve | None = None, *f_args: Any, grad_for_f: bool = True, **f_kwargs: Any
) -> Any:
    """The solution x of A x = b, differentiable in b, in the values of A and in every argument of a function A.

    Args:
        A: Dense array (..., n, n), BCOO, BCSR, SciPy sparse matrix (a constant), `js.SparseMatrix`,
            `js.LinearOperator`, or a function of x (and `f_args`, `f_kwargs`) that is linear or affine in x.
        b: Right-hand side: an array (..., n) for matrices, any pytree of arrays for functions. Leading axes are a
            batch of systems, each stopped by its own tolerance.
        solve: What is asked: method, tolerances, preconditioner, first guess, ...
        *f_args: Further arguments of a function A.
        grad_for_f: Whether gradients reach A.
        **f_kwargs: The same by name.

    Returns:
        x in the structure of `x0`, else of b.

    Raises:
        NotConverged: If the tolerance was not reached; `exc.result` is the `SolveInfo`. Also out of gradients.
        Diverged: If the iterates left for infinity or stopped being numbers.
        StructureError: If shapes or structures do not fit; a ValueError.
        TypeError: If an argument is of the wrong kind.

    >>> import jax, jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
    >>> js.solve_linear(A, b).round(4).tolist()
    [0.0909, 0.6364]
    >>> f = lambda x, k: k * x - 0.5 * jnp.roll(x, 1)
    >>> jax.grad(lambda k: js.solve_linear(f, b, js.Solve("GMres"), k).sum())(2.0).round(3).tolist()
    -1.333
    """
    return _solve(A, b, solve, f_args, f_kwargs, grad_for_f, throw=True).x


def solve_linear_info(
    A: Any, b: Any, solve: Solve | None = None, *f_args: Any, grad_for_f: bool = True, **f_kwargs: Any
) -> SolveInfo:
    """How a solve went: solution, residual, iterations, status. Never raises when it did not converge.

    Takes the arguments of `solve_linear`; the result is a pytree that passes through jit and vmap.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.solve_linear_info(jnp.zeros((2, 2)), jnp.ones(2))
    >>> info.status.name, bool(info.converged)
    ('singular', False)
    """
    return _solve(A, b, solve, f_args, f_kwargs, grad_for_f, throw=False)


def solve_linear_many(A: Any, B: Any, solve: Solve | None = None) -> Array:
    """The solutions X of A X = B, column by column, sharing the factorisation or preconditioner.

    Args:
        A: A matrix or operator of shape (n, n).
        B: Right-hand sides of shape (n, k).
        solve: What is asked.

    Returns:
        Shape (n, k).

    >>> import jax.numpy as jnp
    >>> solve_linear_many(2 * jnp.eye(2), jnp.array([[2.0, 4.0, 6.0], [0.0, 2.0, 4.0]])).tolist()
    [[1.0, 2.0, 3.0], [0.0, 1.0, 2.0]]
    """
    B = jnp.asarray(B)
    A = as_operator(A)
    if B.ndim != 2 or B.shape[0] != A.shape[0]:
        raise StructureError(f"A of shape {A.shape} goes with B of shape ({A.shape[0]}, k); got {B.shape}.")
    if solve is not None and solve.x0 is not None:
        solve = eqx.tree_at(lambda s: s.x0, solve, jnp.asarray(solve.x0).T)
    return solve_linear(A, B.T, solve).T


def _solve(A: Any, b: Any, solve: Any, args: tuple, kwargs: dict, grad_for_f: bool, throw: bool) -> SolveInfo:
    started = time.perf_counter()
    solve = Solve() if solve is None else solve
    problem = pose(A, b, solve, args, kwargs, grad_for_f, needs_entries(solve))
    if solve.preprocess is not None:
        problem = dataclasses.replace(problem, A=as_operator(solve.preprocess(problem.A)))
    method = _method(solve, problem.A)
    nulls = null_space(solve, problem)
    request = Frozen(solve)
    settings = request.split(solve)
    run_with = functools.partial(
        _solve_lanes if problem.matrices else _solve_one, problem, solve, method, nulls
    )
    if not is_traced((problem.A, problem.b, problem.x0, nulls, settings)):
        outcome = run_with(None, eager=True)
        # Under jit even constants yield tracers, and the solve is traced again as part of the program.
        if not is_traced(outcome.status):
            # Looking at the status waits for the result, so the time is that of the solve.
            np.asarray(outcome.status)
            seconds = time.perf_counter() - started
            info = _info(outcome, settings, request, method_name(method), problem, seconds)
            failure = failure_of(info, solve.suppress) if throw else None
            if failure is not None:
                raise failure
            return info
    judge = _Judge(solve, request, method, problem) if throw else None
    outcome = run_with(judge, eager=False)
    return _info(outcome, settings, request, method_name(method), problem, np.nan)


def _method(solve: Solve, A: LinearOperator) -> AbstractMethod:
    method = solve.method
    if isinstance(method, str):
        method = choose(A, solve.preconditioner is not None)[0]
    m, n = A.shape
    if m != n and not method.rectangular:
        raise StructureError(
            f"`{method.name}` solves square systems; A has shape {A.shape}. Use 'lsqr', 'lsmr' or 'QR'."
        )
    if solve.preconditioner is not None and not method.preconditioned:
        raise ValueError(
            f"`{method.name}` factorises A and takes no preconditioner; got "
            f"{preconditioner_name(solve.preconditioner)}. Leave it out, or use a Krylov method such as 'GMres'."
        )
    return method


def _control(solve: Solve, problem: Problem) -> Control:
    real = jnp.finfo(problem.b.dtype).dtype
    values = []
    for name, dtype in (("rtol", real), ("atol", real), ("max_iterations", jnp.int32)):
        value = getattr(solve, name)
        if isinstance(value, int | float) and not problem.batch:
            values.append(np.asarray(min(value, 2**31 - 1) if dtype == jnp.int32 else value, dtype))
            continue
        value = jnp.asarray(value).astype(dtype)
        try:
            value = jnp.broadcast_to(value, problem.batch)
        except ValueError:
            raise StructureError(
                f"{name} must be a number or have the batch's shape {problem.batch}; got shape {value.shape}."
            ) from None
        values.append(value.reshape(-1) if problem.batch else value)
    return Control(*values)


def _prepared(method: AbstractMethod, recipe: Any, problem: Problem, nulls: NullSpace, eager: bool) -> Any:
    """The factorisation or the preconditioner of A, from which no gradient is taken."""
    if method.preconditioned and recipe is None:
        return None
    A = problem.A if eager else lax.stop_gradient(problem.A)
    if not method.preconditioned:
        return lax.stop_gradient(_factorised(method, A, nulls))
    if isinstance(recipe, tuple):
        return Split(*(_prepared(method, part, problem, nulls, eager) for part in recipe))
    return lax.stop_gradient(_preconditioner(recipe, A, problem))


def _factorised(method: AbstractMethod, A: LinearOperator, nulls: NullSpace) -> Any:
    return _regularized_factors(method, A, nulls) if isinstance(method, AbstractDense) else method.prepare(A)


@functools.partial(jax.jit, static_argnums=0)
def _regularized_factors(method: AbstractDense, A: LinearOperator, nulls: NullSpace) -> Any:
    return method.prepare(nulls.regularized(A))


@eqx.filter_jit
def _built(recipe: AbstractPreconditioner, A: LinearOperator) -> LinearOperator:
    return recipe.build(A)


def _preconditioner(recipe: Any, A: LinearOperator, problem: Problem) -> LinearOperator:
    m, n = A.shape
    if isinstance(recipe, AbstractPreconditioner):
        return recipe.build(A) if recipe.concrete else _built(recipe, A)
    if callable(recipe) and not isinstance(recipe, LinearOperator):
        unknown, rhs = problem.unknown, problem.rhs
        try:
            return function_operator(recipe, rhs, unknown, problem.b.dtype, (), {})[0]
        except NotLinearError as error:
            raise NotLinearError(f"as a preconditioner, {error}") from None
    M = as_operator(recipe).layout()
    if M.shape != (n, m):
        raise StructureError(f"the preconditioner of A {A.shape} has shape {(n, m)}; got {M.shape}.")
    return M


def _solve_one(
    problem: Problem, solve: Solve, method: AbstractMethod, nulls: NullSpace, judge: Any, eager: bool
) -> Outcome:
    """One matrix, with one right-hand side or a batch of them."""
    control = _control(solve, problem)
    inverse = _prepared(method, solve.preconditioner, problem, nulls, eager)
    A = problem.A.layout()
    guess = None if problem.x0 is None else 0
    if eager:
        parts = (A, inverse, problem.b, problem.x0, control, nulls)
        return (
            _run_lanes(method, (None, None, 0, guess, 0, None), *parts)
            if problem.batch
            else run(method, *parts)
        )
    chosen, prepared, limits = _gradient(solve, method, inverse, control, problem, nulls)
    x0, control = lax.stop_gradient((problem.x0, control))
    plan = Plan(method, chosen, judge)
    system = System(A, inverse, problem.b, x0, control, nulls, (prepared, limits))
    if not problem.batch:
        return implicit_solve(plan, system)
    axes: Any = System(*(None, None, 0, guess, 0, None, (None, 0)))  # pyright: ignore[reportArgumentType]  # axes
    return jax.vmap(functools.partial(implicit_solve, plan), in_axes=(axes,))(system)


def _solve_lanes(
    problem: Problem, solve: Solve, method: AbstractMethod, nulls: NullSpace, judge: Any, eager: bool
) -> Outcome:
    """A batch of matrices, each with its right-hand side, preconditioner and tolerance."""
    control = _control(solve, problem)
    parts = (problem.A, problem.b, problem.x0, control)
    if eager:
        recipe = Frozen(solve.preconditioner)
        key = (method, recipe, problem.unknown, problem.rhs)
        return _run_stack(key, recipe.split(solve.preconditioner), *parts, nulls)

    def lane(A, b, x0, control):
        one = dataclasses.replace(problem, A=A, b=b, x0=x0, batch=(), matrices=False)
        limited = eqx.tree_at(lambda s: (s.rtol, s.atol, s.max_iterations), solve, tuple(control))
        return _solve_one(one, limited, method, nulls, judge, eager=False)

    return jax.vmap(lane, in_axes=(0, 0, None if problem.x0 is None else 0, 0))(*parts)


@functools.partial(jax.jit, static_argnums=0)
def _run_stack(
    key: tuple, settings: list[Any], A: LinearOperator, b: Array, x0: Any, control: Control, nulls: NullSpace
) -> Outcome:
    method, recipe, unknown, rhs = key

    def lane(A, b, x0, control):
        one = Problem(A, b, x0, unknown, rhs, (), False)
        inverse = _prepared(method, recipe.join(settings), one, nulls, eager=False)
        return run(method, A.layout(), inverse, b, x0, control, nulls)

    return jax.vmap(lane, in_axes=(0, 0, None if x0 is None else 0, 0))(A, b, x0, control)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_lanes(method: AbstractMethod, lanes: tuple, *parts: Any) -> Outcome:
    return jax.vmap(functools.partial(run, method), in_axes=lanes)(*parts)


def _gradient(
    solve: Solve, method: AbstractMethod, inverse: Any, control: Control, problem: Problem, nulls: NullSpace
) -> tuple[AbstractMethod, Any, Control]:
    """Method, inverse and control for tangent and adjoint systems."""
    other = solve.gradient_solve
    if other is None:
        # The user's atol is in the units of b, which those systems do not have.
        return method, inverse, Control(control.rtol, jnp.zeros_like(control.atol), control.max_iterations)
    chosen = _method(other, problem.A)
    prepared = _prepared(chosen, other.preconditioner, problem, nulls, eager=False)
    return chosen, prepared, _control(eqx.tree_at(lambda s: s.atol, other, 0.0), problem)


def _info(
    outcome: Outcome, settings: list[Any], request: Frozen, method: str, problem: Problem, seconds: float
) -> SolveInfo:
    """The outcome in the user's structures."""
    shaped = outcome
    if problem.batch:
        shaped = jax.tree.map(lambda v: v.reshape(*problem.batch, *v.shape[1:]), outcome)
    return SolveInfo(
        x=problem.unflatten(problem.unknown, outcome.x),
        residual=problem.unflatten(problem.rhs, outcome.residual),
        residual_norm=shaped.residual_norm,
        target=shaped.target,
        iterations=shaped.iterations,
        function_evaluations=shaped.evaluations,
        code=shaped.status,
        solve_time=seconds,
        settings=settings,
        request=request,
        method=method,
    )


@dataclasses.dataclass(frozen=True)
class _Judge:
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
        return _Verdict(self, kind, treedef)


@dataclasses.dataclass(frozen=True)
class _Verdict:
    judge: _Judge
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
