"""Searches for a minimum along lines, with gradients: steepest descent and limited-memory BFGS."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, norm, squared_norm
from jaxsolve.nonlinear.inverse_hessian import Memory
from jaxsolve.nonlinear.linesearch import DECREASE, slack, wolfe
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.parameter_units import curvature_sizes, products_of, target_of
from jaxsolve.nonlinear.search_loop import AbstractSearch, State


class MinimumState(State):
    """The state with the objective and the units of the unknowns.

    Attributes:
        value: f(x).
        size: D, what gradients are divided by, shape (n,).
        first: The gap at the first guess.
    """

    value: Array
    size: Array
    first: Array


class AbstractDescent(AbstractSearch):
    """A search that moves z = D x and ends where |∂f/∂zⱼ| is small for all j, beside the largest at the first guess."""

    reviews: ClassVar[bool] = True

    def target(self, s: MinimumState, size: Array, reference: Array, rtol: Array) -> Array:
        """‖D⁻¹∇f‖ <= rtol ‖D⁻¹∇f(x0)‖, by the largest entry."""
        judged, first = (jnp.max(jnp.abs(g / s.size)) for g in (s.gap, s.first))
        return target_of(size, judged, rtol * first)

    def sizes(self, s: MinimumState) -> Array:
        """D."""
        return s.size

    def renewed(self, s: MinimumState) -> tuple[Array, Array]:
        """D at x, and the evaluations so far."""
        D = curvature_sizes(self.statement, self.given, s.x, s.value, s.gap, s.first)
        return D, s.evaluations + products_of(s.x.shape[0])


class DescentState(MinimumState):
    """The state with the steps that led to it."""

    memory: Memory


class DescentSearch(AbstractDescent):
    """z <- z + t d along d = -H ∇f, with H the approximate inverse Hessian of the last steps.

    With a memory of one step and no more than its length, H is the Barzilai-Borwein step.
    """

    statement: Statement
    given: Given
    memory: int
    plain: bool

    def start(self, x: Array) -> DescentState:
        value, gradient = self.statement.gradient(self.given, x)
        zero = jnp.array(0, jnp.int32)
        one, memory = jnp.ones_like(x), Memory.empty(self.memory, x)
        return DescentState(x, -gradient, zero + 1, zero, value, one, -gradient, memory)

    def reviewed(self, s: DescentState) -> DescentState:
        D, evaluations = self.renewed(s)
        memory = s.memory.forgotten(jnp.any(s.size != D))
        return eqx.tree_at(lambda s: (s.size, s.evaluations, s.memory), s, (D, evaluations, memory))

    def step(self, s: DescentState, target: Array) -> DescentState:
        # Here gap and d are those of z.
        gap, d = s.gap / s.size, self._direction(s)
        slope = -dot(gap, d)
        downhill = slope < 0
        d, slope = jnp.where(downhill, d, gap), jnp.where(downhill, slope, -squared_norm(gap))
        x, value, gradient, tries = wolfe(self.statement, self.given, s.x, d / s.size, s.value, slope)
        flatter = norm(gradient / s.size) < norm(gap)
        gained = (value < s.value) | ((value <= s.value + slack(s.value)) & flatter)
        x, value = jnp.where(gained, x, s.x), jnp.where(gained, value, s.value)
        gap = jnp.where(gained, -gradient, s.gap)
        # A search that failed with memory is tried once more along the gradient.
        forgotten = ~gained & s.memory.known
        halt = jnp.where(gained | forgotten, 0, int(Status.stagnation)).astype(jnp.int32)
        memory = s.memory.noted((x - s.x) * s.size, (s.gap - gap) / s.size).forgotten(forgotten)
        return DescentState(x, gap, s.evaluations + tries, halt, value, s.size, s.first, memory)

    def _direction(self, s: DescentState) -> Array:
        first, gap = first_length(s), s.gap / s.size
        if not self.plain:
            return s.memory.applied(gap, first)
        curved = s.memory.curvatures[-1]
        length = squared_norm(s.memory.steps[-1]) / jnp.where(s.memory.known, curved, 1)
        return jnp.where(s.memory.known, length, first) * gap


def first_length(s: MinimumState) -> Array:
    """The first step over -∇f: a step by a tenth of z, or the one that would lead f to zero."""
    size = norm(s.gap / s.size)
    safe = jnp.where(size > 0, size, 1)
    reach = 0.1 * norm(s.x * s.size)
    fallen = 2 * jnp.abs(s.value) / safe
    return jnp.where(reach > 0, reach, jnp.where(fallen > 0, fallen, 1)) / safe


class TrustState(MinimumState):
    """The state with the radius of trust."""

    radius: Array


class TrustSearch(AbstractDescent):
    """Minimises the quadratic model within a radius by truncated conjugate gradients (Steihaug)."""

    statement: Statement
    given: Given
    steps: int | None

    def start(self, x: Array) -> TrustState:
        value, gradient = self.statement.gradient(self.given, x)
        zero, one = jnp.array(0, jnp.int32), jnp.ones_like(x)
        # The first review finds D and the radius.
        return TrustState(x, -gradient, zero + 1, zero, value, one, -gradient, jnp.zeros_like(value))

    def reviewed(self, s: TrustState) -> TrustState:
        D, evaluations = self.renewed(s)
        gap = s.gap / D
        curved = dot(gap, self._hessian(s.x, D)(gap))
        # The way along the gradient to the minimum of the model.
        cauchy = norm(gap) ** 3 / jnp.where(curved > 0, curved, 1)
        radius = jnp.where(curved > 0, 10 * cauchy, jnp.maximum(norm(D * s.x), 1))
        radius = jnp.where(jnp.any(s.size != D) | (s.radius == 0), radius, s.radius)
        return eqx.tree_at(lambda s: (s.size, s.evaluations, s.radius), s, (D, evaluations + 1, radius))

    def _hessian(self, x: Array, D: Array) -> Any:
        """Products with D⁻¹ H D⁻¹."""
        H = jax.linearize(lambda z: self.statement.gradient(self.given, z)[1], x)[1]
        return lambda v: H(v / D) / D

    def step(self, s: TrustState, target: Array) -> TrustState:
        # Here gap, p and the radius are those of z.
        D, gap = s.size, s.gap / s.size
        size, first = norm(gap), norm(s.first / D)
        forcing = jnp.minimum(0.5, jnp.sqrt(size / jnp.where(first > 0, first, 1))) * size
        limit = min(s.x.shape[0], 200) if self.steps is None else self.steps
        p, Hp, edge, products = steihaug(self._hessian(s.x, D), gap, s.radius, forcing, limit)
        x = s.x + p / D
        value, gradient = self.statement.gradient(self.given, x)
        loose = slack(s.value)
        expected = dot(gap, p) - dot(p, Hp) / 2
        gain = (s.value - value + loose) / (expected + loose)
        better = (value < s.value) | (norm(gradient / D) < size)
        gained = (gain > DECREASE) & better & jnp.isfinite(value)
        sound = jnp.isfinite(gain)
        radius = jnp.where((gain > 0.75) & edge, 2 * s.radius, s.radius)
        radius = jnp.where(~sound | (gain < 0.25) | ~gained, 0.25 * jnp.minimum(norm(p), s.radius), radius)
        tiny = norm(p) <= jnp.finfo(x.dtype).eps * norm(D * x)
        halt = jnp.where(~gained & (tiny | (radius == 0)), int(Status.stagnation), 0).astype(jnp.int32)
        return TrustState(
            jnp.where(gained, x, s.x),
            jnp.where(gained, -gradient, s.gap),
            s.evaluations + products + 1,
            halt,
            jnp.where(gained, value, s.value),
            D,
            s.first,
            radius,
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
