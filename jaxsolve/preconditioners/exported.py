"""Factors of the host brought to the device: triangular matrices applied by Jacobi sweeps."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsolve.core.traits import Traits
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.triangular import FactoredInverse, Order, UnitTriangularInverse, sweeps_for
from jaxsolve.solvers.host.factor import AbstractFactor, probe
from jaxsolve.solvers.host.incomplete import (
    IncompleteCholesky,
    IncompleteLU,
    ScaledFactor,
    Triangles,
)

#: Sweeps that are tried in turn.
SWEEPS = (4, 8, 16, 32)
#: How much more of a residual than exact triangular solves the sweeps may leave.
LOSS = 0.1


def exported(
    recipe: IncompleteLU | IncompleteCholesky, matrix: SparseMatrix, facts: Traits
) -> LinearOperator | None:
    """The inverse by factors that the host makes now, applied on the device.

    Args:
        recipe: How to factorise.
        matrix: A, with values that are known.
        facts: What to declare of the result.

    Returns:
        None where the factors have no triangles, or no number of sweeps in `SWEEPS` solves with them.
    """
    host = np.asarray(matrix.data)
    factor = recipe.factor(host)
    triangles = factor.triangles() if isinstance(factor, ScaledFactor) else None
    if triangles is None:
        return None
    sweeps = _sweeps(factor, triangles, matrix.pattern.to_scipy(host))
    if sweeps is None:
        return None
    dtype = matrix.dtype
    lower = _layout(triangles.lower, dtype)
    upper = lower.H if triangles.hermitian else _layout(triangles.upper, dtype)
    pivots, left, right = (
        jnp.asarray(part, dtype) for part in (1 / triangles.pivots, triangles.left, triangles.right)
    )
    orders = (Order(triangles.before), Order(triangles.after))
    return FactoredInverse(
        UnitTriangularInverse(lower, sweeps_for(triangles.lower, sweeps)),
        UnitTriangularInverse(upper, sweeps_for(triangles.upper, sweeps)),
        pivots,
        left,
        right,
        orders,
        facts,
    )


def _layout(part: scipy.sparse.csr_matrix, dtype: np.dtype) -> LinearOperator:
    return SparseMatrix.from_scipy(part.astype(dtype)).layout()


def _sweeps(factor: AbstractFactor, t: Triangles, A: Any) -> int | None:
    """The fewest sweeps that solve nearly as well as substitution."""
    b = probe(A.shape[0], factor.dtype)[:, 0] / t.left

    def left_over(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            ratio = float(np.linalg.norm(t.left * (b - A @ x)) / np.linalg.norm(t.left * b))
        return ratio if np.isfinite(ratio) else np.inf

    exact = left_over(factor.solve(b[:, None], "N")[:, 0])
    for sweeps in SWEEPS:
        y = _series(t.lower, (t.left * b)[t.before], sweeps)
        y = _series(t.upper, y / t.pivots, sweeps)
        if left_over(t.right * y[t.after]) <= exact + LOSS:
            return sweeps
    return None


def _series(strict: scipy.sparse.csr_matrix, x: np.ndarray, sweeps: int) -> np.ndarray:
    y = x
    with np.errstate(all="ignore"):
        for _ in range(sweeps):
            y = x - strict @ y
    return y
