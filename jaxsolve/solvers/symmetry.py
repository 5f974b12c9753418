"""Symmetry: how far A is from its adjoint, for the words on a failure of a method that needs A = Aᴴ."""

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.shards import while_loop
from jaxsolve.core.vector import dot, plain_norm, scattered
from jaxsolve.operators.operator import LinearOperator

#: Products with A in a measurement.
PRODUCTS = 2


def asymmetry(A: LinearOperator, asked: Array) -> Array:
    """An estimate of ‖A - Aᴴ‖ / ‖A‖ in Frobenius norms, from two products; 0 where it is not asked for.

    For independent entries of mean 0 and variance s², E|uᴴ(A - Aᴴ)v|² = s⁴‖A - Aᴴ‖² but for the diagonal, and
    E‖Av‖² = s²‖A‖².

    Args:
        A: Square, its entries of ordinary size.
        asked: Bool scalar. Under vmap nothing is computed unless one lane asks.
    """
    n = A.shape[0]
    real = jnp.finfo(A.dtype).dtype
    u, v = pair = scattered(2 * n, real).reshape(2, n)

    def measure(carry):
        Au, Av = lax.map(A.mv, pair.astype(A.dtype))
        gap = jnp.abs(dot(u, Av) - dot(Au, v))
        size = jnp.sqrt((plain_norm(Au) ** 2 + plain_norm(Av) ** 2) / 2)
        # The variance of numbers evenly spread over an interval of length 1 is 1/12.
        return jnp.array(False), (gap / jnp.where(size > 0, size, 1) * jnp.sqrt(12.0)).astype(real)

    # A loop of at most one round: a branch would become a choice under vmap, with the products made for every lane.
    return while_loop(lambda carry: carry[0], measure, (asked, jnp.zeros((), real)))[1]
