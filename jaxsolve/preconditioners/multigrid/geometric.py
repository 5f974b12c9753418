"""Multigrid on grids: every second point, interpolation for which A nearly vanishes, Galerkin stencils."""

from typing import Any, ClassVar

import equinox as eqx

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import require_count
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.cycle import default_smoother, require_cycle
from jaxsolve.preconditioners.multigrid.grid.grid_hierarchy import HALVES, Axes, grid_cycle
from jaxsolve.preconditioners.multigrid.representative import Representative, as_representative, inner_dtype
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, require_recipe, with_entries


class GeometricMultigrid(AbstractPreconditioner):
    """Multigrid for stencils of next neighbours on regular grids of one to three dimensions, periodic or not.

    The grid is read from the pattern. Along one axis after the other every second point is kept; the points between
    are interpolated such that A nearly vanishes, and coarse stencils are Galerkin products, so that no level needs
    an index array: all numbers are a few array operations of the values, traced or not. Axes of weak couplings are
    not halved until the others have caught up. For smooth or piecewise smooth coefficients, 7 to 10 iterations on
    any size; where coefficients jump from point to point use `RugeStuben`.

    Args:
        smoother: Any preconditioner that needs products and the diagonal alone; applied before and after the coarse
            correction.
        visits: 1 for V-cycles, 2 for W-cycles.
        like: A matrix with this pattern and typical values, for the relative strength of the axes while values are
            traced; taken as equal where None.
        bottom: A grid of at most this many points is inverted densely.
        dtype: Precision of the cycle, for instance float32 under a float64 solve; that of A where None.

    Raises:
        StructureError: If an option is out of range; from `build`, if the pattern is no stencil on a grid, or a
            periodic axis of odd length can't be halved.

    Builds: an operator of shape (n, n) in the dtype of A, or `dtype`; symmetric where A is.
    Cost: set-up 50 products, application 8 products, whatever n; memory by the operator complexity that its `repr`
        tells.
    Source: Dendy, Black box multigrid (1982), applied axis by axis.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = js.SparseMatrix.from_dense(2 * jnp.eye(15) - jnp.eye(15, k=1) - jnp.eye(15, k=-1))
    >>> js.GeometricMultigrid(bottom=4).build(A)
    GeometricMultigrid: 3 levels, operator complexity 1.89
              15 unknowns           45 entries
               8 unknowns           24 entries
               4 unknowns           16 entries
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

    def __check_init__(self) -> None:
        require_cycle("GeometricMultigrid", self.visits, self.dtype)
        require_count("GeometricMultigrid", "bottom", self.bottom)
        require_recipe("GeometricMultigrid", "smoother", self.smoother)

    def build(self, A: Any) -> LinearOperator:
        """The cycle as an operator; its `repr` lists the levels."""
        matrix = with_entries(A, self.name)
        return self.build_on(Axes(matrix, self.like), matrix)

    def build_on(self, axes: Axes, matrix: SparseMatrix) -> LinearOperator:
        """The cycle for a matrix whose axes are known."""
        plan = axes.plan(HALVES, self.bottom)
        if plan is None:
            raise StructureError(
                f"preconditioner 'geometric' needs a stencil that couples next neighbours of a regular grid whose axes "
                f"can be halved; {matrix.pattern} is none. Use js.RugeStuben() or js.SmoothedAggregation()."
            )
        kind = inner_dtype(matrix, self.dtype)
        return grid_cycle(matrix, kind, plan, HALVES, self.smoother, self.visits).named(
            type(self).__name__, matrix.dtype
        )
