"""Searches for a minimum along lines, with gradients: steepest descent and limited-memory BFGS."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, norm, squared_norm
from jaxsolve.nonlinear.driver import AbstractSearch, State
from jaxsolve.nonlinear.linesearch import DECREASE, slack, wolfe
from jaxsolve.nonlinear.memory import Memory
from jaxsolve.nonlinear.statement import Given, Statement


class DescentState(State):
    """The state with the objective and the steps that led to it.

    Attributes:
        value: f(x).
        memory: The last steps.
    """

    value: Array
    memory: Memory


class DescentSearch(AbstractSearch):
    """x <- x + t d along d = -H ∇f with H the inverse Hessian that the last steps tell of.

    With a memory of one step and no more than its length, H is the Barzilai-Borwein step.
    """

    statement: Statement
    given: Given
    memory: int
    plain: bool

    def start(self, x: Array) -> DescentState:
        value, gradient = self.statement.gradient(self.given, x)
        zero = jnp.array(0, jnp.int32)
        return DescentState(x, -gradient, zero + 1, zero, value, Memory.empty(self.memory, x))

    def step(self, s: DescentState, target: Array) -> DescentState:
        d = self._direction(s)
        slope = -dot(s.gap, d)
        downhill = slope < 0
        d, slope = jnp.where(downhill, d, s.gap), jnp.where(downhill, slope, -squared_norm(s.gap))
        x, value, gradient, tries = wolfe(self.statement, self.given, s.x, d, s.value, slope)
        gained = (value < s.value) | ((value <= s.value + slack(s.value)) & (norm(gradient) < norm(s.gap)))
        x, value = jnp.where(gained, x, s.x), jnp.where(gained, value, s.value)
        gap = jnp.where(gained, -gradient, s.gap)
        # After a failure with memory, once more along the gradient.
        forgotten = ~gained & s.memory.known
        halt = jnp.where(gained | forgotten, 0, int(Status.stagnation)).astype(jnp.int32)
        memory = s.memory.noted(x - s.x, s.gap - gap).forgotten(forgotten)
        return DescentState(x, gap, s.evaluations + tries, halt, value, memory)

    def _direction(self, s: DescentState) -> Array:
        first = first_length(s)
        if not self.plain:
            return s.memory.applied(s.gap, first)
        curved = s.memory.curvatures[-1]
        length = squared_norm(s.memory.steps[-1]) / jnp.where(s.memory.known, curved, 1)
        return jnp.where(s.memory.known, length, first) * s.gap


def first_length(s: DescentState) -> Array:
    """The part of -∇f to begin with, in the units of x / ∇f: a tenth of x, or what would lead f to zero."""
    size = norm(s.gap)
    safe = jnp.where(size > 0, size, 1)
    reach = 0.1 * norm(s.x)
    fallen = 2 * jnp.abs(s.value) / safe
    return jnp.where(reach > 0, reach, jnp.where(fallen > 0, fallen, 1)) / safe


class TrustState(State):
    """The state with the objective, the radius of trust and the first gradient's norm."""

    value: Array
    radius: Array
    first: Array


class TrustSearch(AbstractSearch):
    """Minimises the quadratic model within a radius by truncated conjugate gradients (Steihaug)."""

    statement: Statement
    given: Given
    steps: int | None

    def start(self, x: Array) -> TrustState:
        value, gradient = self.statement.gradient(self.given, x)
        curved = dot(gradient, self._hessian(x)(gradient))
        size = norm(gradient)
        # The way along the gradient to the minimum of the model.
        cauchy = size**3 / jnp.where(curved > 0, curved, 1)
        radius = jnp.where(curved > 0, 10 * cauchy, jnp.maximum(norm(x), 1))
        zero = jnp.array(0, jnp.int32)
        return TrustState(x, -gradient, zero + 2, zero, value, radius, size)

    def _hessian(self, x: Array) -> Any:
        return jax.linearize(lambda z: self.statement.gradient(self.given, z)[1], x)[1]

    def step(self, s: TrustState, target: Array) -> TrustState:
        size = norm(s.gap)
        forcing = jnp.minimum(0.5, jnp.sqrt(size / jnp.where(s.first > 0, s.first, 1))) * size
        limit = min(s.x.shape[0], 200) if self.steps is None else self.steps
        hessian = self._hessian(s.x)
        p, Hp, edge, products = steihaug(hessian, s.gap, s.radius, forcing, limit)
        x = s.x + p
        value, gradient = self.statement.gradient(self.given, x)
        loose = slack(s.value)
        expected = dot(s.gap, p) - dot(p, Hp) / 2
        gain = (s.value - value + loose) / (expected + loose)
        better = (value < s.value) | (norm(gradient) < size)
        gained = (gain > DECREASE) & better & jnp.isfinite(value)
        sound = jnp.isfinite(gain)
        radius = jnp.where((gain > 0.75) & edge, 2 * s.radius, s.radius)
        radius = jnp.where(~sound | (gain < 0.25) | ~gained, 0.25 * jnp.minimum(norm(p), s.radius), radius)
        tiny = norm(p) <= jnp.finfo(x.dtype).eps * norm(x)
        halt = jnp.where(~gained & (tiny | (radius == 0)), int(Status.stagnation), 0).astype(jnp.int32)
        return TrustState(
            jnp.where(gained, x, s.x),
            jnp.where(gained, -gradient, s.gap),
            s.evaluations + products + 1,
            halt,
            jnp.where(gained, value, s.value),
            radius,
            s.first,
        )


def steihaug(
    hessian: Any, rhs: Array, radius: Array, forcing: Array, limit: int
) -> tuple[Array, Array, Array, Array]:
    """The p that conjugate gradients for H p = rhs reach before they leave ‖p‖ <= radius or meet negative curvature.

    Returns:
        p, H p, whether it lies on the edge, and the number of products.
    """

    def running(carry):
        _, _, r, _, edge, k = carry
        return ~edge & (norm(r) > forcing) & (k < limit)

    def advance(carry):
        p, Hp, r, q, _, k = carry
        Hq = hessian(q)
        curved, rho = dot(q, Hq), squared_norm(r)
        alpha = rho / jnp.where(curved > 0, curved, 1)
        out = ~(curved > 0) | (norm(p + alpha * q) >= radius)
        # The t > 0 with ‖p + t q‖ = radius.
        a, b, c = squared_norm(q), dot(p, q), squared_norm(p) - radius**2
        root = jnp.sqrt(jnp.maximum(b**2 - a * c, 0))
        edge = jnp.maximum(-c, 0) / jnp.where(b + root > 0, b + root, 1)
        t = jnp.where(out, edge, alpha)
        left = r - t * Hq
        beta = squared_norm(left) / jnp.where(rho > 0, rho, 1)
        return p + t * q, Hp + t * Hq, left, left + beta * q, out, k + 1

    zero = jnp.zeros_like(rhs)
    begin = (zero, zero, rhs, rhs, jnp.array(False), jnp.array(0, jnp.int32))
    p, Hp, _, _, edge, k = lax.while_loop(running, advance, begin)
    return p, Hp, edge, k
