"""Algebraic multigrid on any pattern: Ruge and Stüben's, and smoothed aggregation."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
import scipy.sparse

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import require_count, require_number, require_one_of
from jaxsolve.operators.on_mesh import OnMesh
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.aggregation import aggregates, grid_blocks
from jaxsolve.preconditioners.multigrid.chosen_coarsening import chosen_aggregates, chosen_strength
from jaxsolve.preconditioners.multigrid.cycle import MultigridCycle, default_smoother, require_cycle
from jaxsolve.preconditioners.multigrid.cycle_on_mesh import cycle_on_mesh
from jaxsolve.preconditioners.multigrid.grid.grid_hierarchy import THIRDS, Axes, Plan, grid_cycle
from jaxsolve.preconditioners.multigrid.hierarchy import (
    Coarsening,
    Interpolation,
    Planned,
    conjugates,
    from_values,
    shape_of,
)
from jaxsolve.preconditioners.multigrid.interpolation import extended_interpolation, smoothed_interpolation
from jaxsolve.preconditioners.multigrid.modes import Modes, as_modes
from jaxsolve.preconditioners.multigrid.near_null import ModesPlan, modes_interpolation, nodal_graph
from jaxsolve.preconditioners.multigrid.pyamg_backend import aggregation_options, pyamg_cycle
from jaxsolve.preconditioners.multigrid.representative import (
    Representative,
    as_representative,
    inner_dtype,
    is_concrete,
    values_for,
)
from jaxsolve.preconditioners.multigrid.sparse_products import Sums
from jaxsolve.preconditioners.multigrid.splitting import coarse_points
from jaxsolve.preconditioners.multigrid.strength import classical_strength, symmetric_strength
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    inherited,
    require_recipe,
    with_entries,
)


class RugeStuben(AbstractPreconditioner):
    """Classical algebraic multigrid: a subset of the points stays on the coarse level.

    The best general choice for diffusion-like matrices: few iterations also with coefficients that jump from entry
    to entry. Which points stay and which interpolate is found on the host, from the values of A where they are
    concrete, else from those of `like`, else from the pattern alone. The weights and the Galerkin products are
    numbers of the host for concrete values and JAX expressions for traced ones, so that one shape serves a jitted
    parameter sweep, a vmap over coefficients, and a gradient. The coarsest matrix may be singular.

    Args:
        threshold: Couplings of at least this share of the row's largest one are strong.
        smoother: Any preconditioner; applied before and after the coarse correction.
        visits: 1 for V-cycles, 2 for W-cycles.
        like: A matrix with this pattern and typical values (`SparseMatrix` or SciPy), for traced values.
        bottom: A level of at most this size is inverted densely.
        dtype: Precision of the cycle, for instance float32 under a float64 solve; that of A where None.
        hierarchy: "own", or "pyamg" for the levels of `pyamg.ruge_stuben_solver` (concrete values; extra `amg`).

    Raises:
        StructureError: If an option is out of range; from `build`, if the entries of A are not known, `like` has
            another pattern, or "pyamg" meets traced values.
        MissingBackendError: From `build`, if pyamg is asked for and not installed.

    Builds: an operator of shape (n, n) in the dtype of A, or `dtype`; symmetric where A is.
    Cost: set-up 100 products on the host, application 10 to 15 products, whatever n; memory by the operator
        complexity that its `repr` tells.
    Source: Ruge, Stüben (1987); splitting: `coarse_points`; interpolation: `extended_interpolation`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = js.SparseMatrix.from_dense(2 * jnp.eye(15) - jnp.eye(15, k=1) - jnp.eye(15, k=-1))
    >>> js.RugeStuben(bottom=4).build(A)
    RugeStuben: 3 levels, operator complexity 1.89
              15 unknowns           45 entries
               8 unknowns           24 entries
               4 unknowns           16 entries
    """

    name: ClassVar[str] = "ruge-stuben"
    needs: ClassVar[str] = "known entries; couplings mostly against the sign of the diagonal"
    cost: ClassVar[str] = "set-up 100 products on the host, application 10 to 15 products"
    concrete: ClassVar[bool] = True

    threshold: float = eqx.field(static=True, default=0.25)
    smoother: AbstractPreconditioner = eqx.field(default_factory=default_smoother)
    visits: int = eqx.field(static=True, default=1)
    like: Representative | None = eqx.field(static=True, default=None, converter=as_representative)
    bottom: int = eqx.field(static=True, default=200)
    dtype: Any = eqx.field(static=True, default=None)
    hierarchy: str = eqx.field(static=True, default="own")

    def __check_init__(self) -> None:
        _require_options(self)

    def build(self, A: Any) -> LinearOperator:
        """The cycle as an operator; its `repr` lists the levels."""
        if self.hierarchy == "pyamg":
            strength = {"strength": ("classical", {"theta": self.threshold})}
            return _pyamg(self, with_entries(A, self.name), "ruge_stuben_solver", strength)
        return _build(self, A, _Classical(self.threshold))


class SmoothedAggregation(AbstractPreconditioner):
    """Multigrid by smoothed aggregation: coarse unknowns are groups of strongly coupled points.

    Cheaper to set up and to hold than `RugeStuben` and good for smooth coefficients and meshes; slower where
    coefficients jump. Shape and numbers are found as in `RugeStuben`.

    On grids whose couplings are nearly equal along each axis aggregates are blocks of three points along the strong
    axes, and interpolation is smoothed along one axis after the other: all levels are stencils, no index array is
    needed, and values may be traced as in `GeometricMultigrid` (with `Chebyshev`, `Neumann` or `Jacobi` as
    smoother, and periodic lengths divisible by three as far as they are made coarser; otherwise as on any other
    pattern).

    Args:
        threshold: Couplings above this times √|a_ii a_jj| are strong; halved on each level. Not used on grids.
        smoother: Any preconditioner; applied before and after the coarse correction.
        visits: 1 for V-cycles, 2 for W-cycles.
        like: A matrix with this pattern and typical values (`SparseMatrix` or SciPy), for traced values.
        bottom: A level of at most this size is inverted densely.
        dtype: Precision of the cycle, for instance float32 under a float64 solve; that of A where None.
        B: Near-null vectors as columns, shape (n, k), which interpolation reproduces: for elasticity the rigid body
            motions (`js.rigid_body_modes`). Constants where None. Each aggregate then has k coarse unknowns.
        block: Unknowns at each point, numbered together, which stay together; with `B` only.
        hierarchy: "own", or "pyamg" for the levels of `pyamg.smoothed_aggregation_solver` (concrete values; extra
            `amg`).
        strength: A function of the matrix of a level (SciPy CSR) that returns a bool for each of its entries, True
            where the coupling is strong; in place of the threshold.
        aggregation: A function of the graph of strong couplings (symmetric SciPy CSR, positive weights) that returns
            the aggregate 0, 1, ... of each point, -1 for points that are left to the smoother.

    Raises:
        StructureError: If an option is out of range, or `B` is traced, not finite or of a wrong shape; from
            `build`, if the entries of A are not known, `B` or `like` does not fit A, or "pyamg" meets traced
            values.
        MissingBackendError: From `build`, if pyamg is asked for and not installed.

    Builds: an operator of shape (n, n) in the dtype of A, or `dtype`; symmetric where A is.
    Cost: set-up 50 products on the host, application 8 products, whatever n; memory by the operator complexity that
        its `repr` tells.
    Source: Vaněk, Mandel, Brezina (1996); aggregates: `aggregates`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = js.SparseMatrix.from_dense(2 * jnp.eye(15) - jnp.eye(15, k=1) - jnp.eye(15, k=-1))
    >>> js.SmoothedAggregation(bottom=4).build(A)
    SmoothedAggregation: 3 levels, operator complexity 1.42
              15 unknowns           45 entries
               5 unknowns           15 entries
               2 unknowns            4 entries
    """

    name: ClassVar[str] = "smoothed-aggregation"
    needs: ClassVar[str] = "known entries; positive definite is natural"
    cost: ClassVar[str] = "set-up 50 products on the host, application 8 products"
    concrete: ClassVar[bool] = True

    threshold: float = eqx.field(static=True, default=0.08)
    smoother: AbstractPreconditioner = eqx.field(default_factory=default_smoother)
    visits: int = eqx.field(static=True, default=1)
    like: Representative | None = eqx.field(static=True, default=None, converter=as_representative)
    bottom: int = eqx.field(static=True, default=200)
    dtype: Any = eqx.field(static=True, default=None)
    B: Modes | None = eqx.field(static=True, default=None, converter=as_modes)
    block: int = eqx.field(static=True, default=1)
    hierarchy: str = eqx.field(static=True, default="own")
    strength: Callable[[Any], Any] | None = eqx.field(static=True, default=None)
    aggregation: Callable[[Any], Any] | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        _require_options(self)
        _require_choices(self)
        require_count("SmoothedAggregation", "block", self.block)
        if self.block > 1 and self.B is None:
            raise StructureError(
                f"SmoothedAggregation(block={self.block}): blocks of unknowns need near-null vectors `B`, "
                "for instance one constant for each of them."
            )

    def build_on_mesh(self, A: Any) -> OnMesh:
        """A cycle over the devices, whose aggregates stay inside of the blocks of rows."""
        for option in ("like", "B", "strength", "aggregation"):
            if getattr(self, option) is not None:
                raise StructureError(f"SmoothedAggregation on a mesh knows no {option}; leave it out.")
        if self.hierarchy != "own":
            raise StructureError("SmoothedAggregation on a mesh needs hierarchy='own'.")
        return cycle_on_mesh(A, self.smoother, self.threshold, self.visits, self.bottom, self.dtype)

    def build(self, A: Any) -> LinearOperator:
        """The cycle as an operator; its `repr` lists the levels."""
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        matrix = with_entries(A, self.name)
        modes = None if self.B is None else self._fitting(matrix)
        if self.hierarchy == "pyamg":
            options = aggregation_options(matrix, self.threshold, modes)
            return _pyamg(self, matrix, "smoothed_aggregation_solver", options)
        plan = self._grid_plan(matrix)
        if plan is not None:
            kind = inner_dtype(matrix, self.dtype)
            M = grid_cycle(matrix, kind, plan, THIRDS, self.smoother, self.visits)
            return M.named(type(self).__name__, matrix.dtype)
        return _build(
            self, A, _Aggregation(self.threshold, self.block, self.B, self.strength, self.aggregation)
        )

    def _grid_plan(self, A: SparseMatrix) -> Plan | None:
        """The axes that levels make coarser where all of them may be grids."""
        if self.B is not None or not self.smoother.by_products:
            return None
        if self.strength is not None or self.aggregation is not None:
            return None
        axes = Axes(A, self.like)
        return axes.plan(THIRDS, self.bottom, strict=True) if axes.even else None

    def _fitting(self, A: SparseMatrix) -> np.ndarray:
        assert self.B is not None
        modes = self.B.like(A.dtype)
        if len(modes) != A.shape[0] or A.shape[0] % self.block:
            raise StructureError(
                f"SmoothedAggregation: `B` has shape {modes.shape} and blocks of {self.block}, the matrix {A.shape}; "
                "`B` needs a row for each unknown, and whole blocks must fill the rows."
            )
        if np.iscomplexobj(modes) and not np.issubdtype(A.dtype, np.complexfloating):
            raise StructureError(
                "SmoothedAggregation: `B` is complex, the matrix is real; pass a real basis."
            )
        return modes


class _Classical(eqx.Module):
    threshold: float

    def interpolation(
        self, pattern: Pattern, data: np.ndarray, above: Sequence[Interpolation]
    ) -> Planned | None:
        strong = classical_strength(pattern, data, self.threshold)
        coarse = coarse_points(pattern, strong)
        return extended_interpolation(pattern, data, strong, coarse) if coarse.any() else None


class _Aggregation(eqx.Module):
    threshold: float
    block: int
    modes: Modes | None
    strength: Callable[[Any], Any] | None = None
    aggregation: Callable[[Any], Any] | None = None

    @property
    def functions(self) -> tuple[Any, ...]:
        """What the user chose, which no text tells apart."""
        return (self.strength, self.aggregation)

    def interpolation(
        self, pattern: Pattern, data: np.ndarray, above: Sequence[Interpolation]
    ) -> Planned | None:
        threshold = self.threshold * 0.5 ** len(above)
        if self.modes is not None:
            finer = above[-1] if above else None
            modes = finer.modes if isinstance(finer, ModesPlan) else self.modes.like(data.dtype)
            block = modes.shape[1] if above else self.block
            label = np.repeat(self._labels(nodal_graph(pattern, data, block, threshold)), block)
            plan = modes_interpolation(pattern, label, modes)
            return plan, plan.numbers(data)
        if self.strength is None:
            strong = symmetric_strength(pattern, data, threshold)
        else:
            strong = chosen_strength(self.strength, pattern, data)
        label = grid_blocks(pattern, strong) if self.aggregation is None else None
        if label is None:
            places = (pattern.rows[strong], pattern.indices[strong])
            graph = scipy.sparse.csr_matrix((np.abs(data[strong]), places), shape=pattern.shape)
            label = self._labels(graph.maximum(graph.T).tocsr())
        plan = smoothed_interpolation(pattern, strong, label)
        return plan, plan.numbers(data, Sums(True))

    def _labels(self, graph: Any) -> np.ndarray:
        return aggregates(graph) if self.aggregation is None else chosen_aggregates(self.aggregation, graph)


def _require_options(recipe: RugeStuben | SmoothedAggregation) -> None:
    owner = type(recipe).__name__
    require_cycle(owner, recipe.visits, recipe.dtype)
    require_count(owner, "bottom", recipe.bottom)
    require_recipe(owner, "smoother", recipe.smoother)
    require_number(owner, "threshold", recipe.threshold, 0, 1)
    require_one_of(owner, "hierarchy", recipe.hierarchy, ("own", "pyamg"))


def _require_choices(recipe: SmoothedAggregation) -> None:
    for option in ("strength", "aggregation"):
        value = getattr(recipe, option)
        if value is None:
            continue
        if not callable(value):
            raise StructureError(f"SmoothedAggregation: {option} must be a function; got {value!r}.")
        if recipe.hierarchy != "own":
            raise StructureError(f"SmoothedAggregation: {option} needs hierarchy='own'.")
    if recipe.strength is not None and recipe.B is not None:
        raise StructureError(
            "SmoothedAggregation: with `B` couplings are those of blocks, which `strength` does not know; use one."
        )


def _pyamg(
    recipe: RugeStuben | SmoothedAggregation, A: SparseMatrix, solver: str, options: dict[str, Any]
) -> MultigridCycle:
    kind = inner_dtype(A, recipe.dtype)
    M = pyamg_cycle(solver, A, options, recipe.smoother, inherited(A), kind, recipe.visits, recipe.bottom)
    return M.named(f"{type(recipe).__name__} (pyamg)", A.dtype)


def _build(recipe: "RugeStuben | SmoothedAggregation", A: LinearOperator, how: Coarsening) -> MultigridCycle:
    matrix = with_entries(A, recipe.name)
    facts = inherited(matrix)
    data = values_for(matrix, recipe.like, recipe.name)
    kind = inner_dtype(matrix, recipe.dtype)
    own = is_concrete(matrix) and (recipe.like is None or np.array_equal(data, np.asarray(matrix.data)))
    own = own and data.dtype == matrix.dtype
    shape = shape_of(matrix.pattern, data, how, conjugates(facts, matrix.dtype), recipe.bottom, own)
    if own:
        # Concrete numbers are made once, also while a program around them is traced.
        with jax.ensure_compile_time_eval():
            M = shape.cycle(recipe.smoother, facts, kind, recipe.visits)
    else:
        M = from_values(shape, matrix, recipe.smoother, facts, kind, recipe.visits)
    return M.named(type(recipe).__name__, matrix.dtype)
