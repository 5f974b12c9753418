"""Incomplete LU and Cholesky factorisations, with fill on the host and without on the device."""

import dataclasses
import numbers
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import is_count, require_flag, require_number, require_one_of
from jaxsolve.core.staging import is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.layout import is_banded
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.blocks_on_mesh import BlocksOnMesh, blocks_on_mesh
from jaxsolve.preconditioners.ilu.exported import exported
from jaxsolve.preconditioners.ilu.substitution import MOST_LEVELS
from jaxsolve.preconditioners.ilu.triangular import (
    FactoredInverse,
    series_inverse,
    triangular_inverse,
)
from jaxsolve.preconditioners.ilu.zero_fill import plan_zero_fill, zero_fill_factors
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, with_entries
from jaxsolve.solvers.host.host_inverse import host_inverse
from jaxsolve.solvers.host.superlu_incomplete import (
    IncompleteCholesky,
    IncompleteLU,
    require_room_for_incomplete,
)

FILL_FACTOR, DROP_TOL = 10.0, 1e-4
#: SciPy's column orderings, and the choice by structure.
PERMUTATIONS = ("auto", "NATURAL", "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD")


class ILU(AbstractPreconditioner):
    """An incomplete LU factorisation with options that follow the structure of the matrix.

    With fill (the default) SuperLU factorises the equilibrated matrix on the host: without row exchanges where the
    pattern is symmetric with a full diagonal, else with pivoting. What is singular or of no use is tried again with
    less dropping and with rows permuted by a matching. A matrix declared positive definite gets a factorisation L
    |D| Lᴴ, which is positive definite too. Without fill (`level=0`) it is computed and applied on the device. Of a
    matrix on a mesh each device factorises its own rows and columns without fill.

    Args:
        fill_factor: Entries of the factors at most, over those of the matrix.
        drop_tol: Entries smaller than this, relative to their column, are dropped.
        permutation: "auto", or SciPy's `permc_spec` ("NATURAL", "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD"), by which a
            definite factorisation orders rows and columns alike.
        level: None for fill by size of the entries, 0 for none.
        apply: "host" (a callback each iteration), "device" (with fill only where the values are known while
            tracing), or "auto": the host on a CPU, elsewhere the device where it can.
        sweeps: Jacobi sweeps of a triangular solve on the device at most; with fewer levels than that it is exact.
            None: substitution level by level where that is cheaper than 8 sweeps. `js.explain` tells which.
        definite: Whether the operator has to be Hermitian positive definite, as CG and MINRES need; None: where A
            is.

    Raises:
        ValueError: If options are out of range or contradict each other.
        StructureError: From `build`, if the entries of A are not known, a definite factorisation is asked of a
            matrix that is not Hermitian, factors with fill cannot be applied on the device as asked, or they are
            predicted not to fit into memory.

    Builds: an operator of shape (n, n) in the dtype of A; double precision inside where it is made on the host.
    Cost: set-up on the host; application as many products as the factors hold matrices (`fill_factor` at most);
        memory the same.
    Source: Li and Shao, A supernodal approach to incomplete LU factorization with partial pivoting (2011); without
        fill: Saad (2003), section 10.3.

    >>> A = jnp.array([[4.0, 1.0, 0.0], [2.0, 4.0, 1.0], [0.0, 2.0, 4.0]])
    >>> M = ILU(level=0).build(SparseMatrix.from_dense(A))
    >>> jnp.allclose(M.as_matrix() @ A, jnp.eye(3), atol=1e-5).item()  # exact where elimination fills nothing
    True
    """

    name: ClassVar[str] = "ilu"
    needs: ClassVar[str] = "known entries"
    cost: ClassVar[str] = "set-up on the host, application fill_factor products"
    symmetric: ClassVar[bool] = False
    concrete: ClassVar[bool] = True

    fill_factor: float = eqx.field(static=True, default=FILL_FACTOR)
    drop_tol: float = eqx.field(static=True, default=DROP_TOL)
    permutation: str = eqx.field(static=True, default="auto")
    level: int | None = eqx.field(static=True, default=None)
    apply: Literal["auto", "host", "device"] = eqx.field(static=True, default="auto")
    sweeps: int | None = eqx.field(static=True, default=None)
    definite: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.level is not None and not (isinstance(self.level, numbers.Integral) and self.level == 0):
            raise ValueError(f"ILU: level must be None (fill by size) or 0 (none); got {self.level!r}.")
        require_flag("ILU", "definite", self.definite)
        require_one_of("ILU", "apply", self.apply, ("auto", "host", "device"))
        if self.level == 0 and self.apply == "host":
            raise ValueError(
                "ILU(level=0) is applied on the device; leave out apply='host', or leave out level."
            )
        require_number("ILU", "fill_factor", self.fill_factor, 1)
        require_number("ILU", "drop_tol", self.drop_tol, 0, 1)
        require_one_of("ILU", "permutation", self.permutation, PERMUTATIONS)
        fill = (self.fill_factor, self.drop_tol, self.permutation)
        if self.level == 0 and fill != (FILL_FACTOR, DROP_TOL, "auto"):
            raise ValueError(
                "ILU(level=0) has no fill to choose; leave out fill_factor, drop_tol and permutation, or level."
            )
        _require_sweeps(self.name, self.sweeps)
        if self.sweeps is not None and self.apply == "host":
            raise ValueError(
                "ILU: sweeps are for triangular solves on the device; leave out sweeps, or apply='host'."
            )

    def suited(self, definite: bool) -> "ILU":
        """The same options with a positive definite result where a method needs one (CG, MINRES)."""
        return dataclasses.replace(self, definite=True) if definite and self.definite is None else self

    def describe(self, A: LinearOperator) -> str:
        """Which factorisation was made of A with which options, and how its triangular systems are solved."""
        built: Any = self.build(A)
        return built.told

    def build(self, A: Any) -> LinearOperator:
        """The approximate inverse.

        Raises:
            StructureError: If the entries are not known, or `apply="device"` needs values that are traced.
        """
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        matrix = with_entries(A, self.name)
        definite = matrix.traits.positive_definite if self.definite is None else self.definite
        if definite:
            _require_symmetry(matrix, self.name)
        facts = _definite_facts(matrix) if definite else Traits()
        if self.level == 0:
            return zero_fill_inverse(matrix, self.sweeps, definite, facts)
        require_room_for_incomplete(matrix.pattern, matrix.dtype, self.fill_factor, self.name)
        if definite:
            recipe = IncompleteCholesky(matrix.pattern, self.fill_factor, self.drop_tol, self.permutation)
        else:
            recipe = IncompleteLU(matrix.pattern, self.fill_factor, self.drop_tol, self.permutation)
        wanted = self.apply == "device" or (self.apply == "auto" and jax.default_backend() != "cpu")
        on_device = wanted and matrix.shape[0] > 0
        if on_device and not is_traced(matrix.data):
            found = exported(recipe, matrix, facts, self.apply == "device", self.sweeps)
            if found is not None:
                return found
        if on_device and self.apply == "device":
            raise StructureError(
                "ILU(apply='device') with fill needs values that are known while tracing, and factors whose "
                f"triangular solves take {MOST_LEVELS} levels or a few sweeps. Use ILU(level=0), or ILU(apply='host')."
            )
        if on_device and is_banded(matrix.pattern):
            # Stencils do well without fill, and a callback costs more than the iterations that it saves (7 ms for
            # 10⁶ unknowns on an H100, where an iteration takes 0.03 ms).
            return zero_fill_inverse(matrix, self.sweeps, definite, facts)
        return host_inverse(recipe, matrix.data, matrix.shape[0], facts)

    def build_on_mesh(self, A: Any) -> BlocksOnMesh:
        """Factors without fill of the rows and columns of each device of a mesh.

        Raises:
            StructureError: If options ask for fill, or A is traced.
        """
        if self != ILU(level=self.level, sweeps=self.sweeps, definite=self.definite):
            raise StructureError(
                "ILU with fill is made by the host of one matrix; on a mesh each device factorises its own rows and "
                "columns without fill: leave out fill_factor, drop_tol, permutation and apply."
            )
        of_block = dataclasses.replace(self, level=0)
        return blocks_on_mesh(A, of_block, of_block.build)


