"""solve_linear: the front door."""

import dataclasses
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import by_identity
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import Frozen, SolveInfo, failure_of
from jaxsolve.core.staging import is_traced
from jaxsolve.core.status import Status
from jaxsolve.core.tree import as_arrays
from jaxsolve.linear.auto import DEFICIENT, Choice, least_norm
from jaxsolve.linear.diagnosis import remember
from jaxsolve.linear.execution import execute, execute_stack
from jaxsolve.linear.observation import shown, watch_for
from jaxsolve.linear.preparation import chosen
from jaxsolve.linear.problem import Problem, null_space, pose
from jaxsolve.linear.reporting import Judge
from jaxsolve.linear.request import Solve, method_name
from jaxsolve.operators.conversion import ACCEPTED, as_operator, is_function
from jaxsolve.solvers.driver import Outcome
from jaxsolve.telemetry.listeners import Ear, ear

#: What a result says of a singular system that was not declared to be one.
LEAST_NORM = (
    "A is singular: of the solutions this is the one of least norm. Declare the null space (`null_space=`) "
    "if it is known."
)


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
        x in the structure of `x0`, else of b. A leaf is complex where that of b, of `x0` or of what A returns is. A
        function of real and of complex leaves, or one that conjugates, is solved over real and imaginary parts.

    Raises:
        NotConverged: If the tolerance was not reached; `exc.result` is the `SolveInfo`. Also out of gradients.
        Diverged: If the iterates left for infinity or stopped being numbers.
        StructureError: If shapes or structures do not fit; a ValueError.
        TypeError: If an argument is of the wrong kind.

    Cost: that of the method (`js.methods()`) and of the preconditioner (`js.preconditioners()`), and one product with A
        more that checks the residual. A gradient costs one more solve, with the adjoint of A.

    >>> import jax, jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
    >>> [round(v, 4) for v in js.solve_linear(A, b).tolist()]
    [0.0909, 0.6364]
    >>> f = lambda x, k: k * x - 0.5 * jnp.roll(x, 1)
    >>> round(float(jax.grad(lambda k: js.solve_linear(f, b, js.Solve("GMres"), k).sum())(2.0)), 3)
    -1.333
    """
    return answered(A, b, solve, f_args, f_kwargs, grad_for_f).x


def solve_linear_info(
    A: Any, b: Any, solve: Solve | None = None, *f_args: Any, grad_for_f: bool = True, **f_kwargs: Any
) -> SolveInfo:
    """How a solve went: solution, residual, iterations, status. Never raises when it did not converge.

    Takes the arguments of `solve_linear`.

    Returns:
        A `SolveInfo` with x in the structure of `x0`, else of b; a pytree that passes through jit and vmap.

    Raises:
        StructureError: If shapes or structures do not fit; a ValueError.
        TypeError: If an argument is of the wrong kind.

    Cost: that of `solve_linear`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.solve_linear_info(jnp.zeros((2, 2)), jnp.ones(2))
    >>> info.status.name, bool(info.converged)
    ('singular', False)
    """
    return answered(A, b, solve, f_args, f_kwargs, grad_for_f, throw=False)


def solve_linear_many(
    A: Any, B: Any, solve: Solve | None = None, *f_args: Any, grad_for_f: bool = True, **f_kwargs: Any
) -> Array:
    """The solutions X of A X = B, column by column, sharing the factorisation or preconditioner.

    Args:
        A: A matrix or operator of shape (n, n), or a function of vectors of shape (n,).
        B: Right-hand sides of shape (n, k).
        solve: What is asked.
        *f_args: Further arguments of a function A.
        grad_for_f: Whether gradients reach A.
        **f_kwargs: The same by name.

    Returns:
        X of shape (n, k), in the common dtype of A and B.

    Raises:
        NotConverged: If a column did not reach its tolerance; `exc.result` is the `SolveInfo` of all.
        Diverged: If the iterates of a column left for infinity or stopped being numbers.
        StructureError: If shapes do not fit; a ValueError.
        TypeError: If an argument is of the wrong kind.

    Cost: one factorisation or preconditioner, and k solves at once: products with all columns that still iterate.

    >>> import jax.numpy as jnp
    >>> solve_linear_many(2 * jnp.eye(2), jnp.array([[2.0, 4.0, 6.0], [0.0, 2.0, 4.0]])).tolist()
    [[1.0, 2.0, 3.0], [0.0, 1.0, 2.0]]
    >>> solve_linear_many(lambda x: 4 * x, jnp.ones((3, 1))).tolist()
    [[0.25], [0.25], [0.25]]
    """
    (B,) = jax.tree.leaves(as_arrays("B", B)) or [jnp.zeros(())]
    if is_function(A) and B.ndim == 2:
        column = jnp.zeros(B.shape[0], B.dtype)
        asked = eqx.tree_at(lambda s: s.x0, solve, None, is_leaf=lambda v: v is None) if solve else Solve()
        problem = pose(A, column, asked, f_args, f_kwargs, grad_for_f)
        # An affine function is A x = b - f(0).
        A, B = problem.A, B + problem.b[:, None]
    elif f_args or f_kwargs:
        raise TypeError(
            f"further arguments are passed on to A, so A must be a function; got {type(A).__name__}."
        )
    else:
        A = as_operator(A, accepted=ACCEPTED)
    if B.ndim != 2 or B.shape[0] != A.shape[0]:
        raise StructureError(f"A of shape {A.shape} goes with B of shape ({A.shape[0]}, k); got {B.shape}.")
    if solve is not None and solve.x0 is not None:
        solve = eqx.tree_at(lambda s: s.x0, solve, jnp.asarray(solve.x0).T)
    return solve_linear(A, B.T, solve, grad_for_f=grad_for_f).T


@in_full
def answered(
    A: Any,
    b: Any,
    solve: Solve | None,
    args: tuple = (),
    kwargs: dict | None = None,
    grad_for_f: bool = True,
    throw: bool = True,
    choice: Choice | None = None,
) -> SolveInfo:
    """How a solve went, told to whoever listens.

    Args:
        A: What `solve_linear` takes.
        b: The same.
        solve: The request.
        args: Further arguments of a function A.
        kwargs: The same by name.
        grad_for_f: Whether gradients reach A.
        throw: Whether failures raise.
        choice: The method and, in the place of the preconditioner, what is made of A already; None to choose.
    """
    listener = ear()
    if listener is None:
        return _answered(A, b, solve, args, kwargs or {}, grad_for_f, throw, choice, None)
    with listener.quiet():
        return _answered(A, b, solve, args, kwargs or {}, grad_for_f, throw, choice, listener)


def _answered(
    A: Any,
    b: Any,
    solve: Solve | None,
    args: tuple,
    kwargs: dict,
    grad_for_f: bool,
    throw: bool,
    choice: Choice | None,
    listener: Ear | None,
) -> SolveInfo:
    started = time.perf_counter()
    solve = Solve() if solve is None else solve
    problem = pose(A, b, solve, args, kwargs, grad_for_f)
    if solve.preprocess is not None:
        operator = as_operator(solve.preprocess(problem.A), "what preprocess returns")
        problem = dataclasses.replace(problem, A=operator)
    choice = chosen(solve, problem.A) if choice is None else choice
    method = choice.method
    nulls = null_space(solve, problem)
    request, settings = _frozen(solve)
    watch = watch_for(solve, problem, method, listener)

    judges: list[Judge | None] = []

    def judge() -> Judge | None:
        judges.append(Judge.of(solve, request, method, problem, listener, throw))
        return judges[0]

    run = execute_stack if problem.matrices else execute
    outcome = run(problem, solve, choice, nulls, judge, settings, watch)
    compiled = is_traced(outcome.status)
    if not compiled:
        # Looking at the status waits for the result, so the time is that of the solve.
        singular = np.asarray(outcome.status) == Status.singular
        other = least_norm(choice) if singular.any() and not problem.matrices else None
        if other is not None:
            found = run(problem, solve, other, nulls, judge, settings, watch)
            if (np.asarray(found.status) == Status.converged).all():
                outcome, choice, method = found, other, other.method
    seconds = np.nan if compiled else time.perf_counter() - started
    info = solve_info(outcome, settings, request, method_name(method), problem, seconds)
    if choice.rule is DEFICIENT:
        info = dataclasses.replace(info, note=LEAST_NORM)
    if not compiled and not problem.matrices:
        remember(info, problem, choice)
    if listener is not None:
        listener.hear_traced(info)
        # What was judged has been told by its program.
        if not judges:
            listener.hear(info)
    failure = failure_of(info, solve.suppress) if throw and not compiled else None
    if failure is not None:
        raise failure
    return info


@by_identity
def _frozen(solve: Solve) -> tuple[Frozen, list[Any]]:
    request = Frozen(solve)
    return request, request.split(solve)


def solve_info(
    outcome: Outcome, settings: list[Any], request: Frozen, method: str, problem: Problem, seconds: float
) -> SolveInfo:
    """The outcome in the user's structures."""
    shaped = outcome._replace(trajectory=None)
    if problem.batch:
        shape = problem.batch
        shaped = jax.tree.map(
            lambda v: v if v.shape[: len(shape)] == shape else v.reshape(*shape, *v.shape[1:]), shaped
        )
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
        trajectory=shown(outcome.trajectory, problem),
        objective=shaped.objective,
        asymmetry=shaped.asymmetry,
        constants=shaped.constants,
    )
