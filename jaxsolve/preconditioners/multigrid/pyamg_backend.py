"""Hierarchies of pyamg, run on the device."""

import importlib
from typing import Any

import jax
import numpy as np

from jaxsolve.core.errors import MissingBackendError, StructureError
from jaxsolve.core.traits import Traits
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.coarse_solve import require_room_for_inverse
from jaxsolve.preconditioners.multigrid.cycle import MultigridCycle
from jaxsolve.preconditioners.multigrid.hierarchy import MOST_LEVELS, host_cycle
from jaxsolve.preconditioners.multigrid.representative import is_concrete
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, is_self_transposed


def aggregation_options(A: SparseMatrix, threshold: float, modes: np.ndarray | None) -> dict[str, Any]:
    """The options of pyamg's smoothed aggregation for what is known of A."""
    kind = "hermitian" if A.traits.hermitian else "symmetric" if is_self_transposed(A) else "nonsymmetric"
    return {"strength": ("symmetric", {"theta": threshold}), "symmetry": kind, "B": modes}


def pyamg_cycle(
    solver: str,
    A: SparseMatrix,
    options: dict[str, Any],
    smoother: AbstractPreconditioner,
    facts: Traits,
    kind: Any,
    visits: int,
    bottom: int,
) -> MultigridCycle:
    """The cycle with the matrices of the hierarchy that a solver of pyamg sets up; smoothers are jaxsolve's.

    Raises:
        MissingBackendError: If pyamg is not installed.
        StructureError: If the values of A are traced.
    """
    if not is_concrete(A):
        raise StructureError(
            "hierarchy='pyamg' needs concrete values, since pyamg runs on the host; these are traced (jit, vmap or a "
            "gradient). Build outside of it, or use hierarchy='own'."
        )
    try:
        pyamg = importlib.import_module("pyamg")
    except ImportError as error:
        raise MissingBackendError(
            "hierarchy='pyamg' needs the package pyamg: pip install 'jaxsolve[amg]'."
        ) from error
    matrix = A.pattern.to_scipy(np.asarray(A.data))
    found = getattr(pyamg, solver)(matrix, max_levels=MOST_LEVELS, max_coarse=bottom, **options)
    levels = [tuple(_parts(M) for M in (level.A, level.P, level.R)) for level in found.levels[:-1]]
    require_room_for_inverse(found.levels[-1].A.shape[0], found.levels[-1].A.dtype, "multigrid")
    dense = np.asarray(found.levels[-1].A.todense())
    with jax.ensure_compile_time_eval():
        return host_cycle(levels, dense, smoother, facts, kind, visits)


def _parts(matrix: Any) -> tuple[Pattern, np.ndarray]:
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    return Pattern.of(matrix.indptr, matrix.indices, matrix.shape), matrix.data
