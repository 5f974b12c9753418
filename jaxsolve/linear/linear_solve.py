"""solve_linear: the front door."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import SolveInfo
from jaxsolve.core.shards import joined_over, one_vector_over
from jaxsolve.core.tree import as_arrays
from jaxsolve.front.answer import answered
from jaxsolve.front.request import Solve, refuse_axes
from jaxsolve.linear.auto import Choice
from jaxsolve.linear.damping import damped
from jaxsolve.linear.execution import LinearSystem
from jaxsolve.linear.over_devices import placed_vectors
from jaxsolve.linear.placement import placed
from jaxsolve.linear.preparation import chosen
from jaxsolve.linear.problem import pose
from jaxsolve.linear.ready import Ready
from jaxsolve.linear.repeated import repeated
from jaxsolve.linear.spread import check_axes, check_operator
from jaxsolve.linear.stacked_systems import StackedSystems
from jaxsolve.operators.conversion import ACCEPTED, as_operator, is_function


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
    return linear_answer(A, b, solve, f_args, f_kwargs, grad_for_f).x


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
    return linear_answer(A, b, solve, f_args, f_kwargs, grad_for_f, throw=False)


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
        "block-CG" and "block-GMres" search for all columns in one space: fewer iterations, each with more operations.

    >>> import jax.numpy as jnp
    >>> solve_linear_many(2 * jnp.eye(2), jnp.array([[2.0, 4.0, 6.0], [0.0, 2.0, 4.0]])).tolist()
    [[1.0, 2.0, 3.0], [0.0, 1.0, 2.0]]
    >>> solve_linear_many(lambda x: 4 * x, jnp.ones((3, 1))).tolist()
    [[0.25], [0.25], [0.25]]
    """
    if not (solve is None or isinstance(solve, Solve)):
        raise TypeError(
            f"the third argument is a js.Solve, such as js.Solve('CG', rtol=1e-8); got {told(solve)}."
        )
    (B,) = jax.tree.leaves(as_arrays("B", B)) or [jnp.zeros(())]
    if isinstance(A, Ready):
        A = A.over_columns(f_args, f_kwargs)
    elif is_function(A) and B.ndim == 2:
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


#: The number of devices, which does not change; asked once.
_devices = functools.cache(jax.device_count)

#: What is asked where nothing is.
_DEFAULT = Solve()


def linear_answer(
    A: Any,
    b: Any,
    solve: Solve | None,
    args: tuple = (),
    kwargs: dict | None = None,
    grad_for_f: bool = True,
    throw: bool = True,
    choice: Choice | None = None,
    somewhere: bool = True,
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
        somewhere: Whether arrays may lie on several devices of which nobody has taken care.
    """
    if somewhere and (_devices() > 1 or getattr(A, "on_mesh", None) is not None):
        anywhere = functools.partial(
            linear_answer, grad_for_f=grad_for_f, throw=throw, choice=choice, somewhere=False
        )
        return placed(anywhere, A, b, solve, args, kwargs or {})
    if isinstance(A, Ready):
        if args or kwargs:
            raise TypeError(
                "further arguments of a function belong to js.setup(f, solve, ...) and to ready.update(f, ...)."
            )

        refuse_axes(solve, "js.setup")
        solve = A.asked(solve)
        return answered(functools.partial(A.system, b, solve, grad_for_f), solve, throw)
    solve = _DEFAULT if solve is None else solve

    posed = functools.partial(_posed, A, b, solve, args, kwargs or {}, grad_for_f, choice)
    if args or kwargs or choice is not None:
        return answered(posed, solve, throw)
    return answered(functools.partial(repeated, A, b, solve, posed), solve, throw)


@in_full
def _posed(
    A: Any, b: Any, solve: Solve, args: tuple, kwargs: dict, grad_for_f: bool, choice: Choice | None
) -> LinearSystem:
    if not isinstance(solve, Solve):
        pose(A, b, solve, args, kwargs, grad_for_f)  # says what a request is
    check_axes(A, solve)
    with one_vector_over(joined_over(solve.axes)):
        return _system(A, b, solve, args, kwargs, grad_for_f, choice)


def _system(
    A: Any, b: Any, solve: Solve, args: tuple, kwargs: dict, grad_for_f: bool, choice: Choice | None
) -> LinearSystem:
    problem = pose(A, b, solve, args, kwargs, grad_for_f)
    if (spread := problem.A.on_mesh) is not None:
        b, x0 = placed_vectors(spread, (problem.b, problem.x0))
        problem = dataclasses.replace(problem, b=b, x0=x0)
    if solve.preprocess is not None:
        operator = as_operator(solve.preprocess(problem.A), "what preprocess returns")
        problem = dataclasses.replace(problem, A=operator)
    if not problem.matrices:
        check_operator(problem.A, problem.b, solve)
    kind = StackedSystems if problem.matrices else LinearSystem
    if choice is None:
        choice = chosen(solve, problem.A, problem.structures.dtype)
    problem, choice = damped(problem, solve, choice)
    return kind(problem, solve, choice)
