"""Line search: how far to go along a direction, by values and slopes."""

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import dot
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement

#: Sufficient decrease and the curvature condition; the values of Nocedal & Wright for quasi-Newton methods.
DECREASE, CURVATURE = 1e-4, 0.9
#: Trials along one line.
TRIALS = 50
#: Decreases below this times eps |f| are rounding: there the slope alone decides (Hager & Zhang 2005).
SLACK = 8


def slack(value: Array) -> Array:
    """What differences of the objective mean nothing below."""
    return SLACK * jnp.finfo(value.dtype).eps * jnp.abs(value)


def wolfe(
    statement: Statement, given: Given, x: Array, d: Array, value: Array, slope: Array
) -> tuple[Array, Array, Array, Array]:
    """A point x + t d with sufficient decrease and a flatter slope, by lengthening and bisection from t = 1.

    Args:
        statement: The problem.
        given: What it depends on.
        x: The start.
        d: The direction.
        value: f(x).
        slope: ∇f · d, negative.

    Returns:
        The point, the objective and its gradient there, and the number of evaluations.

    Source: Lewis & Overton (2013), Nonsmooth optimization via quasi-Newton methods, algorithm 4.6.
    """

    def judged(t, f, g):
        high = ~(f <= value + DECREASE * t * slope + slack(value))
        steep = dot(g, d) < CURVATURE * slope
        return high, steep & ~high

    def running(carry):
        t, _, _, k, (_, f, g) = carry
        high, steep = judged(t, f, g)
        return (k == 0) | ((high | steep) & (k < TRIALS))

    def next_length(t, low, top, k, f, g):
        high, _ = judged(t, f, g)
        low, top = jnp.where(high, low, t), jnp.where(high, t, top)
        # The minimum of the parabola through f(0), its slope and f(t): steps of the wrong size are common at the start.
        best = -slope * t**2 / (2 * jnp.maximum(f - value - slope * t, jnp.finfo(t.dtype).tiny))
        shorter = jnp.where(jnp.isfinite(best), jnp.clip(best, 1e-3 * t, 0.5 * t), 0.1 * t)
        between = jnp.where(low > 0, (low + top) / 2, shorter)
        # No upper end is known yet: the step is lengthened.
        longer = low * jnp.exp2(jnp.minimum(k, 30).astype(low.dtype))
        return jnp.where(jnp.isfinite(top), between, longer), low, top

    # The first trial is a turn of the loop too, so that the program holds the function once.
    def advance(carry):
        t, low, top, k, (_, f, g) = carry
        t, low, top = (
            jnp.where(k == 0, old, new)
            for old, new in zip((t, low, top), next_length(t, low, top, k, f, g), strict=True)
        )
        z = x + t * d
        return t, low, top, k + 1, (z, *statement.gradient(given, z))

    one = jnp.ones((), value.dtype)
    begin = (one, 0 * one, jnp.inf * one, jnp.array(0, jnp.int32), (x, value, jnp.zeros_like(d)))
    _, _, _, tries, (z, f, g) = lax.while_loop(running, advance, begin)
    return z, f, g, tries
