"""Factors of the host brought to the device."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsolve.core.traits import Traits
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.ilu.substitution import level_inverse, schedule
from jaxsolve.preconditioners.ilu.triangular import FactoredInverse, Order, series_inverse, triangular_inverse
from jaxsolve.solvers.host.factor import AbstractFactor, norm, probe
from jaxsolve.solvers.host.superlu_incomplete import (
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
    recipe: IncompleteLU | IncompleteCholesky,
    matrix: SparseMatrix,
    facts: Traits,
    any_cost: bool,
    asked: int | None = None,
) -> FactoredInverse | None:
    """The inverse by factors that the host makes now, applied on the device.

    Args:
        recipe: How to factorise.
        matrix: A, with values that are known.
        facts: What to declare of the result.
        any_cost: Whether substitution will do where no number of sweeps in `SWEEPS` does.
        asked: Sweeps at most; None for the fewest in `SWEEPS` that do.

    Returns:
        None where the factors have no triangles, or none that can be solved with.
    """
    host = np.asarray(matrix.data)
    factor = recipe.factor(host)
    triangles = factor.triangles() if isinstance(factor, ScaledFactor) else None
    if triangles is None:
        return None
    dtype = matrix.dtype
    lower, upper = (
        SparseMatrix.from_scipy(part.astype(dtype)) for part in (triangles.lower, triangles.upper)
    )
    solve: Callable[[SparseMatrix], LinearOperator]
    if asked is not None:
        solve = functools.partial(series_inverse, sweeps=asked)
    elif (sweeps := _sweeps(factor, triangles, matrix.pattern.to_scipy(host))) is not None:
        solve = functools.partial(triangular_inverse, sweeps=sweeps)
    elif any_cost and None not in (schedule(lower.pattern), schedule(upper.pattern)):
        solve = level_inverse
    else:
        return None
    left_inverse = solve(lower)
    pivots, left, right = (
        jnp.asarray(part, dtype) for part in (1 / triangles.pivots, triangles.left, triangles.right)
    )
    return FactoredInverse(
        left_inverse,
        left_inverse.H if triangles.hermitian else solve(upper),
        pivots,
        left,
        right,
        (Order(triangles.before), Order(triangles.after)),
        facts,
        factor.description,
    )


def _sweeps(factor: AbstractFactor, t: Triangles, A: Any) -> int | None:
    """The fewest sweeps that solve nearly as well as substitution."""
    b = probe(A.shape[0], factor.dtype)[:, 0] / t.left

    def left_over(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            ratio = norm(t.left * (b - A @ x)) / norm(t.left * b)
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
