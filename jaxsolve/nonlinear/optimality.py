"""Optimality: the conditions of a minimum under constraints, as equations for x and its multipliers.

Where f is least with c(x) within its limits and x within its bounds, ∇f = ∇c λ but for variables at their bounds, and
λ is zero but for constraints at their limits (Karush, Kuhn and Tucker). What holds x holds it nearby as well where it
presses, λ ≠ 0; then these are equations, and derivatives of (x, λ) follow from them as from any others.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.vector import dot, norm
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement

#: Lengths below this times the tolerance and the size of x are nothing that SciPy resolves.
REACH = 10
#: The least tolerance, eps to this power: trust-constr ends 4e-7 of x away from what holds it, whatever is asked.
FINEST = 0.4
#: How far a step of Newton may lead from x, in the same lengths: beyond that x is no minimum of this kind.
STRAY = 10


class Held(NamedTuple):
    """What holds x.

    Attributes:
        below: Variables at their lower bounds, shape (n,).
        above: Variables at their upper bounds.
        lower: Constraints at their lower limits, equations included, shape (m,).
        upper: Constraints at their upper limits.
    """

    below: Array
    above: Array
    lower: Array
    upper: Array


@dataclasses.dataclass(frozen=True)
class Optimality:
    """A minimum under constraints as equations for z = (x, λ) of shape (n + m,). Static under jit.

    Attributes:
        statement: The problem.
        limits: Its constraints.
    """

    statement: Statement
    limits: Limits

    def condition(self, given: Given, z: Array, held: Held) -> Array:
        """What vanishes at (x, λ)."""
        x, multipliers = jnp.split(z, [self.statement.unknown.size])
        below, above, lower, upper = held
        slope = jax.grad(self._lagrangian, 1)(given, x, multipliers)
        value = self.limits.value(given.constants, x)
        if given.lower is not None and given.upper is not None:
            slope = jnp.where(below, x - given.lower, jnp.where(above, x - given.upper, slope))
        low, high = self._sides(value)
        # Infinite limits hold nothing, and must not be subtracted.
        left = value - jnp.where(lower, low, jnp.where(upper, high, 0))
        return jnp.concatenate([slope, jnp.where(lower | upper, left, multipliers)])

    def size(self, given: Given, x: Array, x0: Array, rtol: Array) -> Array:
        """The norm of what vanishes at a minimum: the part of ∇f that nothing holds, and distances to what does."""
        held, _, _ = self.held(given, x, x0, rtol)
        z = jnp.concatenate([x, self.multipliers(given, x, held)])
        return norm(self.condition(given, z, held))

    def held(self, given: Given, x: Array, x0: Array, rtol: Array) -> tuple[Held, Array, Array]:
        """What holds x, whether that is clear, and the length that SciPy resolves.

        It is clear where all that is as near as that length presses: without it the minimum would be farther away.
        """
        eps = jnp.finfo(x.dtype).eps
        reach = REACH * jnp.maximum(rtol, eps**FINEST).astype(x.dtype) * jnp.maximum(norm(x), norm(x - x0))
        value, slopes = self.limits.value(given.constants, x), self._slopes(given, x)
        low, high = self._sides(value)
        sizes, none = jnp.linalg.norm(slopes, axis=1), jnp.zeros(x.shape, bool)
        near_low, near_high = value - low <= reach * sizes, high - value <= reach * sizes
        near_below, near_above, fixed = none, none, none
        if given.lower is not None and given.upper is not None:
            near_below, near_above = x - given.lower <= reach, given.upper - x <= reach
            fixed = given.lower == given.upper
        at_limit, at_bound = near_low | near_high, near_below | near_above
        near = Held(near_below, near_above, near_low, near_high & ~near_low)
        multipliers = self.multipliers(given, x, near)
        slope, curved = jax.linearize(lambda x: jax.grad(self._lagrangian, 1)(given, x, multipliers), x)
        # Along all that is near: what presses by less than the slope changes within reach may as well not press.
        across = (
            at_bound.astype(x.dtype)
            + jnp.where(at_limit & (sizes > 0), 1 / jnp.where(sizes > 0, sizes, 1), 0) @ slopes
        )
        length = norm(across)
        weak = reach * norm(curved(across)) / jnp.where(length > 0, length, 1)
        pressed, equal = multipliers * sizes, low == high
        lower, upper = equal | (near_low & (pressed > weak)), ~equal & near_high & (pressed < -weak)
        below, above = fixed | (near_below & (slope > weak)), ~fixed & near_above & (slope < -weak)
        clear = jnp.all(lower | upper | ~at_limit) & jnp.all(below | above | ~at_bound)
        return Held(below, above, lower, upper), clear, reach

    def multipliers(self, given: Given, x: Array, held: Held) -> Array:
        """λ of shape (m,) from x: the combination of gradients of constraints nearest to ∇f where x is free."""
        below, above, lower, upper = held
        active = lower | upper
        gradient = self.statement.gradient(given, x)[1]
        slopes = self._slopes(given, x)
        sizes = jnp.linalg.norm(slopes, axis=1)
        sizes = jnp.where(active & (sizes > 0), sizes, 1)
        rows = jnp.where(active[:, None] & ~(below | above)[None, :], slopes / sizes[:, None], 0)
        # Constraints that depend on each other share what they carry.
        tiny = rows.shape[0] * jnp.finfo(x.dtype).eps
        normal = rows @ rows.T + jnp.diag(jnp.where(active, tiny, 1).astype(x.dtype))
        return jnp.linalg.solve(normal, rows @ gradient) / sizes

    def _lagrangian(self, given: Given, x: Array, multipliers: Array) -> Array:
        return self.statement.objective(given, x) - dot(multipliers, self.limits.value(given.constants, x))

    def _slopes(self, given: Given, x: Array) -> Array:
        """The derivative of the constraints, shape (m, n)."""
        return jax.jacrev(lambda x: self.limits.value(given.constants, x))(x)

    def _sides(self, value: Array) -> tuple[Array, Array]:
        return jnp.asarray(self.limits.lower, value.dtype), jnp.asarray(self.limits.upper, value.dtype)
