"""Knowledge: what can be said of a matrix before solving with it, each fact found out when it is asked for."""

import dataclasses
import functools
from typing import Any

import numpy as np

from jaxsolve.core import memory
from jaxsolve.core.memo import by_identity
from jaxsolve.core.staging import is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.linear import probes
from jaxsolve.operators.bipartite import paired_rows
from jaxsolve.operators.conversion import told_entries
from jaxsolve.operators.facts import dominance_of, proved, proven_traits, smallest_curvature
from jaxsolve.operators.operands import declaration
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.grid_search import grid_of
from jaxsolve.preconditioners.multigrid.automatic import Multigrid
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid
from jaxsolve.solvers.host.cholmod import has_cholmod
from jaxsolve.solvers.host.fill import Fill, predicted_fill

#: Sparse matrices from this size on are worth a hierarchy, where a preconditioner is asked for: iterations grow without
#: one. (CG on grids of 32², 64² and 100², with multigrid 7, 7 and 8, with ic 30, 52 and 79; the CPU seconds for new
#: values are equal at 100² only, 0.011, 0.012, 0.019 and 0.002, 0.007, 0.018. There elimination is chosen before both.)
COARSE_LIMIT = 1000
#: Seconds of multigrid an entry of the matrix, for new values of a known pattern, set-up and iterations: on grids with
#: couplings of one size (measured: 0.05 s for 210², 0.04 for 27³) and elsewhere (0.2 s for 210² with jumps of 1e6).
GRID_SECONDS, GRAPH_SECONDS = 0.25e-6, 0.8e-6
#: The same once more where some couplings push: 25 iterations for anisotropy that is rotated, 91 for elasticity, beside
#: 9 of an M-matrix.
PUSHED = 3
#: The share of couplings that push from which this counts.
REPULSION = 0.02
#: Multigrid is for convection up to this skewness times √n, which is a Péclet number of the whole. Measured iterations
#: of GMres with multigrid on a recirculating flow, 150² and 300² unknowns: 14 and 15 at 27 and 30, 26 and 28 at 40 and
#: 48, 60 and 116 at 54 and 66, then none that ends; with incomplete factors 4 or 5 at all of them.
#: The road not taken is a cycle M on a random vector v. ‖v - M A v‖ / ‖v‖ was at most 0.2 where multigrid takes up to
#: 16 iterations, and 1.3 to 18 where this number or negative curvature refuses it: on 15 of 16 problems (diffusion,
#: jumps, rotated anisotropy, graphs, Helmholtz, flows) it decides the same, with the hierarchy made first. The other
#: one, links between pages (0.12), is solved by biCG-stab in a few steps anyway.
SKEWNESS = 30
#: Seconds of CHOLMOD beside those that are predicted for SuperLU (measured, new values of a known pattern: 0.28 for a
#: grid of 200², 0.21 for 32³).
CHOLESKY = 0.25
#: An elimination that exchanges rows has up to this many times the entries of one that does not (nnz1374: 4).
EXCHANGES = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known of an operator, by declaration or, for concrete sparse values, by proof.

    Attributes:
        A: The operator.
        matrix: The same as a matrix with known positions, None where it is none.
        definite_by_request: Whether it counts as definite since the method asked for needs that.
    """

    A: LinearOperator
    matrix: SparseMatrix | None
    definite_by_request: bool = False

    @classmethod
    def of(cls, A: LinearOperator) -> "Knowledge":
        """What is known of A."""
        return cls(A, told_entries(A))

    def trusted(self) -> "Knowledge":
        """The same, with definiteness taken from the request."""
        return Knowledge(self.A, self.matrix, True)

    @property
    def n(self) -> int:
        """The number of unknowns."""
        return self.A.shape[1]

    @property
    def rectangular(self) -> bool:
        """Whether A is not square."""
        return self.A.shape[0] != self.A.shape[1]

    @property
    def dense(self) -> bool:
        """Whether A is a dense matrix."""
        return self.A.dense_form is not None

    @property
    def sparse(self) -> bool:
        """Whether the positions of A's entries are known, and not all are entries."""
        return self.matrix is not None

    @property
    def entries(self) -> int:
        """The number of stored entries of a sparse matrix."""
        return 0 if self.matrix is None else self.matrix.nnz

    @property
    def bandwidth(self) -> tuple[int, int]:
        """The bandwidth of a sparse matrix."""
        return (self.n, self.n) if self.matrix is None else self.matrix.pattern.bandwidth

    @property
    def traced(self) -> bool:
        """Whether the values are unknown while this is asked."""
        return is_traced(self.A)

    @property
    def couples_both_ways(self) -> bool:
        """Whether the pattern of a sparse matrix is symmetric."""
        return self.matrix is not None and self.matrix.pattern.is_symmetric

    @property
    def grid(self) -> bool:
        """Whether the pattern of a sparse matrix is a stencil on a grid."""
        return self.matrix is not None and grid_of(self.matrix.pattern) is not None

    @property
    def diagonal(self) -> bool:
        """Whether the diagonal is known without products."""
        return not self.rectangular and (self.sparse or self.A.known_diagonal() is not None)

    @functools.cached_property
    def traits(self) -> Traits:
        """What is declared, and what the values of a sparse matrix prove."""
        if self.concrete is None or self.A.traits.positive_definite:
            return self.A.traits
        return declaration(self.A, proved(self.concrete))

    @property
    def source(self) -> str:
        """Where the traits come from: "declared", "proved", "assumed" (since a method needs them) or "unknown"."""
        if self.definite_by_request and not self.traits.positive_definite:
            return "assumed"
        if self.traits == Traits():
            return "unknown"
        return "declared" if self.traits == self.A.traits else "proved"

    @property
    def concrete(self) -> SparseMatrix | None:
        """The sparse matrix where it is one, with known values."""
        if self.matrix is None or self.matrix.data.ndim > 1 or is_traced(self.matrix.data):
            return None
        return self.matrix

    @property
    def hermitian(self) -> bool:
        """Whether A is known to be symmetric (Hermitian)."""
        return self.traits.hermitian or self.traits.positive_definite

    @property
    def asymmetric(self) -> bool:
        """Whether the values (or positions) of a sparse matrix show that it is not symmetric (Hermitian)."""
        if self.matrix is None:
            return False
        return not self.couples_both_ways or (self.concrete is not None and not self.hermitian)

    @property
    def positive(self) -> bool:
        """Whether A is known to be positive definite."""
        return self.traits.positive_definite or self.definite_by_request

    @functools.cached_property
    def definite(self) -> bool:
        """Whether A is known to be positive or negative definite."""
        return self.positive or (self.concrete is not None and self.hermitian and _negative(self.concrete))

    @functools.cached_property
    def probably_definite(self) -> bool:
        """Whether the diagonal is positive, and some dozens of products found no negative curvature."""
        return self.concrete is not None and self.couples_both_ways and _curvature(self.concrete) > 0

    @functools.cached_property
    def dominance(self) -> str:
        """How the diagonal of a concrete sparse matrix compares with its rows; "unknown" for others."""
        return "unknown" if self.concrete is None or self.rectangular else _dominance(self.concrete)

    @property
    def dominant(self) -> bool:
        """Whether the diagonal of each row is at least the sum of the rest."""
        return self.dominance not in ("no", "unknown")

    @property
    def column_dominance(self) -> str:
        """How the diagonal of a concrete sparse matrix compares with its columns; "unknown" for others."""
        if self.concrete is None or self.rectangular or self.hermitian:
            return self.dominance
        return _column_dominance(self.concrete)

    @property
    def dominated(self) -> bool:
        """Whether the diagonal of each row, or of each column, is at least the sum of the rest."""
        return self.dominant or self.column_dominance not in ("no", "unknown")

    @property
    def skewness(self) -> float:
        """The part of the couplings that A and Aᵀ do not share, 0 to 1, times √n; 0 where values are unknown."""
        return 0.0 if self.concrete is None or self.hermitian else _skewness(self.concrete) * self.n**0.5

    @functools.cached_property
    def easy_steps(self) -> int:
        """The steps in which CG (biCG-stab unless A is Hermitian) with jacobi solved a probe; 0 if it did not."""
        if self.concrete is None or self.rectangular or self.zero_diagonal or self.n < COARSE_LIMIT:
            return 0
        return _easy_symmetric(self.concrete) if self.hermitian else _easy(self.concrete)

    @property
    def fill(self) -> Fill | None:
        """What elimination without exchanges leads to; None where rows will be exchanged, so that nobody knows."""
        if self.matrix is None or not self.couples_both_ways:
            return None
        return predicted_fill(self.matrix.pattern)

    @property
    def elimination_seconds(self) -> float:
        """What elimination takes, as far as that can be predicted; infinite where memory does not suffice."""
        fill = self.fill
        if fill is None:
            return np.inf
        more = EXCHANGES if self.zero_diagonal else 1
        fits = more * fill.nbytes(self.A.dtype) <= memory.SHARE * memory.available_bytes()
        faster = CHOLESKY if self.traits.positive_definite and has_cholmod() else 1
        return more * faster * fill.seconds if fits else np.inf

    @property
    def suits_multigrid(self) -> bool:
        """Whether A is of a kind that multigrid is for."""
        if self.matrix is None or self.n < COARSE_LIMIT or not self.couples_both_ways:
            return False
        if self.definite or (self.hermitian and self.probably_definite):
            return True
        if self.traced:
            return self.grid and not self.zero_diagonal
        return self.dominated and self.skewness <= SKEWNESS

    @property
    def multigrid_seconds(self) -> float:
        """What multigrid takes for new values of a known pattern; infinite where it is not for A."""
        if self.matrix is None or not self.suits_multigrid:
            return np.inf
        if isinstance(Multigrid().choice(self.matrix), GeometricMultigrid):
            return GRID_SECONDS * self.entries
        pushed = self.concrete is not None and _repulsion(self.concrete) > REPULSION
        return GRAPH_SECONDS * self.entries * (PUSHED if pushed else 1)

    @functools.cached_property
    def zero_diagonal(self) -> bool:
        """Whether an entry of the diagonal is missing, or known to be zero."""
        if self.matrix is None:
            return False
        missing = bool((self.matrix.pattern.diagonal_positions >= self.matrix.nnz).any())
        return missing or (
            self.concrete is not None and bool((self.concrete.to_scipy().diagonal() == 0).any())
        )

    @functools.cached_property
    def deficient(self) -> bool:
        """Whether A is singular whatever the values of its entries are: no row is paired with each column."""
        if self.matrix is None or self.rectangular:
            return False
        return _deficient(self.matrix.pattern if self.concrete is None else self.concrete)


