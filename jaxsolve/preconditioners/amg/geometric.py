"""Multigrid on grids: every second point, interpolation for which A nearly vanishes, Galerkin stencils."""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.amg.cycle import Level, MultigridCycle
from jaxsolve.preconditioners.amg.hierarchy import is_hermitian
from jaxsolve.preconditioners.amg.recipes import default_smoother
from jaxsolve.preconditioners.amg.representative import (
    Representative,
    as_representative,
    inner_dtype,
    is_concrete,
    values_for,
)
from jaxsolve.preconditioners.amg.strength import opposition
from jaxsolve.preconditioners.base import AbstractPreconditioner, inherited, is_self_transposed, with_entries
from jaxsolve.preconditioners.coarse import generalised_inverse
from jaxsolve.preconditioners.grid import Grid, axis_entries, grid_of
from jaxsolve.preconditioners.stencil import (
    StencilOperator,
    galerkin_along,
    halved,
    interpolation_along,
    stencil_of,
)

#: Larger grids that can't be halved any more are refused.
LARGEST_BOTTOM = 2048
#: An axis is halved while its couplings are at least this share of the strongest axis'; halving it divides them by 4.
COMPARABLE = 0.25
#: About so many couplings tell whether all are of one size.
SAMPLE = 20_000

Plan = tuple[tuple[int, ...], ...]


class GeometricMultigrid(AbstractPreconditioner):
    """Multigrid for stencils of next neighbours on regular grids of one to three dimensions, periodic or not.

    The grid is read from the pattern. Along one axis after the other every second point is kept; the points between
    are interpolated such that A nearly vanishes, and coarse stencils are Galerkin products, so that no level needs an
    index array: all numbers are a few array operations of the values, traced or not. Axes of weak couplings are not
    halved until the others have caught up. For smooth or piecewise smooth coefficients, 7 to 10 iterations on any
    size; where coefficients jump from point to point use `RugeStuben`. Symmetric where A is.

    Args:
        smoother: Any preconditioner that needs products and the diagonal alone; applied before and after the coarse
            correction.
        visits: 1 for V-cycles, 2 for W-cycles.
        like: A matrix with this pattern and typical values, for the relative strength of the axes while values are
            traced; taken as equal where None.
        bottom: A grid of at most this many points is inverted densely.
        dtype: Precision of the cycle, for instance float32 under a float64 solve; that of A where None.

    Raises:
        StructureError: If the pattern is no stencil on a grid, or a periodic axis of odd length can't be halved.

    Source: Dendy, Black box multigrid (1982), applied axis by axis.
    """

    name: ClassVar[str] = "geometric"
    needs: ClassVar[str] = "a stencil of next neighbours on a grid"
    cost: ClassVar[str] = "set-up 50 products, application 8 products"
    concrete: ClassVar[bool] = True

    smoother: AbstractPreconditioner = eqx.field(default_factory=default_smoother)
    visits: int = eqx.field(static=True, default=1)
    like: Representative | None = eqx.field(static=True, default=None, converter=as_representative)
    bottom: int = eqx.field(static=True, default=256)
    dtype: Any = eqx.field(static=True, default=None)

    def build(self, A: LinearOperator) -> LinearOperator:
        """The cycle as an operator; its `repr` lists the levels."""
        matrix = with_entries(A, self.name)
        plan = plan_halvings(matrix, self.like, self.bottom)
        if plan is None:
            raise StructureError(
                f"preconditioner 'geometric' needs a stencil that couples next neighbours of a regular grid whose axes "
                f"can be halved; {matrix.pattern} is none. Use js.RugeStuben() or js.SmoothedAggregation()."
            )
        kind = inner_dtype(matrix, self.dtype)
        if is_concrete(matrix):
            with jax.ensure_compile_time_eval():
                M = self._numbers(matrix, kind, plan)
        else:
            M = self._numbers(matrix, kind, plan)
        return M.named(type(self).__name__, matrix.dtype)

    def _numbers(self, A: SparseMatrix, kind: Any, plan: Plan) -> MultigridCycle:
        grid = grid_of(A.pattern)
        assert grid is not None
        stencil = stencil_of(SparseMatrix(A.data.astype(kind), A.pattern, A.traits), grid)
        return _hierarchy(self.smoother, stencil, plan, self.visits)


def plan_halvings(A: SparseMatrix, like: Representative | None, bottom: int = 256) -> Plan | None:
    """Which axes are halved from level to level; None where A is no stencil on a grid or it can't be made small."""
    grid = grid_of(A.pattern)
    if grid is None:
        return None
    known = like is not None or is_concrete(A)
    strengths = [1.0] * len(grid.shape)
    if known:
        strengths = [
            float(s.mean()) if len(s) else 0.0
            for s in axis_couplings(A.pattern, values_for(A, like, "geometric"))
        ]
    levels = []
    while grid.size > bottom:
        able = [k > 2 and not (wraps and k % 2) for k, wraps in zip(grid.shape, grid.periodic, strict=True)]
        top = max([s for s, can in zip(strengths, able, strict=True) if can], default=0.0)
        if top <= 0:
            break
        axes = tuple(a for a, s in enumerate(strengths) if able[a] and s >= COMPARABLE * top)
        levels.append(axes)
        for axis in axes:
            strengths[axis] /= 4
            grid = halved(grid, axis)
    return tuple(levels) if grid.size <= LARGEST_BOTTOM else None


def axis_couplings(pattern: Pattern, data: np.ndarray) -> list[np.ndarray]:
    """For each axis of the grid the couplings along it alone, against the sign of the diagonal."""
    grid = grid_of(pattern)
    assert grid is not None
    against = opposition(pattern, data)
    return [against[entries] for entries in axis_entries(pattern, grid)]


@functools.partial(jax.jit, static_argnames=("plan", "visits"))
def _hierarchy(
    smoother: AbstractPreconditioner, A: StencilOperator, plan: Plan, visits: int
) -> MultigridCycle:
    facts = inherited(A)
    levels = []
    for axes in plan:
        M = smoother.build(A)
        fine, P, R = A, [], []
        for axis in axes:
            p = interpolation_along(A, axis)
            r = p if is_self_transposed(A) else interpolation_along(_transposed(A), axis)
            A = galerkin_along(r, A, p)
            P.append(p)
            R.append(r.T)
        down = functools.reduce(lambda left, right: right @ left, R)
        levels.append(Level(fine, functools.reduce(lambda left, right: left @ right, P), down, M, M))
    bottom = generalised_inverse(A.as_matrix(), is_hermitian(facts, A.dtype))
    return MultigridCycle(tuple(levels), bottom, visits, None, facts)


def _transposed(A: StencilOperator) -> StencilOperator:
    T = A.T
    assert isinstance(T, StencilOperator)
    return T


def grid_suits(A: SparseMatrix, like: Representative | None) -> Grid | None:
    """The grid of A where `GeometricMultigrid` is the better choice: couplings nearly equal along each axis.

    Where values are unknown they are taken to be so.
    """
    grid = grid_of(A.pattern)
    if grid is None or plan_halvings(A, like) is None:
        return None
    if like is None and not is_concrete(A):
        return grid
    for couplings in axis_couplings(A.pattern, values_for(A, like, "amg")):
        if couplings.min(initial=0) < 0:
            return None
        some = couplings[:: max(1, len(couplings) // SAMPLE)]
        present = some[some != 0]
        if len(present) and np.quantile(present, 0.02) < 0.1 * np.median(present):
            return None
    return grid
