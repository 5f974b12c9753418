"""Normal equations by their entries: JᵀJ + D² from the sparse J of the residuals.

Read as one function, v -> Jᵀ J v, the indices by which residuals read x are lost among numbers of the linearisation, so
that each reading couples all of x. J itself keeps them, and the pattern of JᵀJ is formed once, on the host.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import TraceError
from jaxsolve.core.memo import recent
from jaxsolve.core.staging import index_array
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.sparse_products import ProductPlan, plan_product

#: Products of entries of J that are summed up, each with three indices: 320 MB of them.
MOST_PRODUCTS = 20_000_000


def normal_matrix(
    jacobian: Callable[[], SparseMatrix], factor: Array | None, scale: Array, ridge: Array
) -> SparseMatrix | None:
    """S⁻¹ Jᵀ W² J S⁻¹ + diag(ridge)², None where J can't be read or has rows so long that this is dense.

    Args:
        jacobian: Reads J.
        factor: W, by which residuals count; None for 1.
        scale: S.
        ridge: What is added in squares, shape (n,).
    """
    try:
        J = jacobian()
    except TraceError:
        return None
    if float(np.sum(np.diff(J.pattern.indptr).astype(float) ** 2)) > MOST_PRODUCTS:
        return None
    turned, product = _planned(J.pattern)
    data = J.data / scale[index_array(J.pattern.indices)]
    data = data if factor is None else factor[index_array(J.pattern.rows)] * data
    entries = product.multiply(data[index_array(turned)], data)
    places = index_array(product.pattern.diagonal_positions)
    return SparseMatrix(entries.at[places].add(jnp.square(ridge)), product.pattern)


@recent(most=16, each=0)
def _planned(pattern: Pattern) -> tuple[np.ndarray, ProductPlan]:
    """The entries of Jᵀ among those of J, and how JᵀJ with all of its diagonal is formed."""
    columns = pattern.shape[1]
    across, turned = pattern.transpose()
    diagonal = Pattern.of(np.arange(columns + 1), np.arange(columns), (columns, columns))
    return turned, plan_product(across, pattern, diagonal)
