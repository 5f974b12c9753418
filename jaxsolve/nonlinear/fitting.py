"""Searches by the model r + J d of residuals: Gauss-Newton along lines, and Levenberg-Marquardt.

Both measure steps in the units of parameter_units.py: parameters of a fit in other units give the same iterates.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, norm, squared_norm
from jaxsolve.nonlinear.linesearch import wolfe
from jaxsolve.nonlinear.model import Inner, Model, model_at, model_step
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.parameter_units import target_of
from jaxsolve.nonlinear.robust_cost import LEAST, eased_curvature
from jaxsolve.nonlinear.search_loop import AbstractSearch, State


class FitState(State):
    """The state with the model of the residuals.

    Attributes:
        model: Residuals, gradient and factors at x.
        first: ‖r‖ at the first guess, as it counts.
        metric: The largest sizes of the columns of J so far.
        damping: λ.
        growth: What λ grows by after the next failure.
        least: The least curvature of a loss in the next model.
    """

    model: Model
    first: Array
    metric: Array
    damping: Array
    growth: Array
    least: Array

    @property
    def value(self) -> Array:
        """½‖r‖², or the cost by a loss."""
        return self.model.value


class AbstractFit(AbstractSearch):
    """A search for the least ‖r‖, which ends where the columns of J explain only a small part of r."""

    linear: eqx.AbstractVar[Inner]
    descends: ClassVar[bool] = True

    def target(self, s: FitState, size: Array, reference: Array, rtol: Array) -> Array:
        """‖P r‖ <= rtol ‖r‖, or a rounding error where all of r vanishes."""
        return target_of(size, s.model.gain, s.model.allowed(s.first, rtol))

    def sizes(self, s: FitState) -> Array:
        """The norms of the columns of J."""
        return s.model.sizes

    def judged(self, s: FitState, status: Array) -> Array:
        """A loss that gives no weight to any residual is flat at x, which is no minimum."""
        if self.statement.loss is None:
            return status
        flat = ~jnp.any(s.model.sizes > 0) & (s.value > 0)
        return jnp.where(flat, int(Status.unweighted), status).astype(jnp.int32)

    def begun(self, x: Array, damping: float) -> FitState:
        """The state at the first guess."""
        model = model_at(self.statement, self.given, x, self.linear)
        one, zero = jnp.ones((), model.gain.dtype), jnp.array(0, jnp.int32)
        return FitState(
            x,
            -model.gradient,
            zero + 1,
            zero,
            model,
            model.size,
            model.units,
            damping * one,
            2 * one,
            LEAST * one,
        )

    def direction(self, s: FitState, target: Array) -> tuple[Array, Array]:
        """The step by the model, and what it cost."""
        active = norm(s.gap) > target
        return model_step(s.model, self.statement, self.given, s.x, self.linear, s.damping, s.metric, active)

    def moved(self, s: FitState, x: Array, evaluations: Array) -> tuple[FitState, Array, Array]:
        """The state at x if ½‖r‖² is less there, whether it is, and ½‖r‖² there."""
        model = model_at(self.statement, self.given, x, self.linear, least=s.least)
        value, before = model.value, s.value
        better = (value < before) | ((value <= before + s.model.slack) & (model.gain < s.model.gain))
        gained = better & jnp.isfinite(value)
        kept = _where(gained, model, s.model)
        metric = jnp.where(gained, jnp.maximum(s.metric, model.sizes), s.metric)
        x = jnp.where(gained, x, s.x)
        moved = FitState(
            x, -kept.gradient, evaluations, s.halt, kept, s.first, metric, s.damping, s.growth, s.least
        )
        return moved, gained, value


def _where(better: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)


class GaussNewtonSearch(AbstractFit):
    """x <- x + t d with d = argmin ‖r + J d‖."""

    statement: Statement
    given: Given
    linear: Inner

    def start(self, x: Array) -> FitState:
        return self.begun(x, 0.0)

    def step(self, s: FitState, target: Array) -> FitState:
        d, products = self.direction(s, target)
        slope = -dot(s.gap, d)
        downhill = slope < 0
        steepest = s.gap / s.model.units**2
        d = jnp.where(downhill, d, steepest)
        slope = jnp.where(downhill, slope, -dot(s.gap, steepest))
        posed, given, start = self.statement.near(self.given, s.x)
        end, _, _, tries = wolfe(posed, given, start, d, s.value, slope)
        x = end if posed is self.statement else self.statement.moved(self.given, s.x, end)
        moved, gained, _ = self.moved(s, x, s.evaluations + products + tries)
        halt = jnp.where(gained, 0, int(Status.stagnation)).astype(jnp.int32)
        return eqx.tree_at(lambda s: s.halt, moved, halt)


class LevenbergMarquardtSearch(AbstractFit):
    """x <- x + argmin ‖r + J d‖² + λ‖D d‖², with λ by how well the model predicts the decrease (Nielsen)."""

    statement: Statement
    given: Given
    linear: Inner
    first: float

    def start(self, x: Array) -> FitState:
        return self.begun(x, self.first)

    def step(self, s: FitState, target: Array) -> FitState:
        d, products = self.direction(s, target)
        moved, gained, value = self.moved(
            s, self.statement.moved(self.given, s.x, d), s.evaluations + products + 1
        )
        expected = (dot(d, s.gap) + s.damping * squared_norm(s.metric * d)) / 2
        loose = s.model.slack
        gain = (s.value - value + loose) / (jnp.maximum(expected, 0) + loose)
        damping, growth = eased(s.damping, s.growth, gained, gain)
        far = norm(s.metric * s.x) if self.statement.chart is None else s.model.reach
        tiny = norm(s.metric * d) <= jnp.finfo(d.dtype).eps * far
        lost = ~gained & (tiny | ~jnp.isfinite(damping))
        halt = jnp.where(lost, int(Status.stagnation), 0).astype(jnp.int32)
        least = eased_curvature(s.least, gained, gain)
        return eqx.tree_at(
            lambda s: (s.halt, s.damping, s.growth, s.least), moved, (halt, damping, growth, least)
        )


def eased(damping: Array, growth: Array, gained: Array, gain: Array) -> tuple[Array, Array]:
    """Nielsen's next damping, and what it grows by after a failure."""
    less = damping * jnp.maximum(1 / 3, 1 - (2 * jnp.where(gained, gain, 0) - 1) ** 3)
    return (
        jnp.where(gained, less, damping * growth).astype(damping.dtype),
        jnp.where(gained, 2, 2 * growth).astype(growth.dtype),
    )


