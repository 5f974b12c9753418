"""Fits by a loss: what is asked of a method belongs to the problem, since it changes the minimum."""

import equinox as eqx

from jaxsolve.front.request import Solve
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.robust_cost import robust_cost
from jaxsolve.solvers.losses import Loss
from jaxsolve.solvers.nonlinear_methods import FIT, LevenbergMarquardt


def robust(statement: Statement, given: Given, solve: Solve) -> tuple[Statement, Given, Solve]:
    """The problem with the loss of its method, and the request without it.

    Raises:
        ValueError: If a loss is given for equations.
        StructureError: If the loss does not act on each residual by itself.
    """
    method = solve.method
    if not isinstance(method, LevenbergMarquardt):
        return statement, given, solve
    rho = method.loss.rho if isinstance(method.loss, Loss) else method.loss
    plain = eqx.tree_at(
        lambda s: (s.method.loss, s.method.scale), solve, (Loss("linear"), 1.0), is_leaf=lambda v: v is None
    )
    if rho is None:
        return statement, given, plain
    if statement.goal != FIT:
        raise ValueError(
            f"LevenbergMarquardt: a loss weighs the residuals of least_squares; {statement.goal} have none at their "
            "solution. Leave `loss` out, or use least_squares."
        )
    cost, numbers = robust_cost(rho, method.scale, statement.image.size, statement.dtype)
    return statement.costing(cost), given._replace(loss=numbers), plain
