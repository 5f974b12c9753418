"""Column units: columns of ordinary size, whatever the units of the unknowns are."""

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.shards import joined_axes
from jaxsolve.core.vector import exponent, power
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.units import rescaled

#: Columns of an operator without entries are formed up to so many, to know their norms.
FEW_COLUMNS = 64


#: Columns whose norms differ by no more than this factor are of one unit.
ALIKE = 16.0


def column_norms(A: LinearOperator, k: Array, real: jnp.dtype) -> tuple[Array, int] | None:
    """The norms of the columns of 2^-k A and the products spent for them; None where that would be too many.

    Args:
        A: The operator.
        k: The exponent of the size of A's entries.
        real: The dtype of the norms.
    """
    m, n = A.shape
    scale = power(-k, real)
    squares = A.T.row_sums(lambda a, _: jnp.square(jnp.abs(a) * scale), jnp.ones(m, real))
    if squares is not None:
        return jnp.sqrt(squares), 0
    if n > FEW_COLUMNS or joined_axes():
        return None
    columns = lax.map(rescaled(A, -k, real).mv, jnp.eye(n, dtype=A.dtype))
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(columns)), axis=1)), n


def column_scales(norms: Array) -> Array:
    """Powers of two that make columns of these norms alike; all 1 where they are so already.

    Of the many solutions of a rank-deficient system, methods find the shortest in the scaled unknowns. It is that in
    x itself wherever the columns have one unit, and where they don't, lengths of x mean nothing.
    """
    used = norms > 0
    smallest = jnp.min(jnp.where(used, norms, jnp.inf), initial=jnp.inf)
    alike = jnp.max(norms, initial=0) <= ALIKE * smallest
    return jnp.where(alike, 1, power(-exponent(norms), norms.dtype))