@by_identity
def _deficient(A: SparseMatrix | Pattern) -> bool:
    pattern = A if isinstance(A, Pattern) else A.pattern
    values = np.ones(pattern.nnz) if isinstance(A, Pattern) else np.asarray(A.data)
    full = pattern.diagonal_positions < pattern.nnz
    if full.all() and (values[pattern.diagonal_positions] != 0).all():
        return False
    stored = values != 0
    return bool((paired_rows(pattern.rows[stored], pattern.indices[stored], pattern.shape) < 0).any())


@by_identity
def _dominance(A: SparseMatrix) -> str:
    return dominance_of(A.to_scipy()).kind


@by_identity
def _column_dominance(A: SparseMatrix) -> str:
    return dominance_of(A.to_scipy().T.tocsr()).kind


@by_identity
def _skewness(A: SparseMatrix) -> float:
    return probes.skewness(A.to_scipy())


@by_identity
def _repulsion(A: SparseMatrix) -> float:
    return probes.repulsion(A.to_scipy())


@by_identity
def _easy_symmetric(A: SparseMatrix) -> int:
    matrix = A.to_scipy()
    positive = np.isfinite(matrix.data).all() and (matrix.diagonal().real > 0).all()
    return probes.cg_steps(matrix) if positive else 0


@by_identity
def _easy(A: SparseMatrix) -> int:
    matrix = A.to_scipy()
    return probes.bicgstab_steps(matrix) if np.isfinite(matrix.data).all() else 0


@by_identity
def _negative(A: SparseMatrix) -> bool:
    return proven_traits(-A.to_scipy()).get("positive_definite", False)


@by_identity
def _curvature(A: SparseMatrix) -> Any:
    matrix = A.to_scipy()
    return smallest_curvature(matrix) if np.isfinite(matrix.data).all() else -1.0
