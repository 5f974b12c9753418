"""minimize and least_squares."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.results import SolveInfo
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing
from jaxsolve.front.request import Solve
from jaxsolve.nonlinear.equations import guess, requested
from jaxsolve.nonlinear.host.limits import limits_of
from jaxsolve.nonlinear.manifold import on_manifold
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement, arrays, state
from jaxsolve.nonlinear.nonlinear_solve import Stated, nonlinear_answer
from jaxsolve.solvers.nonlinear_methods import FIT, MINIMUM


def minimize(
    f: Callable[..., Any],
    solve: Solve | None = None,
    *args: Any,
    bounds: Any = None,
    constraints: Any = None,
    **kwargs: Any,
) -> Any:
    """The x that minimises f, differentiable in the arguments of f and in what f closes over.

    Converged means that no |∂f/∂xⱼ| / Dⱼ is above rtol times the largest at x0, or ‖∇f(x)‖ <= atol, with D what makes
    the rows of D⁻¹ H D⁻¹ equally large, H the Hessian of f at x: so each unknown counts, whatever its unit. D is found
    by products with H at x0 and at the end, 32 of them at most each time; differences within a factor of 16 are left
    alone. (Where f has no second derivative, D is |∂f/∂xⱼ| at x0.) Within bounds P(x - ∇f) - x stands for -∇f, with P
    what moves x into them. SciPy's methods without gradients, and those with constraints, end by SciPy's own
    criterion, which for constraints knows no units. A local minimum is found, or another point without a slope: an x0
    at a saddle or at a maximum is left where it is.

    `residual` of the result is -∇f(x), and `target` the norm of it that would do.

    A complex x is taken by its real and imaginary parts, and ∇f is then ∂f/∂Re x + i ∂f/∂Im x.

    The units of f and x do not matter to the methods on the device; SciPy's stop early where they are far from 1, and
    then say so.

    Gradients reach bounds and what constraints close over: where these hold x, its derivative is that of the conditions
    of Karush, Kuhn and Tucker, with multipliers from ∇f. Where a constraint touches x and does not press, up to the
    tolerance, there is no derivative: it raises, or is NaN out of `minimize_info`. Where there are bounds alone and one
    touches without pressing, it lies between the derivatives to either side. With more than 20 000 unknowns and
    constraints in all, say by `gradient_solve` how the linear systems of gradients are to be solved.

    An eager call reads f anew and finds what was compiled for a function of the same operations; Python floats in f are
    part of these, arrays are not. Where f solves in a `jax.vmap` it is compiled anew: put `jax.jit` around the call.

    Args:
        f: Called as f(x, *args, **kwargs); returns one number.
        solve: What is asked: a method ("L-BFGS", "GD", "Newton-CG" on the device; SciPy's "L-BFGS-B", "BFGS", "CG",
            "TNC", "SLSQP", "trust-ncg", "Nelder-Mead", ... on the host), tolerances, and the first guess x0, which is
            needed.
        *args: Further arguments of f.
        bounds: A pair (lower, upper) of numbers or of pytrees like x; None or infinities for none. Gradients reach
            them.
        constraints: Dictionaries with "type" ("eq" for c(x) = 0, "ineq" for c(x) >= 0) and "fun", a JAX function of x;
            or `scipy.optimize.NonlinearConstraint`s of such functions, or `LinearConstraint`s.
        **kwargs: Further arguments of f by name.

    Returns:
        x in the structure of x0.

    Raises:
        NotConverged: If the tolerance was not reached; `exc.result` is the `SolveInfo`. Also out of gradients.
        Diverged: If the iterates left for infinity or stopped being numbers.
        StructureError: If f does not return one number; a ValueError.
        ValueError: If there is no first guess, or the method is for other problems; out of gradients, where it is not
            clear which constraints hold x.

    Cost: that of the method, by the `Cost` of its class, and 64 products with the Hessian at most for the units. A
        gradient costs one linear solve with the Hessian.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> loss = lambda p: (p["a"] - 3) ** 2 + (p["b"] + 1) ** 2
    >>> p = js.minimize(loss, js.Solve("L-BFGS", x0={"a": 0.0, "b": 0.0}))
    >>> round(float(p["a"]), 3), round(float(p["b"]), 3)
    (3.0, -1.0)
    """
    return nonlinear_answer(_minimum(bounds, constraints), f, None, requested(solve), args, kwargs, True).x


def minimize_info(
    f: Callable[..., Any],
    solve: Solve | None = None,
    *args: Any,
    bounds: Any = None,
    constraints: Any = None,
    **kwargs: Any,
) -> SolveInfo:
    """How a minimisation went: x, the objective, the residual -∇f(x), iterations, status; never raises for failures.

    Takes the arguments of `minimize`.

    Returns:
        A `SolveInfo` with x in the structure of x0; a pytree that passes through jit and vmap.

    Raises:
        StructureError: If f does not return one number; a ValueError.
        ValueError: If there is no first guess, or the method is for other problems.

    Cost: that of `minimize`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.minimize_info(lambda x: x**2 + 1, js.Solve("GD", x0=3.0))
    >>> info.status.name, float(info.objective)
    ('converged', 1.0)
    """
    return nonlinear_answer(_minimum(bounds, constraints), f, None, requested(solve), args, kwargs, False)


def least_squares(
    r: Callable[..., Any],
    solve: Solve | None = None,
    *args: Any,
    bounds: Any = None,
    retract: Any = None,
    **kwargs: Any,
) -> Any:
    """The x that minimises ½‖r(x)‖², differentiable in the arguments of r and in what r closes over.

    Converged means ‖P r‖ <= rtol ‖r‖, with P the projection onto the range of the derivative J of r: nothing that
    parameters can change is left of r, in whatever units they are. Where J is not made (more than 512 parameters, or a
    `linear` in the method), and within bounds, it means |Jⱼᵀr| <= rtol ‖Jⱼ‖ ‖r‖ for each column. Where all of r
    vanishes, r is nothing beside what x changes it by, to rtol². ‖Jᵀr‖ <= atol will do as well. `residual` of the
    result is -Jᵀr, and `target` the norm of it that would do. Complex x and complex residuals are taken by their real
    and imaginary parts.

    With a loss, as in `js.LevenbergMarquardt(loss="huber")`, the cost ½ s² Σ ρ((rᵢ/s)²) is minimised: it is the
    `objective` then, `residual` its negative gradient, and in the criterion residuals count by the roots of their
    weights ρ'.

    Args:
        r: Called as r(x, *args, **kwargs); returns any pytree of residuals.
        solve: What is asked: a method ("levenberg-marquardt", "gauss-newton" on the device; SciPy's "trf", "dogbox",
            "lm" on the host; or a module such as `js.LevenbergMarquardt(linear=js.Solve("lsmr"))`), tolerances, and the
            first guess x0, which is needed.
        *args: Further arguments of r.
        bounds: As in `minimize`; by SciPy's methods.
        retract: How x moves where it lives on a manifold, x <- retract(x, step): "quaternion" for unit quaternions
            (w, x, y, z) of shape (..., 4), "SO3" for rotation matrices (..., 3, 3), "SE3" for poses [R t; 0 1] of shape
            (..., 4, 4), all moved by x exp(step) with steps (..., 3) of rotation and (..., 6) of translation, then
            rotation; a function retract(x, step) with steps like x; a pair of such a function and an example of its
            step; or a dictionary of these by top-level leaves of x (positions of a tuple), the others moving by
            x + step. The Jacobian is that of steps at 0. By the methods on the device. `residual` of the result is
            that of steps.
        **kwargs: Further arguments of r by name.

    Returns:
        x in the structure of x0.

    Raises:
        NotConverged: If the tolerance was not reached; `exc.result` is the `SolveInfo`. Also out of gradients.
        Diverged: If the iterates left for infinity or stopped being numbers.
        StructureError: If r returns no residuals; a ValueError.
        ValueError: If there is no first guess, or the method is for other problems.

    Cost: that of the method, by the `Cost` of its class. A gradient costs one linear solve with the Jacobian and its
        transpose.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> t = jnp.arange(5.0)
    >>> k = js.least_squares(lambda k: jnp.exp(-k * t) - jnp.exp(-0.5 * t), js.Solve(x0=1.0, rtol=1e-4))
    >>> round(float(k), 3)
    0.5
    """
    return nonlinear_answer(_fit(bounds, retract), r, None, requested(solve), args, kwargs, True).x


def least_squares_info(
    r: Callable[..., Any],
    solve: Solve | None = None,
    *args: Any,
    bounds: Any = None,
    retract: Any = None,
    **kwargs: Any,
) -> SolveInfo:
    """How a least-squares fit went: x, the objective ½‖r‖², the residual -Jᵀr, status; never raises for failures.

    Takes the arguments of `least_squares`.

    Returns:
        A `SolveInfo` with x in the structure of x0; a pytree that passes through jit and vmap.

    Raises:
        StructureError: If r returns no residuals; a ValueError.
        ValueError: If there is no first guess, or the method is for other problems.

    Cost: that of `least_squares`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> round(
    ...     float(js.least_squares_info(lambda x: jnp.stack([x - 1, x + 1]), js.Solve(x0=3.0)).objective), 3
    ... )
    1.0
    """
    return nonlinear_answer(_fit(bounds, retract), r, None, requested(solve), args, kwargs, False)


def _minimum(bounds: Any, constraints: Any) -> Callable[..., Callable[[], Stated]]:
    def pose(f: Any, y: None, solve: Any, args: tuple, kwargs: dict) -> Stated:
        x0 = guess(solve, "minimize")
        statement, given, x, _ = _bounded(state(MINIMUM, f, x0, None, args, kwargs), bounds)
        if constraints is None or (isinstance(constraints, list | tuple) and not constraints):
            return statement, given, x, None
        limits, constants = limits_of(constraints, statement.unknown, statement.dtype)
        return statement, given._replace(constants=constants), x, limits

    return lambda *asked: lambda: pose(*asked)


def _fit(bounds: Any, retract: Any) -> Callable[..., Callable[[], Stated]]:
    def pose(r: Any, y: None, solve: Any, args: tuple, kwargs: dict) -> Stated:
        posed = state(FIT, r, guess(solve, "least_squares"), None, args, kwargs)
        if retract is None:
            return _bounded(posed, bounds)
        if bounds is not None:
            raise ValueError(
                "least_squares takes bounds or a retraction, not both: bounds are those of numbers, and x moves on a "
                "manifold. Keep a part of x positive by retract=lambda x, step: x * jnp.exp(step)."
            )
        return (*on_manifold(*posed, retract), None)

    return lambda *asked: lambda: pose(*asked)


def _bounded(posed: tuple[Statement, Given, Array], bounds: Any) -> Stated:
    """The problem with its bounds as flat vectors."""
    statement, given, x0 = posed
    if bounds is None:
        return statement, given, x0, None
    if not (isinstance(bounds, tuple | list) and len(bounds) == 2):
        raise TypeError(
            f"bounds are a pair (lower, upper), each a number or like x (SciPy's list of pairs: transpose it); got "
            f"{type(bounds).__name__}{f' of {len(bounds)}' if isinstance(bounds, tuple | list) else ''}."
        )
    lower, upper = (
        _side(name, side, statement.unknown, statement.dtype, fill)
        for name, side, fill in (("lower", bounds[0], -jnp.inf), ("upper", bounds[1], jnp.inf))
    )
    if any(jnp.issubdtype(d, jnp.complexfloating) for d in statement.unknown.dtypes):
        raise TypeError("bounds are an order, which complex numbers do not have; x0 is complex.")
    crossed = jnp.any(lower > upper)
    if not is_traced(crossed) and bool(crossed):
        k = int(jnp.argmax(lower > upper))
        raise ValueError(
            f"the lower bound {lower[k]} is above the upper bound {upper[k]} (entry {k} of the flat x)."
        )
    statement = dataclasses.replace(statement, bounded=True)
    # Where that shows only when the program runs, no x is a solution.
    start = jnp.where(crossed, jnp.nan, jnp.clip(x0, lower, upper))
    return statement, given._replace(lower=lower, upper=upper), start, None


def _side(name: str, side: Any, unknown: Packing, dtype: Any, fill: float) -> Array:
    if side is None:
        return jnp.full(unknown.size, fill, dtype)
    side = arrays(f"the {name} bound", side)
    leaves = jax.tree.leaves(side)
    if len(leaves) == 1 and leaves[0].ndim == 0:
        return jnp.broadcast_to(leaves[0].astype(dtype), (unknown.size,))
    unknown.check(side, f"the {name} bound is a number or like x")
    return unknown.pack(side, dtype)
