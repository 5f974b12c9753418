"""Which method and which preconditioner suit a system of which little is known but its structure."""

from jaxsolve.core.memo import by_identity
from jaxsolve.core.staging import is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.base import LinearOperator, declaration
from jaxsolve.operators.dense import DenseMatrix
from jaxsolve.operators.facts import proven_traits
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.base import AbstractPreconditioner
from jaxsolve.preconditioners.registry import PRECONDITIONERS
from jaxsolve.solvers.base import AbstractMethod
from jaxsolve.solvers.registry import METHODS

#: Dense matrices up to this size are factorised: 2/3 n³ operations are a second on one core.
DENSE_LIMIT = 2048
#: Bands up to this width are eliminated.
NARROW = 2
#: Sparse matrices from this size on are worth a hierarchy.
COARSE_LIMIT = 1000


def choose(A: LinearOperator, preconditioned: bool) -> tuple[AbstractMethod, str]:
    """A method for A and the reason for it.

    Args:
        A: The operator.
        preconditioned: Whether a preconditioner was asked for, which rules direct methods out.
    """
    m, n = A.shape
    facts, source = known_traits(A)
    if m != n:
        return METHODS["lsmr"](), "A is rectangular"
    if not preconditioned:
        if isinstance(A, DenseMatrix) and n <= DENSE_LIMIT:
            if facts.positive_definite:
                return METHODS["Cholesky"](), f"A is dense, small ({n}) and {source} positive definite"
            return METHODS["LU"](), f"A is dense and small ({n})"
        if isinstance(A, SparseMatrix) and max(A.pattern.bandwidth) <= NARROW:
            return METHODS["banded"](), f"A has a band of {A.pattern.bandwidth} off-diagonals"
    if facts.positive_definite:
        return METHODS["CG"](), f"A is {source} positive definite"
    if facts.hermitian:
        return METHODS["minres"](), f"A is {source} symmetric (Hermitian)"
    return METHODS["biCG-stab"](2), "nothing is known of the symmetry of A"


def known_traits(A: LinearOperator) -> tuple[Traits, str]:
    """What is known of A, and whether it is "declared" or "proved" by its entries (some tens of products)."""
    if A.traits != Traits() or not isinstance(A, SparseMatrix) or A.data.ndim > 1 or is_traced(A.data):
        return A.traits, "declared"
    return _proved(A), "proved"


@by_identity
def _proved(A: SparseMatrix) -> Traits:
    return declaration(A, proven_traits(A.to_scipy()))


def choose_preconditioner(A: LinearOperator) -> tuple[AbstractPreconditioner, str]:
    """A preconditioner for A and the reason for it.

    Args:
        A: The operator, its entries known.
    """
    if (
        isinstance(A, SparseMatrix)
        and A.shape[0] >= COARSE_LIMIT
        and A.pattern.is_symmetric
        and "amg" in PRECONDITIONERS
    ):
        return PRECONDITIONERS["amg"](), f"A is sparse, of symmetric pattern and large ({A.shape[0]})"
    if isinstance(A, SparseMatrix) and not A.pattern.is_symmetric:
        return PRECONDITIONERS["jacobi"](), "the pattern of A is not symmetric"
    return PRECONDITIONERS["jacobi"](), "A is small, or not sparse"
