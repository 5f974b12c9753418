"""Solves with known matrices: dense along the axes that they couple, and only along those."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import Equation, prims
from jaxsolve.core.errors import TraceError
from jaxsolve.core.implicit import implicit_p, is_linear_in, solves
from jaxsolve.tracer.dense_coupling import dense
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.products import contract
from jaxsolve.tracer.refusal import not_linear, place
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.value import Linear

#: Elements of a right-hand side up to which a solve is repeated for each.
MOST_SOLVES = 1000


@rule(prims.triangular_solve_p)
def _triangular(scope: Scope, eqn: Equation, a: Any, b: Any) -> Linear:
    """y = T⁻¹ x for a known triangle T: a product with its inverse along the axis that is solved for.

    >>> import jax, jaxsolve as js
    >>> T = np.array([[1.0, 0.0], [2.0, 1.0]])
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jax.scipy.linalg.solve_triangular(T, x, lower=True), np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[1.0, 0.0], [-2.0, 1.0]]
    """
    shape = eqn.invars[0].aval.shape
    if a is OPAQUE:
        inverse = OPAQUE
    else:
        identity = np.broadcast_to(np.eye(shape[-1], dtype=b.dtype), shape)

        def invert() -> Any:
            return eqn.primitive.bind(jnp.asarray(a), jnp.asarray(identity), **eqn.params)

        if is_host(a):
            with jax.ensure_compile_time_eval():
                inverse = np.asarray(invert())
        else:
            inverse = invert()
    batch = list(range(len(shape) - 2))
    left = eqn.params["left_side"]
    axis = len(batch) + (0 if left else 1)
    known = len(batch) + (1 if left else 0)
    return contract(
        b, inverse, shape, ([axis], [known], batch, batch), eqn.outvars[0].aval.dtype, known_first=left
    )


@rule(prims.tridiagonal_solve_p)
def _tridiagonal(scope: Scope, eqn: Equation, *inputs: Any) -> Linear:
    """y = T⁻¹ x for a known tridiagonal T: dense along the axis that is solved for, one solve for each unit vector.

    >>> import jax, jaxsolve as js
    >>> T = [np.array([0.0, 0.0]), np.array([2.0, 4.0]), np.array([0.0, 0.0])]
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: jax.lax.linalg.tridiagonal_solve(*T, x[:, None]), np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return _with_offset(dense(scope, eqn, inputs, complex_linear=True), inputs[-1].affine)[0]


@rule(prims.linear_solve_p)
def _linear_solve(scope: Scope, eqn: Equation, *inputs: Any) -> list[Linear]:
    """y = A⁻¹ x for a known matrix A of `jax.lax.custom_linear_solve`: one solve for each unit vector.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, _ = js.matrix_from_function(lambda x: jnp.linalg.solve(np.diag([2.0, 4.0]), x), np.zeros(2))
    >>> A.todense().tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    constants = sum(eqn.params["const_lengths"])
    outputs = dense(scope, eqn, inputs)
    shifted = any(v.affine for v in inputs[constants:] if depends(v))
    shifted = shifted or any(not depends(v) for v in inputs[constants:])
    return _with_offset(outputs, shifted)


@rule(implicit_p)
def _solve(scope: Scope, eqn: Equation, *inputs: Any) -> list[Any]:
    """y = A⁻¹ x for a known matrix A, by a solve of this package: one more for each element of the right-hand side.

    >>> import jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x: js.solve_linear(np.diag([2.0, 4.0]), x, js.Solve("LU")), np.zeros(2)
    ... )
    >>> A.todense().tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    moving = [k for k, v in enumerate(inputs) if depends(v)]
    if not solves(eqn):
        not_linear(
            eqn, scope.enclosing, "solves equations that depend on that argument and need not be linear"
        )
    if not is_linear_in(eqn, moving):
        not_linear(eqn, scope.enclosing, "solves with a matrix that depends on that argument")
    size = sum(inputs[k].size for k in moving)
    if size > MOST_SOLVES:
        raise TraceError(
            f"the solve at {place(eqn, scope.enclosing)} would have to be repeated for each of {size} elements "
            f"(limit {MOST_SOLVES}). Keep this operator matrix-free: pass the function without a preconditioner that "
            "needs entries."
        )
    others = len(eqn.outvars) - 1
    x = dense(scope, eqn, inputs, complex_linear=True, wanted=[True] + [False] * others)[0]
    return [*_with_offset([x], True), *[None] * others]


def _with_offset(outputs: list[Linear], affine: bool) -> list[Linear]:
    return [Linear(y.shape, y.dtype, y.terms, y.scatters, affine) for y in outputs]
