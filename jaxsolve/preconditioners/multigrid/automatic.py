"""The multigrid that suits a matrix: on grids the geometric one, elsewhere and for rough coefficients Ruge-Stüben."""

from typing import Any, ClassVar

import equinox as eqx

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.on_mesh import OnMesh
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.multigrid.algebraic import RugeStuben, SmoothedAggregation
from jaxsolve.preconditioners.multigrid.cycle import require_cycle
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid
from jaxsolve.preconditioners.multigrid.grid.grid_hierarchy import HALVES, Axes
from jaxsolve.preconditioners.multigrid.representative import Representative, as_representative
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, with_entries


class Multigrid(AbstractPreconditioner):
    """The multigrid that suits a matrix.

    `GeometricMultigrid` where the pattern is a stencil on a grid and the couplings along each axis are of one size
    (or unknown, while values are traced), otherwise `RugeStuben`. `choice(A)` tells which.

    Args:
        visits: 1 for V-cycles, 2 for W-cycles.
        like: A matrix with this pattern and typical values, from which the choice and the shape are made.
        dtype: Precision of the cycle, for instance float32 under a float64 solve; that of A where None.

    Raises:
        StructureError: If an option is out of range; from `build`, if the entries of A are not known, or `like` has
            another pattern.

    Builds: an operator of shape (n, n) in the dtype of A, or `dtype`; symmetric where A is.
    Cost: set-up 50 to 100 products, application 8 to 15 products, whatever n; memory by the operator complexity
        that its `repr` tells.
    Source: that of `GeometricMultigrid` and of `RugeStuben`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = js.SparseMatrix.from_dense(2 * jnp.eye(8) - jnp.eye(8, k=1) - jnp.eye(8, k=-1))
    >>> type(js.Multigrid().choice(A)).__name__
    'GeometricMultigrid'
    """

    name: ClassVar[str] = "amg"
    needs: ClassVar[str] = "known entries of a diffusion-like matrix"
    cost: ClassVar[str] = "set-up 50 to 100 products, application 8 to 15 products"
    concrete: ClassVar[bool] = True

    visits: int = eqx.field(static=True, default=1)
    like: Representative | None = eqx.field(static=True, default=None, converter=as_representative)
    dtype: Any = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require_cycle("Multigrid", self.visits, self.dtype)

    def build(self, A: Any) -> LinearOperator:
        """The cycle as an operator; its `repr` lists the levels."""
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        matrix = with_entries(A, self.name)
        axes = Axes(matrix, self.like)
        recipe = self._recipe(axes)
        return (
            recipe.build_on(axes, matrix) if isinstance(recipe, GeometricMultigrid) else recipe.build(matrix)
        )

    def build_on_mesh(self, A: Any) -> OnMesh:
        """A cycle of smoothed aggregation over the devices, whatever the matrix."""
        if self.like is not None:
            raise StructureError("Multigrid on a mesh is made of the values of A: leave `like` out.")
        return SmoothedAggregation(visits=self.visits, dtype=self.dtype).build_on_mesh(A)

    def choice(self, A: Any) -> AbstractPreconditioner:
        """The recipe that is built for A."""
        return self._recipe(Axes(with_entries(A, self.name), self.like))

    def _recipe(self, axes: Axes) -> AbstractPreconditioner:
        if axes.even and axes.plan(HALVES, 256, strict=True) is not None:
            return GeometricMultigrid(visits=self.visits, like=self.like, dtype=self.dtype)
        return RugeStuben(visits=self.visits, like=self.like, dtype=self.dtype)
