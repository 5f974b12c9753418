"""The sparse Jacobian of residuals over steps: of a manifold the product of two, J_x M with M the derivative of x.

Read as one function, s -> r(retract(x, s)), products of rotations with what depends on steps are read pair by pair
(100 poses: 100 ms, as a product of two less than 1 ms).
"""

import jax
from jax import Array

from jaxsolve.core.memo import recent
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.sparse_products import ProductPlan, plan_product
from jaxsolve.tracer.assembly import trace_operator
from jaxsolve.tracer.jacobian import jacobian_operator


def residual_jacobian(statement: Statement, given: Given, x: Array) -> SparseMatrix:
    """J of a step from x at 0, as entries.

    Raises:
        TraceError: If it cannot be read.
    """
    J = jacobian_operator(lambda x: statement.value(given, x), x)
    if statement.chart is None:
        return J
    step = jax.ShapeDtypeStruct((statement.steps.size,), x.dtype)
    M, _ = trace_operator(lambda s, given, x: statement.along(given, x, s), step, given, x)
    M = M.entries()
    assert M is not None
    plan = _planned(J.pattern, M.pattern)
    return SparseMatrix(plan.multiply(J.data, M.data), plan.pattern)


@recent(most=16, each=0)
def _planned(left: Pattern, right: Pattern) -> ProductPlan:
    return plan_product(left, right)