class Cholesky0(AbstractPreconditioner):
    """The incomplete Cholesky factorisation without fill, IC(0), computed and applied on the device.

    The diagonal is raised where a pivot would not be positive. Set-up and application are vectorised, work on
    traced values and under vmap. Of a matrix on a mesh each device factorises its own rows and columns.

    Args:
        sweeps: Jacobi sweeps of a triangular solve at most; with fewer levels than that it is exact. None:
            substitution level by level where that is cheaper than 8 sweeps.

    Raises:
        ValueError: If `sweeps` is no integer of at least 1.
        StructureError: From `build`, if the entries of A are not known, or A is not symmetric.

    Builds: an operator of shape (n, n) in the dtype of A for Hermitian A, always positive definite.
    Cost: set-up 10 to 30 products, application `sweeps` products or one pass over the levels; memory one triangle.
    Source: Meijerink and van der Vorst (1977); its computation by sweeps: Chow and Patel (2015).

    >>> A = jnp.array([[4.0, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, 4.0]])
    >>> M = Cholesky0().build(SparseMatrix.from_dense(A))
    >>> jnp.allclose(M.as_matrix() @ A, jnp.eye(3), atol=1e-5).item()  # exact where elimination fills nothing
    True
    """

    name: ClassVar[str] = "ic"
    needs: ClassVar[str] = "symmetric (Hermitian) positive definite, known entries"
    cost: ClassVar[str] = "set-up 10 to 30 products, application `sweeps` products"

    sweeps: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        _require_sweeps(self.name, self.sweeps)

    def describe(self, A: LinearOperator) -> str:
        """How the triangular systems of A are solved."""
        built: Any = self.build(A)
        return built.description

    def build(self, A: Any) -> LinearOperator:
        """The approximate inverse.

        Raises:
            StructureError: If the entries are not known or the pattern is not symmetric.
        """
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        matrix = with_entries(A, self.name)
        _require_symmetry(matrix, self.name)
        return zero_fill_inverse(matrix, self.sweeps, True, _definite_facts(matrix))

    def build_on_mesh(self, A: Any) -> BlocksOnMesh:
        """The factors of the rows and columns of each device of a mesh."""
        return blocks_on_mesh(A, self, self.build)


