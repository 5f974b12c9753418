"""Fill: how many entries the factors of a sparse matrix will have, and what they will cost, from its pattern alone."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from jaxsolve.core.memo import per_object
from jaxsolve.core.memory import require_memory
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.elimination_tree import column_counts
from jaxsolve.solvers.host.handle import Handle
from jaxsolve.solvers.host.separator import ALWAYS, HUB, core, off_diagonal, part, separator_size

#: Seconds an entry of the factors and a product of the elimination, of SuperLU with what surrounds it on one core.
#: Measured (predicted): grid 210² 0.21 s (0.18), 300² 0.46 (0.43), 27³ 0.65 (0.87), elasticity 200² 1.1 (1.8),
#: a random graph of 3000 nodes 0.24 (0.23), Trefethen_2000 0.17 (0.22).
SECONDS_AN_ENTRY, SECONDS_A_PRODUCT = 8e-8, 1.2e-10
#: Bytes an entry of the factors: a value in double precision (twice that for complex ones) and an index.
INDEX_BYTES = 4
#: Minimum degree takes as long as the elimination where no small set of unknowns separates the others: 1.7 s for a
#: random graph of 10 000 nodes, minutes for 100 000. There the elimination does not pay either. Grids: 265 for 300²,
#: 990 for 40³; random graphs: 1700 for 3000 nodes, 2800 for 10 000.
WIDEST = 1800
#: Larger patterns are not ordered: a second for a million unknowns.
LARGEST = 250_000


@dataclasses.dataclass(frozen=True)
class Fill:
    """What the elimination of a pattern leads to, with diagonal pivots in an order of minimum degree on A + Aᵀ.

    Attributes:
        entries: Entries of L and U, infinite where the pattern was not ordered.
        products: Multiplications of the elimination, the same.
        separator: The unknowns that part a wide pattern in two halves, 0 where it was ordered.
        order: The unknown that is eliminated k-th, at k; None where the pattern was not ordered.
    """

    entries: float
    products: float
    separator: int
    order: np.ndarray | None

    @property
    def seconds(self) -> float:
        """What the elimination takes on one core of a CPU."""
        return SECONDS_AN_ENTRY * self.entries + SECONDS_A_PRODUCT * self.products

    def nbytes(self, dtype: Any) -> float:
        """The memory of the factors of a matrix of this dtype, in double precision.

        That of the dense block of the separator at least, where the pattern was not ordered.
        """
        entries = self.separator**2 if self.order is None else self.entries
        return entries * (np.result_type(dtype, np.float64).itemsize + INDEX_BYTES)

    def __str__(self) -> str:
        if self.order is None:
            wide = (
                f"a separator of {self.separator} unknowns" if self.separator else "too large to be ordered"
            )
            return f"not predicted, {wide}"
        return f"{self.entries:.2g} entries, {self.products:.1g} products, about {self.seconds:.1g} s on one core"


@per_object
def predicted_fill(pattern: Pattern) -> Fill:
    """The fill of a square pattern; found out once, by an ordering and the counts of columns, nothing is factorised.

    Measured: 0.97 to 1 of what SuperLU stores for model matrices, 0.8 to 1 for 14 real ones of symmetric pattern with a
    full diagonal (it stores some zeros). An elimination that exchanges rows has another fill: up to four times as many
    entries, and for patterns far from symmetric between 25 times as many and a fiftieth.

    Costs 0.15 s for 44 000 unknowns of a grid, 0.25 s for 90 000.

    Args:
        pattern: Square.
    """
    n = pattern.shape[0]
    if n > LARGEST:
        return Fill(np.inf, np.inf, 0, None)
    graph = _graph(pattern)
    if n > ALWAYS:
        width = separator_size(core(graph))
        if width > WIDEST:
            return Fill(np.inf, np.inf, width, None)
    order = _minimum_degree(graph)
    lower: Any = scipy.sparse.tril(graph[order][:, order], -1, format="csr")
    lower.sort_indices()
    counts = column_counts(lower).astype(float)
    return Fill(float(n + 2 * counts.sum()), float((counts * (counts + 1)).sum()), 0, order)


def require_room_for_factors(pattern: Pattern, dtype: Any, owner: str) -> None:
    """Refuses a matrix whose factors don't fit into this machine, before anything is allocated.

    Patterns whose elimination exchanges rows are let through: nobody knows their fill.

    Raises:
        StructureError: If the factors are predicted to need more than there is.
    """
    if pattern.shape[0] <= ALWAYS or not has_full_structure(pattern):
        return
    instead = "Iterate instead: 'auto', or 'GMres' with preconditioner 'ilu' or 'amg'."
    require_memory(predicted_fill(pattern).nbytes(dtype), f"`{owner}`", "the factors of A", instead)


def require_dense_room(A: LinearOperator, owner: str) -> None:
    """Refuses a matrix whose dense form and factors don't fit into this machine, before anything is allocated.

    Raises:
        StructureError: If they need more than there is.
    """
    m, n = A.shape
    others = "'sparse-direct' or an iterative method" if m == n else "'lsmr' or 'lsqr'"
    what = f"A of shape {A.shape} as a dense matrix and factors"
    needed = 2 * m * n * np.dtype(A.dtype).itemsize
    require_memory(needed, f"`{owner}`", what, f"Use {others}.", on_device=True)


def has_full_structure(pattern: Pattern) -> bool:
    """Whether a pattern is symmetric with a full diagonal, so that it is eliminated without exchanges."""
    return pattern.is_symmetric and not (pattern.diagonal_positions >= pattern.nnz).any()


def _graph(pattern: Pattern) -> Any:
    """The positions of A + Aᵀ off the diagonal, as a matrix of ones."""
    graph = pattern.to_scipy(np.ones(pattern.nnz))
    return off_diagonal(graph if pattern.is_symmetric else graph + graph.T)


def _minimum_degree(graph: Any) -> np.ndarray:
    """SuperLU's order of minimum degree, with hubs last.

    SciPy gives it with factors only: incomplete ones of a matrix of which everything off the diagonal is dropped.
    """
    degrees = np.diff(graph.indptr)
    hubs = degrees > max(HUB * np.sqrt(len(degrees)), 16)
    rest = part(graph, ~hubs)
    matrix = (1e-30 * rest + scipy.sparse.identity(rest.shape[0])).tocsc()
    factors = Handle(
        scipy.sparse.linalg.spilu,
        matrix,
        drop_tol=0.5,
        fill_factor=1.0,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return np.concatenate([np.flatnonzero(~hubs)[np.argsort(factors.perm_c)], np.flatnonzero(hubs)])
