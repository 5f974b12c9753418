"""Searches by the model r + J d of residuals: Gauss-Newton along lines, and Levenberg-Marquardt."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, norm, squared_norm
from jaxsolve.linear.request import Solve
from jaxsolve.nonlinear.driver import AbstractSearch, State
from jaxsolve.nonlinear.linesearch import slack, wolfe
from jaxsolve.nonlinear.model import model_at
from jaxsolve.nonlinear.statement import Given, Statement


class FitState(State):
    """The state with ½‖r‖² and the damping.

    Attributes:
        value: ½‖r‖².
        damping: λ.
        growth: What λ grows by after the next failure.
    """

    value: Array
    damping: Array
    growth: Array


class GaussNewtonSearch(AbstractSearch):
    """x <- x + t d with d = argmin ‖r + J d‖."""

    statement: Statement
    given: Given
    linear: Solve | None

    def start(self, x: Array) -> FitState:
        value, gradient = self.statement.gradient(self.given, x)
        zero = jnp.array(0, jnp.int32)
        return FitState(x, -gradient, zero + 1, zero, value, jnp.zeros_like(value), jnp.zeros_like(value))

    def step(self, s: FitState, target: Array) -> FitState:
        model = model_at(self.statement, self.given, s.x, self.linear)
        d, products = model.step(s.damping, norm(s.gap) > target)
        slope = -dot(s.gap, d)
        downhill = slope < 0
        d, slope = jnp.where(downhill, d, s.gap), jnp.where(downhill, slope, -squared_norm(s.gap))
        x, value, gradient, tries = wolfe(self.statement, self.given, s.x, d, s.value, slope)
        return _moved(s, x, value, gradient, s.evaluations + products + tries)


class LevenbergMarquardtSearch(AbstractSearch):
    """x <- x + argmin ‖r + J d‖² + λ‖d‖², λ from how well the model told the decrease (Nielsen)."""

    statement: Statement
    given: Given
    linear: Solve | None
    first: float

    def start(self, x: Array) -> FitState:
        value, gradient = self.statement.gradient(self.given, x)
        model = model_at(self.statement, self.given, x, self.linear)
        # The largest squared column of J bounds what a product along the gradient tells.
        along = squared_norm(model.products[0](gradient)) / jnp.maximum(
            squared_norm(gradient), jnp.finfo(value.dtype).tiny
        )
        zero = jnp.array(0, jnp.int32)
        return FitState(x, -gradient, zero + 3, zero, value, self.first * along, 2 * jnp.ones_like(value))

    def step(self, s: FitState, target: Array) -> FitState:
        model = model_at(self.statement, self.given, s.x, self.linear)
        d, products = model.step(s.damping, norm(s.gap) > target)
        x = s.x + d
        value, gradient = self.statement.gradient(self.given, x)
        expected = dot(d, s.damping * d + s.gap) / 2
        loose = slack(s.value)
        gain = (s.value - value + loose) / (jnp.maximum(expected, 0) + loose)
        better = (value < s.value) | ((value <= s.value + loose) & (norm(gradient) < norm(s.gap)))
        gained = better & jnp.isfinite(value)
        eased = s.damping * jnp.maximum(1 / 3, 1 - (2 * jnp.where(gained, gain, 0) - 1) ** 3)
        damping = jnp.where(gained, eased, s.damping * s.growth)
        growth = jnp.where(gained, 2, 2 * s.growth)
        tiny = norm(d) <= jnp.finfo(x.dtype).eps * norm(s.x)
        new = _moved(s, x, value, gradient, s.evaluations + products + 1)
        lost = ~gained & (tiny | ~jnp.isfinite(damping))
        halt = jnp.where(lost, int(Status.stagnation), 0).astype(jnp.int32)
        return FitState(
            jnp.where(gained, x, s.x),
            jnp.where(gained, -gradient, s.gap),
            new.evaluations,
            halt,
            jnp.where(gained, value, s.value),
            damping,
            growth,
        )


class DampedState(State):
    """The state with the damping and what it grows by after the next failure."""

    damping: Array
    growth: Array


class DampedNewtonSearch(AbstractSearch):
    """The same steps for equations r(x) = y - f(x) = 0, which end by ‖r‖ and not by its slope."""

    statement: Statement
    given: Given
    linear: Solve | None
    first: float

    def start(self, x: Array) -> DampedState:
        gap, slope = jax.linearize(lambda z: self.statement.value(self.given, z), x)
        size = squared_norm(gap)
        along = squared_norm(slope(gap)) / jnp.where(size > 0, size, 1)
        zero = jnp.array(0, jnp.int32)
        return DampedState(x, gap, zero + 2, zero, self.first * along, 2 * jnp.ones_like(along))

    def step(self, s: DampedState, target: Array) -> DampedState:
        model = model_at(self.statement, self.given, s.x, self.linear)
        d, products = model.step(s.damping, norm(s.gap) > target)
        x = s.x + d
        gap = self.statement.value(self.given, x)
        old, new = norm(s.gap), norm(gap)
        # Relative to ‖r‖²: the decrease, and that of the model.
        safe = jnp.where(old > 0, old, 1)
        left = norm(s.gap + model.products[0](d)) / safe
        gain = (1 - (new / safe) ** 2) / jnp.maximum(1 - left**2, jnp.finfo(old.dtype).tiny)
        gained = new < old
        eased = s.damping * jnp.maximum(1 / 3, 1 - (2 * jnp.where(gained, gain, 0) - 1) ** 3)
        damping = jnp.where(gained, eased, s.damping * s.growth).astype(s.damping.dtype)
        lost = ~gained & ((norm(d) <= jnp.finfo(x.dtype).eps * norm(s.x)) | ~jnp.isfinite(damping))
        return DampedState(
            jnp.where(gained, x, s.x),
            jnp.where(gained, gap, s.gap),
            s.evaluations + products + 1,
            jnp.where(lost, int(Status.stagnation), 0).astype(jnp.int32),
            damping,
            jnp.where(gained, 2, 2 * s.growth),
        )


def _moved(s: FitState, x: Array, value: Array, gradient: Array, evaluations: Any) -> FitState:
    better = (value < s.value) | ((value <= s.value + slack(s.value)) & (norm(gradient) < norm(s.gap)))
    gained = better & jnp.isfinite(value)
    halt = jnp.where(gained, 0, int(Status.stagnation)).astype(jnp.int32)
    return FitState(
        jnp.where(gained, x, s.x),
        jnp.where(gained, -gradient, s.gap),
        evaluations,
        halt,
        jnp.where(gained, value, s.value),
        s.damping,
        s.growth,
    )
