"""Facts: what the entries of a concrete matrix tell of it, in one pass on the host."""

import dataclasses
from typing import Any

import numpy as np
import scipy.linalg
from scipy.sparse import csgraph

from jaxsolve.core.memo import by_identity
from jaxsolve.operators.bipartite import paired_rows
from jaxsolve.operators.sparse import SparseMatrix

#: Rows count as strictly dominant by this margin, relative to the diagonal: row sums that are zero round.
MARGIN = 1e-10
#: Products of a probe for negative curvature.
PROBES = 40
#: Asymmetry that counts as rounding, in units of eps sqrt(|a_ii a_jj|).
ROUNDING = 64


@dataclasses.dataclass(frozen=True)
class Dominance:
    """How the diagonal compares with the rest of its row.

    Attributes:
        rows: Rows with |a_ii| >= sum of the other |a_ij|, up to rounding.
        strict: Rows where it exceeds that sum by `MARGIN`.
        components: Strongly connected components of the matrix without any strict row.
        size: Number of rows.
    """

    rows: int
    strict: int
    components: int
    size: int

    @property
    def kind(self) -> str:
        """One of "strict", "irreducible" (weak, and strict somewhere in each component), "weak" and "no"."""
        if self.rows < self.size:
            return "no"
        if self.strict == self.size:
            return "strict"
        return "weak" if self.components else "irreducible"

    @property
    def nonsingular(self) -> bool:
        """Whether the circles of Gershgorin and Taussky exclude the eigenvalue zero."""
        return self.kind in ("strict", "irreducible")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the entries of a matrix of shape (m, n) tell.

    Attributes:
        pattern_symmetry: Share of the off-diagonal entries (i, j) with an entry (j, i); 1 if there are none.
        asymmetry: Frobenius norm of A - A^T over that of A.
        hermitian_asymmetry: The same of A - A^H.
        zero_diagonals: Zeros on the main diagonal, stored or not.
        explicit_zeros: Stored entries that are zero.
        empty_rows: Rows without an entry.
        empty_columns: Columns without an entry.
        structural_rank: Largest rank a matrix of this pattern can have.
        smallest: Least absolute value of the non-zero entries (0 for none).
        largest: Largest absolute value.
        finite: Whether no entry is NaN or infinite.
        dominance: Of the diagonal over its rows.
    """

    pattern_symmetry: float
    asymmetry: float
    hermitian_asymmetry: float
    zero_diagonals: int
    explicit_zeros: int
    empty_rows: int
    empty_columns: int
    structural_rank: int
    smallest: float
    largest: float
    finite: bool
    dominance: Dominance


def facts_of(matrix: Any) -> Facts:
    """The facts about a SciPy CSR matrix. Costs some tens of products with it, and a bipartite matching."""
    stored = matrix.nnz
    A = matrix.copy()
    A.eliminate_zeros()
    sizes = np.abs(A.data)
    square = A.shape[0] == A.shape[1]
    rows = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    return Facts(
        pattern_symmetry=_pattern_symmetry(A) if square else 0.0,
        asymmetry=_distance(A, A.T) if square else float("inf"),
        hermitian_asymmetry=_distance(A, A.conj().T) if square else float("inf"),
        zero_diagonals=int(np.sum(A.diagonal() == 0)),
        explicit_zeros=stored - A.nnz,
        empty_rows=int(np.sum(np.diff(A.indptr) == 0)),
        empty_columns=A.shape[1] - len(np.unique(A.indices)),
        structural_rank=int((paired_rows(rows, A.indices, A.shape) >= 0).sum()),
        smallest=float(sizes.min()) if A.nnz else 0.0,
        largest=float(sizes.max()) if A.nnz else 0.0,
        finite=bool(np.isfinite(A.data).all()),
        dominance=dominance_of(A),
    )


def proven_traits(matrix: Any) -> dict[str, bool]:
    """The traits that the values of a SciPy CSR matrix prove, for `LinearOperator.declare`.

    Symmetry is up to rounding, |a_ij - a_ji| <= 64 eps sqrt(|a_ii a_jj|), a bound that scaling of the unknowns leaves
    as it is: finite element matrices are summed in another order above the diagonal (measured: 3 to 15 eps).
    Positive definiteness is what follows from a dominant positive diagonal (Horn and Johnson, Matrix Analysis, 2013,
    theorem 6.1.10 and corollary 6.2.27).
    """
    m, n = matrix.shape
    if m != n or not np.isfinite(matrix.data).all():
        return {}
    rows = np.repeat(np.arange(m), np.diff(matrix.indptr))
    traits = {
        "symmetric": _agree(matrix, matrix.T),
        "lower": bool((matrix.indices <= rows).all()),
        "upper": bool((matrix.indices >= rows).all()),
    }
    traits["diagonal"] = traits["lower"] and traits["upper"]
    traits["hermitian"] = _agree(matrix, matrix.conj().T) if np.iscomplexobj(matrix) else traits["symmetric"]
    if traits["hermitian"]:
        positive = bool((matrix.diagonal().real > 0).all())
        traits["positive_definite"] = positive and dominance_of(matrix).nonsingular
    return {name: True for name, value in traits.items() if value}


@by_identity
def proved(A: SparseMatrix) -> dict[str, bool]:
    """The traits that the values of a concrete sparse matrix prove, found out once."""
    return proven_traits(A.to_scipy())


def smallest_curvature(A: Any) -> float:
    """The smallest value of vᴴ A v / vᴴ D v that `PROBES` steps of Lanczos' process find for a Hermitian CSR matrix.

    D is the diagonal; where that is not positive, its smallest entry is the answer. A negative value proves that A is
    not positive definite, a positive one makes definiteness likely.
    """
    d = A.diagonal().real
    if not len(d) or d.min() <= 0:
        return float(d.min(initial=0))
    scale = 1 / np.sqrt(d)
    v = np.random.default_rng(6113).standard_normal(len(d))
    v = v / np.linalg.norm(v)
    before, beta = np.zeros_like(v), 0.0
    alphas, betas = [], []
    for _ in range(min(PROBES, len(d))):
        w = scale * (A @ (scale * v)) - beta * before
        alphas.append(np.vdot(v, w).real)
        w = w - alphas[-1] * v
        beta = float(np.linalg.norm(w))
        # The diagonal of the scaled matrix is ones: this is small beside it.
        if beta < 1e-10:
            break
        betas.append(beta)
        before, v = v, w / beta
    return float(np.min(scipy.linalg.eigvalsh_tridiagonal(alphas, betas[: len(alphas) - 1])))


def dominance_of(A: Any) -> Dominance:
    """How the diagonal of a matrix compares with its rows."""
    size = A.shape[0]
    diagonal = np.zeros(size)
    diagonal[: min(A.shape)] = np.abs(A.diagonal())
    sizes = abs(A)
    sizes.eliminate_zeros()  # a stored zero connects nothing
    others = np.asarray(sizes.sum(axis=1)).reshape(-1) - diagonal
    rounding = 4 * np.finfo(A.dtype).eps * (diagonal + others)
    strict = diagonal - others > MARGIN * diagonal
    without = 0
    if A.shape[0] == A.shape[1] and size:
        # Taussky's theorem, for each diagonal block of the reducible normal form.
        count, labels = csgraph.connected_components(sizes, directed=True, connection="strong")
        without = count - len(np.unique(labels[strict]))
    return Dominance(int(np.sum(diagonal - others >= -rounding)), int(strict.sum()), without, size)


def _pattern_symmetry(A: Any) -> float:
    entries = A.astype(bool)
    matched = entries.multiply(entries.T)
    diagonal = int(np.sum(A.diagonal() != 0))
    off = A.nnz - diagonal
    return (int(matched.sum()) - diagonal) / off if off else 1.0


def _distance(A: Any, B: Any) -> float:
    whole = np.linalg.norm(A.data)
    return float(np.linalg.norm((A - B).data) / whole) if whole > 0 else 0.0


def _agree(A: Any, B: Any) -> bool:
    """Whether two matrices differ by rounding only."""
    difference = abs(A - B).tocoo()
    sizes = np.sqrt(np.abs(A.diagonal()))
    bound = ROUNDING * np.finfo(A.dtype).eps * sizes[difference.row] * sizes[difference.col]
    return bool((difference.data <= bound).all())
