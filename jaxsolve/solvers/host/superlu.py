"""SuperLU through SciPy: sparse factorisations with options that follow the structure."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import per_object
from jaxsolve.core.status import Status
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.direct.sparse.ordering import parity
from jaxsolve.solvers.host.factor import (
    AbstractFactor,
    AbstractRecipe,
    Form,
    NoFactor,
    judged,
    products,
    refined,
)
from jaxsolve.solvers.host.fill import predicted_fill
from jaxsolve.solvers.host.handle import Handle
from jaxsolve.solvers.host.scaling import has_symmetric_structure, scaled, scaling, widened
from jaxsolve.solvers.host.separator import ALWAYS


@dataclasses.dataclass(frozen=True)
class Options:
    """How SuperLU is called.

    Attributes:
        description: For people.
        ordering: SciPy's `permc_spec`.
        threshold: A diagonal pivot stays unless it is that much smaller than the largest entry of its column.
        symmetric: Whether rows are ordered like columns.
    """

    description: str
    ordering: str
    threshold: float
    symmetric: bool


#: For a symmetric pattern with a full diagonal: half the fill of the default column ordering (Poisson 512²: 1.3 s
#: against 2.1 s). Refinement and the check afterwards catch what the small pivots cost.
SYMMETRIC = Options("SuperLU, minimum degree on A + Aᵀ, diagonal pivots", "MMD_AT_PLUS_A", 1e-3, True)
GENERAL = Options("SuperLU, COLAMD, partial pivoting", "COLAMD", 1.0, False)


class Layout:
    """Where the entries of a pattern go in the matrix that SuperLU gets; the analysis that a pattern needs once.

    The column ordering depends on the pattern alone. SuperLU finds it in the first factorisation (20 % of the time
    on grids, 40 % on circuits); from the second one on the matrix comes in this order.

    Args:
        pattern: Of the matrix.
        order: Order of the columns, None for the given one.
        symmetric: Whether rows are ordered the same way.
    """

    def __init__(self, pattern: Pattern, order: np.ndarray | None, symmetric: bool):
        columns, self._gather = pattern.transpose()
        self.indptr, self.indices = columns.indptr, columns.indices
        self.columns, self.rows = order, order if symmetric else None
        if order is None:
            return
        places = scipy.sparse.csc_matrix((self._gather, self.indices, self.indptr), shape=pattern.shape)
        # Entry 0 is a stored zero, which indexing keeps.
        places = places[:, order] if not symmetric else places[:, order][order]
        places.sort_indices()
        self._gather, self.indptr, self.indices = places.data, places.indptr, places.indices

    def matrix(self, data: np.ndarray, left: np.ndarray, right: np.ndarray) -> Any:
        """R A C in this order, from values in CSR order."""
        left, right = _ordered(left, self.rows), _ordered(right, self.columns)
        values = scaled(np.take(data, self._gather, mode="clip"), self.indptr, self.indices, right, left)
        return scipy.sparse.csc_matrix((values, self.indices, self.indptr), shape=(len(left), len(right)))


def _ordered(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    return values if order is None else values[order]


@per_object
def _known(pattern: Pattern) -> dict[Options, np.ndarray | Layout]:
    """What is known of a pattern: a column order after the first factorisation, a layout after the second."""
    return {}


class SuperLUFactors(AbstractFactor):
    """SuperLU's factors of R A C, with diagonal R and C of powers of two, refined in solves.

    Args:
        factors: A `Handle` of `scipy.sparse.linalg.splu`.
        matrix: What was factorised.
        layout: How its entries are ordered.
        left: The diagonal of R.
        right: The diagonal of C.
        description: What was done.
    """

    def __init__(
        self,
        factors: Any,
        matrix: Any,
        layout: Layout,
        left: np.ndarray,
        right: np.ndarray,
        description: str,
    ):
        self.dtype = matrix.dtype
        self.description = description
        # Values and row indices; SuperLU stores the latter once a supernode.
        self.nbytes = (int(factors.nnz) + int(matrix.nnz)) * (self.dtype.itemsize + 4)
        self._factors = factors
        self._matrix = matrix
        self._layout = layout
        self._left = left
        self._right = right

    def solve(self, rhs: np.ndarray, form: Form) -> np.ndarray:
        """The solutions for the columns of `rhs`."""
        ends = (self._left, self._layout.rows), (self._right, self._layout.columns)
        (before, first), (after, last) = ends if form == "N" else ends[::-1]
        rhs = before[:, None] * rhs
        rhs = rhs if first is None else rhs[first]
        # The largest entries of R A C are near 1.
        x = refined(lambda r: self._factors.solve(r, form), products(self._matrix, form), rhs, 1.0)
        if last is not None:
            back = np.empty_like(x)
            back[last] = x
            x = back
        x *= after[:, None]
        return x

    def log_determinant(self) -> tuple[complex, float]:
        """Sign (unit phase) and log|det A| by the pivots of R A C."""
        pivots = self._factors.U.diagonal()
        orders = self._factors.perm_r, self._factors.perm_c, self._layout.rows, self._layout.columns
        exchanged = np.prod([parity(order) for order in orders if order is not None])
        scale = np.log(self._left).sum() + np.log(self._right).sum()
        sizes = np.abs(pivots)
        return complex(exchanged * np.prod(pivots / sizes)), float(np.log(sizes).sum() - scale)

    def product(self, x: np.ndarray) -> np.ndarray:
        """A x for the columns of x."""
        x = _ordered(x / self._right[:, None], self._layout.columns)
        y = self._matrix @ x
        if self._layout.rows is not None:
            back = np.empty_like(y)
            back[self._layout.rows] = y
            y = back
        return y / self._left[:, None]


@dataclasses.dataclass(frozen=True)
class SuperLU(AbstractRecipe):
    """A complete LU factorisation in double precision.

    Symmetric patterns with a full diagonal are ordered by minimum degree on A + Aᵀ and keep diagonal pivots where
    they can; others by COLAMD with partial pivoting, which is also the second try where the first fails.

    Args:
        pattern: The positions of the values.
    """

    pattern: Pattern

    def factor_finite(self, data: np.ndarray) -> AbstractFactor:
        """The factors of the matrix with these values in CSR order."""
        values = widened(data)
        left, right = scaling(self.pattern, values)
        tries = (SYMMETRIC, GENERAL) if has_symmetric_structure(self.pattern, data) else (GENERAL,)
        result: AbstractFactor = NoFactor(Status.singular, "not tried")
        for options in tries:
            result = self._factor(values, left, right, options)
            if result.status == Status.converged:
                return result
        return result

    def _factor(
        self, values: np.ndarray, left: np.ndarray, right: np.ndarray, options: Options
    ) -> AbstractFactor:
        layout = self._layout(options)
        matrix = layout.matrix(values, left, right)
        try:
            factors = Handle(
                scipy.sparse.linalg.splu,
                matrix,
                permc_spec=options.ordering if layout.columns is None else "NATURAL",
                diag_pivot_thresh=options.threshold,
                options={"SymmetricMode": options.symmetric},
            )
        except RuntimeError as error:
            return NoFactor(Status.singular, f"{options.description}: {error}")
        except MemoryError:
            # Where rows are exchanged nobody knows the fill beforehand.
            raise StructureError(
                "the factors of A do not fit into memory, SuperLU has found. Iterate instead: 'GMres' with "
                "preconditioner 'ilu'."
            ) from None
        _known(self.pattern).setdefault(options, np.argsort(factors.perm_c))
        found = SuperLUFactors(factors, matrix, layout, left, right, options.description)
        plain = scipy.sparse.csr_matrix(
            (values, self.pattern.indices, self.pattern.indptr), self.pattern.shape
        )
        return judged(found, found.product, plain)

    def _layout(self, options: Options) -> Layout:
        known = _known(self.pattern)
        found = known.get(options)
        if found is None and options == SYMMETRIC and len(self.pattern.diagonal_positions) > ALWAYS:
            # The same order as SuperLU's own, but for hubs: it is quadratic in their neighbours, 0.9 s for 40 000.
            found = predicted_fill(self.pattern).order
        if isinstance(found, np.ndarray):
            known[options] = found = Layout(self.pattern, found, options.symmetric)
        return Layout(self.pattern, None, options.symmetric) if found is None else found
