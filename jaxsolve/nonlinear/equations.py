"""solve_nonlinear and solve_fixed_point."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsolve.core.array_likes import told
from jaxsolve.core.results import SolveInfo
from jaxsolve.front.request import Solve, refuse_axes
from jaxsolve.nonlinear.nonlinear_problem import arrays, state
from jaxsolve.nonlinear.nonlinear_solve import Stated, nonlinear_answer
from jaxsolve.solvers.nonlinear_methods import FIXED_POINT, ROOT, LevenbergMarquardt


def solve_nonlinear(
    f: Callable[..., Any], y: Any, solve: Solve | None = None, *args: Any, **kwargs: Any
) -> Any:
    """The solution x of f(x) = y, differentiable in y, in the arguments of f and in what f closes over.

    Converged means ‖y - f(x)‖ <= max(rtol max(‖y‖, ‖y - f(x0)‖), atol). Gradients take one linear solve with the
    derivative of f at the solution, by the `gradient_solve` of the request, else by the `linear` of its method.

    Complex equations may contain conjugates, absolute values and real parts: unless f has a complex derivative, real
    and imaginary parts are the unknowns of its linear systems, each complex leaf as the former, then the latter.

    Args:
        f: Called as f(x, *args, **kwargs); differentiable. It returns the structure of y.
        y: Right-hand side, any pytree of arrays.
        solve: What is asked: a method ("newton", "pseudo-transient", "broyden", "anderson", "picard" or a module such
            as `js.Newton(linear=js.Solve("GMres", preconditioner="ilu"))`), tolerances, the first guess `x0` (by
            default zeros like y).
        *args: Further arguments of f.
        **kwargs: The same by name.

    Returns:
        x in the structure of x0.

    Raises:
        NotConverged: If the tolerance was not reached; `exc.result` is the `SolveInfo`. Also out of gradients.
        Diverged: If the iterates left for infinity or stopped being numbers.
        StructureError: If shapes or structures do not fit; a ValueError.
        ValueError: If the method is for other problems, or x0 is needed and not given.

    Cost: that of the method, by the `Cost` of its class. A gradient costs one linear solve with the transposed
        Jacobian.

    >>> import jax, jax.numpy as jnp, jaxsolve as js
    >>> cube_root = lambda y: js.solve_nonlinear(
    ...     lambda x: x**3, y, js.Solve("newton", x0=jnp.ones(()), rtol=1e-6)
    ... )
    >>> round(float(cube_root(8.0)), 4), round(float(jax.grad(cube_root)(8.0)), 4)
    (2.0, 0.0833)
    """
    return nonlinear_answer(_equations, f, y, requested(solve), args, kwargs, throw=True).x


def solve_nonlinear_info(
    f: Callable[..., Any], y: Any, solve: Solve | None = None, *args: Any, **kwargs: Any
) -> SolveInfo:
    """How a solve of f(x) = y went: solution, residual y - f(x), iterations, status. Never raises for non-convergence.

    Takes the arguments of `solve_nonlinear`.

    Returns:
        A `SolveInfo` with x in the structure of x0; a pytree that passes through jit and vmap.

    Raises:
        StructureError: If shapes or structures do not fit; a ValueError.
        ValueError: If the method is for other problems, or x0 is needed and not given.

    Cost: that of `solve_nonlinear`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.solve_nonlinear_info(lambda x: x**2 + 1, jnp.zeros(()), js.Solve("newton", x0=jnp.ones(())))
    >>> bool(info.converged)
    False
    """
    return nonlinear_answer(_equations, f, y, requested(solve), args, kwargs, throw=False)


def solve_fixed_point(g: Callable[..., Any], solve: Solve | None = None, *args: Any, **kwargs: Any) -> Any:
    """The solution x of x = g(x), differentiable in the arguments of g and in what g closes over.

    Converged means ‖g(x) - x‖ <= max(rtol ‖g(x0) - x0‖, atol).

    Args:
        g: Called as g(x, *args, **kwargs); it returns the structure of x.
        solve: What is asked: a method ("anderson", "picard", "newton", "broyden"), tolerances, and the first guess x0,
            which is needed.
        *args: Further arguments of g.
        **kwargs: The same by name.

    Returns:
        x in the structure of x0.

    Raises:
        NotConverged: If the tolerance was not reached; `exc.result` is the `SolveInfo`. Also out of gradients.
        Diverged: If the iterates left for infinity or stopped being numbers.
        StructureError: If shapes or structures do not fit; a ValueError.
        ValueError: If the method is for other problems, or x0 is needed and not given.

    Cost: that of the method, by the `Cost` of its class. A gradient costs one linear solve with the transposed
        Jacobian.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> round(float(js.solve_fixed_point(jnp.cos, js.Solve("anderson", x0=1.0))), 4)
    0.7391
    """
    return nonlinear_answer(_fixed_point, g, None, requested(solve), args, kwargs, throw=True).x


def solve_fixed_point_info(
    g: Callable[..., Any], solve: Solve | None = None, *args: Any, **kwargs: Any
) -> SolveInfo:
    """How a solve of x = g(x) went; never raises when it did not converge. Takes the arguments of `solve_fixed_point`.

    Returns:
        A `SolveInfo` with x in the structure of x0; a pytree that passes through jit and vmap.

    Raises:
        StructureError: If shapes or structures do not fit; a ValueError.
        ValueError: If the method is for other problems, or x0 is needed and not given.

    Cost: that of `solve_fixed_point`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.solve_fixed_point_info(jnp.cos, js.Solve("picard", x0=1.0)).status.name
    'converged'
    """
    return nonlinear_answer(_fixed_point, g, None, requested(solve), args, kwargs, throw=False)


def requested(solve: Any) -> Solve:
    """The request, the default one where there is none."""
    if solve is None:
        return Solve()
    if not isinstance(solve, Solve):
        raise TypeError(f"the request is a js.Solve, such as js.Solve('newton', x0=x0); got {told(solve)}.")
    refuse_axes(solve, "a search of js.solve_nonlinear, js.minimize or js.least_squares")
    return solve


def guess(solve: Any, function: str) -> Any:
    """The first guess of a request.

    Raises:
        ValueError: If there is none.
    """
    x0 = requested(solve).x0
    if x0 is None:
        raise ValueError(
            f"{function} needs a first guess, which also gives the structure of x: js.Solve(..., x0=x0)."
        )
    return x0


def _equations(f: Any, y: Any, solve: Any, args: tuple, kwargs: dict) -> Callable[[], Stated]:
    def pose() -> Stated:
        x0, rhs = requested(solve).x0, arrays("y", y)
        if x0 is None:
            x0 = jax.tree.map(jnp.zeros_like, rhs)
        return (*state(ROOT, f, x0, rhs, args, kwargs, is_real(solve)), None)

    return pose


def _fixed_point(g: Any, _: None, solve: Any, args: tuple, kwargs: dict) -> Callable[[], Stated]:
    def pose() -> Stated:
        x0 = guess(solve, "solve_fixed_point")
        return (*state(FIXED_POINT, g, x0, None, args, kwargs, is_real(solve)), None)

    return pose


def is_real(solve: Any) -> bool:
    """Whether the method knows real numbers only."""
    return isinstance(requested(solve).method, LevenbergMarquardt)