def zero_fill_inverse(
    matrix: SparseMatrix, sweeps: int | None, definite: bool, facts: Traits
) -> FactoredInverse:
    """The inverse by incomplete factors on the matrix's own pattern.

    Args:
        matrix: Square.
        sweeps: Sweeps of a triangular solve at most, None for what is cheaper: `triangular_inverse`.
        definite: Whether to make it Hermitian positive definite; the lower triangle then tells the upper one.
        facts: What to declare of the result.
    """
    plan = plan_zero_fill(matrix.pattern)
    factors = zero_fill_factors(lax.stop_gradient(matrix.data), matrix.pattern, definite)
    lower = _inverse(SparseMatrix(factors.lower, plan.lower[0]), sweeps)
    upper = lower.H if definite else _inverse(SparseMatrix(factors.upper, plan.upper[0]), sweeps)
    scale = factors.scale.astype(matrix.dtype)
    return FactoredInverse(lower, upper, 1 / factors.pivots, scale, scale, None, facts)


def _inverse(strict: SparseMatrix, sweeps: int | None) -> LinearOperator:
    return triangular_inverse(strict) if sweeps is None else series_inverse(strict, sweeps)


def _require_sweeps(name: str, sweeps: Any) -> None:
    if sweeps is not None and not is_count(sweeps):
        raise ValueError(f"{name}: sweeps must be None or an integer of at least 1; got {sweeps!r}.")


def _definite_facts(matrix: SparseMatrix) -> Traits:
    real = not jnp.issubdtype(matrix.dtype, jnp.complexfloating)
    return Traits(symmetric=real, hermitian=True, positive_definite=True)


def _require_symmetry(matrix: SparseMatrix, name: str) -> None:
    """Raises where a matrix is seen not to be Hermitian."""
    advice = "CG and MINRES need a Hermitian matrix and preconditioner; use `GMres` or `biCG-stab`."
    if not matrix.pattern.is_symmetric:
        raise StructureError(
            f"preconditioner {name!r} was asked to be definite, and A is not symmetric. {advice}"
        )
    if not is_traced(matrix.data):
        _require_values(matrix.data, jnp.conj(matrix.transpose().data), name, advice)


def _require_values(data: Array, adjoint: Array, name: str, advice: str) -> None:
    if not data.size or is_traced(adjoint):
        return
    tolerance = 1e3 * jnp.finfo(data.dtype).eps * jnp.max(jnp.abs(data))
    if bool(jnp.max(jnp.abs(data - adjoint)) > tolerance):
        raise StructureError(
            f"preconditioner {name!r} was asked to be definite, and A is not symmetric. {advice}"
        )
