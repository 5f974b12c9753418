"""Which method runs: the one asked for where it suits the problem, else the one that does; the rest is refused."""

from typing import Any

import equinox as eqx

from jaxsolve.front.request import Solve, method_name
from jaxsolve.nonlinear.nonlinear_problem import Statement
from jaxsolve.solvers.host.scipy_krylov import SciPyKrylov
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.nonlinear_methods import (
    FIT,
    FIXED_POINT,
    LBFGS,
    MINIMUM,
    ROOT,
    AbstractNonlinearMethod,
    Anderson,
    GaussNewton,
    LevenbergMarquardt,
    Newton,
)
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from jaxsolve.solvers.scipy_minimisers import SCIPY_MINIMIZERS, SciPyLeastSquares, SciPyMinimize

#: The function for each goal, for people.
FUNCTIONS = {
    ROOT: "solve_nonlinear",
    FIXED_POINT: "solve_fixed_point",
    FIT: "least_squares",
    MINIMUM: "minimize",
}
#: Fixed points of more unknowns than this are found without their Jacobian.
SMALL = 512


def chosen(solve: Any, statement: Statement, constrained: bool) -> Solve:
    """The request with the method that runs.

    Raises:
        TypeError: If it is no request.
        ValueError: If its method is for other problems, or cannot keep x within bounds or to constraints.
    """
    method = solve.method
    if isinstance(method, str):
        method = _automatic(statement, constrained)
    if statement.goal == MINIMUM and (
        isinstance(method, CG) or (isinstance(method, SciPyKrylov) and method.kind == "cg")
    ):
        # Fletcher and Reeves' method bears the name of the linear one.
        method = SciPyMinimize("CG")
    method = _checked(solve, method, statement)
    _check_limits(method, statement.bounded, constrained)
    return eqx.tree_at(lambda s: s.method, solve, method, is_leaf=lambda leaf: leaf is solve.method)


def _automatic(statement: Statement, constrained: bool) -> AbstractNonlinearMethod:
    match statement.goal:
        case goal if goal == ROOT:
            return Newton()
        case goal if goal == FIXED_POINT:
            return Newton() if statement.unknown.size <= SMALL else Anderson()
        case goal if goal == FIT:
            return SciPyLeastSquares("trf") if statement.bounded else LevenbergMarquardt()
    if constrained:
        return SciPyMinimize("SLSQP")
    return SciPyMinimize("L-BFGS-B") if statement.bounded else LBFGS()


def _checked(solve: Solve, method: Any, statement: Statement) -> AbstractNonlinearMethod:
    goal = statement.goal
    fitting = ", ".join(
        sorted((name for name, make in NONLINEAR.items() if goal in make().solves), key=str.casefold)
    )
    if not isinstance(method, AbstractNonlinearMethod):
        name = method_name(method)
        advice = f" For its linear systems use js.Newton(linear=js.Solve({name!r}))." if goal == ROOT else ""
        raise ValueError(
            f"`{name}` solves linear systems; {FUNCTIONS[goal]} needs one of {fitting}, or 'auto'.{advice}"
        )
    if goal not in method.solves:
        others = " or ".join(FUNCTIONS[g] for g in method.solves)
        raise ValueError(
            f"`{method.name}` is for {others}; {FUNCTIONS[goal]} needs one of {fitting}, or 'auto'."
        )
    if statement.chart is not None and not isinstance(method, GaussNewton | LevenbergMarquardt):
        raise ValueError(
            f"`{method.name}` knows no retraction; for x on a manifold use levenberg-marquardt or gauss-newton."
        )
    if isinstance(method, LevenbergMarquardt) and method.eliminate is not None:
        if goal != FIT:
            raise ValueError(
                f"LevenbergMarquardt: eliminate is for least_squares, not for {goal}; leave it out."
            )
        if method.linear is not None or solve.preconditioner is not None:
            raise ValueError(
                "LevenbergMarquardt: eliminate solves what it leaves with dense factors; leave out `linear` and "
                "`preconditioner`."
            )
    if solve.preprocess is not None:
        raise ValueError("preprocess acts on the operator of a linear system; give it to the inner Solve.")
    if solve.inner_dtype is not None:
        raise ValueError(
            "inner_dtype is for the iterations of a linear system; give it to the Solve of these, for instance "
            "js.Newton(linear=js.Solve('GMres', inner_dtype=jnp.float32))."
        )
    if solve.preconditioner is not None and not method.inner:
        raise ValueError(
            f"`{method.name}` solves no linear systems and takes no preconditioner; leave it out, or use "
            f"{'newton' if goal in (ROOT, FIXED_POINT) else 'levenberg-marquardt'!r}."
        )
    return method


def _check_limits(method: AbstractNonlinearMethod, bounded: bool, constrained: bool) -> None:
    takes_bounds = isinstance(method, SciPyLeastSquares) and method.kind != "lm"
    takes_constraints = False
    if isinstance(method, SciPyMinimize):
        _, _, takes_bounds, takes_constraints = SCIPY_MINIMIZERS[method.kind]
    if bounded and not takes_bounds:
        able = [kind for kind, facts in SCIPY_MINIMIZERS.items() if facts[2]]
        raise ValueError(
            f"`{method.name}` takes no bounds; use one of {', '.join(able)} (minimize) or trf, dogbox (least_squares)."
        )
    if constrained and not takes_constraints:
        able = [kind for kind, facts in SCIPY_MINIMIZERS.items() if facts[3]]
        raise ValueError(f"`{method.name}` takes no constraints; use one of {', '.join(able)}.")
