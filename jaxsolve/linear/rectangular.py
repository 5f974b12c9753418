"""What suits rectangular matrices: factors of any rank, or iterations."""

from jaxsolve.core import memory
from jaxsolve.linear.knowledge import Knowledge
from jaxsolve.linear.rule import Rule

#: The entries of a dense matrix that is factorised where someone asks for it.
MOST_ENTRIES = 8192**2
#: Rectangular matrices are factorised up to so large a product m n min(m, n) (well1850, 9·10⁸ and of full rank: 0.13 s
#: on one core; mbeacxc, 10⁸ and of rank 448 of 490: 0.1 s): sparse ones, whose products are cheap ...
SPARSE_WORK = 1e9
#: ... and dense ones.
DENSE_WORK = 1e10
#: Arrays of the size of A, as a dense matrix, that a factorisation of it holds.
COPIES = 4


def _fits(k: Knowledge) -> bool:
    """Whether dense factors of A fit into memory."""
    m, n = k.A.shape
    return COPIES * m * n * k.A.dtype.itemsize <= memory.SHARE * memory.device_bytes()


def _small(k: Knowledge) -> bool:
    """Whether a rectangular matrix is small enough to be factorised unasked."""
    m, n = k.A.shape
    limit = DENSE_WORK if k.dense else SPARSE_WORK
    return k.rectangular and (k.dense or k.sparse) and m * n * min(m, n) <= limit and _fits(k)


#: Least squares, or the shortest solution: by factors ...
BY_SINGULAR_VALUES = Rule(
    f"A is rectangular, m n min(m, n) <= {SPARSE_WORK:.0e}, or {DENSE_WORK:.0e} if it is dense",
    _small,
    "SVD",
    None,
    "it takes no iterations, however ill-conditioned A is, and A may have any rank",
)
#: ... or by iterations.
BY_ITERATIONS = Rule(
    "A is rectangular", lambda k: k.rectangular, "lsmr", None, "it needs products alone, and no full rank"
)

#: What else there is where A is rectangular; no other method takes it.
FOR_RECTANGULAR = (
    Rule(
        f"A is rectangular, with at most {MOST_ENTRIES:.0e} entries as a dense matrix",
        lambda k: k.A.shape[0] * k.A.shape[1] <= MOST_ENTRIES and _fits(k),
        *("SVD", None, BY_SINGULAR_VALUES.why),
    ),
    BY_ITERATIONS,
    Rule("A is rectangular", lambda k: True, "lsqr", None, "it needs no full rank"),
)
