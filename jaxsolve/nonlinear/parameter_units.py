"""Units: the change of each unknown that changes the objective by the same amount.

Parameters of a fit are lengths, rates, years: what is small beside one of them may be all there is of another, so that
no norm of a gradient tells whether each of them has been found. Divided by its size Dⱼ an entry of the gradient is in
units of √f whatever x is measured in. In a fit Dⱼ is the norm of a column of J, as in MINPACK; of a minimum only
products with the Hessian H are known, and D makes the rows of D⁻¹ H D⁻¹ equally large.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import power_of_two, scattered
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement

#: Up to this many unknowns the Hessian is made; of more, this many random products in each round tell of its rows.
EXACT, PROBES = 32, 2
#: Rounds of making rows equal: each takes the root of what is left, so that 4 leave 10^0.4 of units of 10^6.
ROUNDS, EXACT_ROUNDS = 4, 10
#: Sizes within this factor of each other are left alone: nothing is gained by changing them, and they are estimates.
ALIKE = 16
#: Estimates of equal sizes: nine of ten lie within a factor of 8 (the larger of two normal numbers, between 0.28 and
#: 2.2), and one of 25 000 more than a factor of 128 below the others.
NOISE = 128
#: Rounding of residuals, in units of eps times those at the first guess.
ROUNDING = 4
#: Probes of the columns of a Jacobian.
COLUMN_PROBES = 8


def slopes(statement: Statement, given: Given, x: Array, gradient: Array, sizes: Array) -> Array:
    """The gradient in units of √f, within bounds z - P(z - ∂f/∂z) of z = D x; 0 where the size is 0."""
    used = sizes > 0
    scaled = gradient / jnp.where(used, sizes, 1)
    if statement.bounded:
        inside = x - jnp.clip(x - scaled / jnp.where(used, sizes, 1), given.lower, given.upper)
        scaled = sizes * inside
    return jnp.where(used | ~jnp.isfinite(gradient), scaled, 0)


def vanished(rtol: Any, first: Any, size: Any, eps: float) -> Any:
    """The size below which residuals count as zero, in NumPy or JAX.

    It is what x changes them by in the part rtol² of itself, and no less than the rounding of the first ones. To leave
    rtol of the first ones would not do: from a bad guess they say nothing of the data.

    Args:
        rtol: The relative tolerance.
        first: ‖r‖ at the first guess.
        size: ‖D x‖.
        eps: The rounding of the dtype.
    """
    most = jnp.minimum(first, size) if isinstance(first, jax.Array) else min(first, size)
    return ROUNDING * eps * first + rtol**2 * most


def target_of(size: Array, judged: Array, allowed: Array) -> Array:
    """The norm of a gradient of this size that corresponds to `allowed` for its judged part."""
    return jnp.where(judged > 0, size * (allowed / jnp.where(judged > 0, judged, 1)), size)


def column_sizes(J: Array) -> Array:
    """The norms of the columns of a matrix."""
    scale = power_of_two(jnp.max(jnp.abs(J), axis=0, initial=0))
    return scale * jnp.sqrt(jnp.sum(jnp.square(J / scale[None]), axis=0))


def probes(count: int, size: int, dtype: jnp.dtype) -> Array:
    """Rows of random numbers of variance one, the same for the same shape."""
    return 12**0.5 * scattered(count * size, dtype).reshape(count, size)


def curvature_sizes(
    statement: Statement, given: Given, x: Array, value: Array, gradient: Array, first: Array
) -> Array:
    """D of what is minimised at x, up to a common factor, in powers of two; 1 where all are alike.

    Where the Hessian tells nothing of an unknown, its gradient does: no unknown is taken to gain more than f itself.
    Where there is no Hessian, D is the gradient at the first guess, of which each entry has to become a small part.
    """
    n = x.shape[0]

    def hessian(v: Array) -> Array:
        return jax.jvp(lambda z: statement.gradient(given, z)[1], (x,), (v,))[1]

    if not _exists(hessian, x):
        sizes = jnp.abs(first)
    elif n <= EXACT:
        H = jax.vmap(hessian)(jnp.eye(n, dtype=x.dtype))
        sizes = _balanced(lambda D: jnp.max(jnp.abs(H) / D[None], axis=1) / D, x, EXACT_ROUNDS)
    else:
        Z = probes(PROBES, n, x.dtype)
        sizes = _balanced(lambda D: jnp.max(jnp.abs(jax.vmap(hessian)(Z / D[None])), axis=0) / D, x, ROUNDS)
    least = jnp.abs(gradient) / jnp.where(value != 0, jnp.sqrt(8 * jnp.abs(value)), jnp.inf)
    sizes = jnp.maximum(sizes, jnp.where(jnp.isfinite(least), least, 0))
    largest = jnp.max(sizes)
    sizes = jnp.where(sizes > 0, sizes, jnp.where(largest > 0, largest, 1))
    if n > EXACT:
        sizes = _of_one_array(statement, sizes)
    middle = jnp.exp(jnp.mean(jnp.log(sizes)))
    alike = jnp.max(sizes) <= ALIKE * jnp.min(sizes)
    return jnp.where(alike, 1, power_of_two(sizes / middle)).astype(x.dtype)


def _of_one_array(statement: Statement, sizes: Array) -> Array:
    """Estimated sizes, the same for an array whose sizes differ by no more than their noise.

    The numbers of an array mostly have one unit, and a search on a field is slow where its scales are noise.
    """
    parts, start = [], 0
    for count in filter(None, statement.unknown.lengths):
        part = sizes[start : start + count]
        ordered, middle = jnp.sort(part), jnp.exp(jnp.mean(jnp.log(part)))
        equal = ordered[count - 1 - count // 20] <= ALIKE * ordered[count // 20]
        near = (part <= NOISE * middle) & (NOISE * part >= middle)
        parts.append(jnp.where(equal & near, middle, part))
        start += count
    return jnp.concatenate(parts)


def products_of(n: int) -> int:
    """The products with the Hessian that sizes take."""
    return n if n <= EXACT else PROBES * ROUNDS


def _balanced(rows: Callable[[Array], Array], x: Array, rounds: int) -> Array:
    """The D for which rows(D), the sizes of the rows of D⁻¹ H D⁻¹, are one (Ruiz); 0 where they are not known."""

    def better(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        D, known = carry
        size = rows(D)
        usable = jnp.isfinite(size) & (size > 0)
        return D * jnp.sqrt(jnp.where(usable, size, 1)), known & usable

    D, known = lax.fori_loop(0, rounds, better, (jnp.ones_like(x), jnp.ones(x.shape, bool)))
    return jnp.where(known, D, 0)


def _exists(hessian: Callable[[Array], Array], x: Array) -> bool:
    """Whether JAX can differentiate the gradient; functions that it cannot are minimised all the same."""
    try:
        jax.eval_shape(hessian, x)
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True