class DampedState(State):
    """The state with the model, the largest sizes of columns, the damping and what that grows by after a failure."""

    model: Model
    metric: Array
    damping: Array
    growth: Array


class DampedNewtonSearch(AbstractSearch):
    """The same steps for equations r(x) = y - f(x) = 0, which end by ‖r‖ and not by its slope."""

    statement: Statement
    given: Given
    linear: Inner
    first: float

    def start(self, x: Array) -> DampedState:
        model = model_at(self.statement, self.given, x, self.linear)
        one, zero = jnp.ones((), model.gain.dtype), jnp.array(0, jnp.int32)
        return DampedState(x, model.residual, zero + 1, zero, model, model.units, self.first * one, 2 * one)

    def step(self, s: DampedState, target: Array) -> DampedState:
        d, products = model_step(
            s.model, self.statement, self.given, s.x, self.linear, s.damping, s.metric, norm(s.gap) > target
        )
        x = s.x + d
        model = model_at(self.statement, self.given, x, self.linear)
        old, new = norm(s.gap), norm(model.residual)
        # Relative to ‖r‖²: the decrease, and that of the model.
        safe = jnp.where(old > 0, old, 1)
        expected = s.damping * squared_norm(s.metric * d / safe) - dot(s.model.gradient / safe, d / safe)
        gain = (1 - (new / safe) ** 2) / jnp.maximum(expected, jnp.finfo(old.dtype).tiny)
        gained = new < old
        damping, growth = eased(s.damping, s.growth, gained, gain)
        tiny = norm(s.metric * d) <= jnp.finfo(x.dtype).eps * norm(s.metric * s.x)
        lost = ~gained & (tiny | ~jnp.isfinite(damping))
        kept = _where(gained, model, s.model)
        return DampedState(
            jnp.where(gained, x, s.x),
            kept.residual,
            s.evaluations + products + 1,
            jnp.where(lost, int(Status.stagnation), 0).astype(jnp.int32),
            kept,
            jnp.where(gained, jnp.maximum(s.metric, model.sizes), s.metric),
            damping,
            growth,
        )
