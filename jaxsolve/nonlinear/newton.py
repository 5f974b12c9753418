"""Newton's method for equations: inexact linear solves, a line search, and pseudo-time where that is not enough."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.front.request import Solve
from jaxsolve.nonlinear.linearisation import inverse_of, lasts, linearised, solved
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.search_loop import AbstractSearch, State
from jaxsolve.operators.operator import LinearOperator

#: Forcing terms (Eisenstat & Walker): of the first linear solve, the largest one, and γ. Far from the solution the
#: model is not worth more: with 0.1 as the first, Bratu's problem takes a quarter more linear iterations.
FIRST, LARGEST, FACTOR = 0.5, 0.5, 0.9
#: Sufficient decrease, and the shortest step that is tried.
DECREASE, SHORTEST = 1e-4, 1e-10
#: The linear solve of a second try, where the step of the first one gained nothing.
EXACT = 1e-8
#: A preconditioner is made anew after a linear solve of more iterations than this.
PATIENCE = 15
#: A time step grows by this even where the residual does not fall: with 1, δ is δ₀ ‖r₀‖ / ‖r‖, and a layer of Burgers'
#: equation on 2000 points that has to form first (‖r‖ stays) takes more than 1000 steps; with 1.1 it takes 64, with 2
#: 16.
HURRY = 2
#: A residual that grows by more than this in one step has left the path in time, and the step is made shorter.
LEAP = 10


class NewtonState(State):
    """The state of the linear solves.

    Attributes:
        forcing: The tolerance of the next one.
        inverse: The preconditioner, kept from step to step.
        stale: Whether it has to be made anew.
    """

    forcing: Array
    inverse: Any
    stale: Array


class NewtonSearch(AbstractSearch):
    """Inexact Newton steps, shortened until ‖y - f(x)‖ falls."""

    statement: Statement
    given: Given
    linear: Any

    def start(self, x: Array) -> NewtonState:
        gap = self.statement.value(self.given, x)
        real = jnp.finfo(gap.dtype).dtype
        one, zero = jnp.array(1, jnp.int32), jnp.array(0, jnp.int32)
        return NewtonState(x, gap, one, zero, jnp.array(FIRST, real), self._empty(x), jnp.array(True))

    def _linearised(self, x: Array) -> tuple[LinearOperator, Solve]:
        return linearised(lambda z: -self.statement.value(self.given, z), x, self.linear)

    def _empty(self, x: Array) -> Any:
        """Room for a preconditioner."""

        def made(x):
            A, solve = self._linearised(x)
            return inverse_of(A, solve) if lasts(A, solve) else None

        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(made, x))

    def step(self, s: NewtonState, target: Array) -> NewtonState:
        A, solve = self._linearised(s.x)
        if lasts(A, solve):
            inverse = lax.cond(s.stale, lambda: inverse_of(A, solve), lambda: s.inverse)
        else:
            inverse = inverse_of(A, solve)
        size = norm(s.gap)
        # More accuracy than the target of x asks for is wasted.
        forcing = jnp.maximum(s.forcing, 0.5 * target / jnp.where(size > 0, size, 1))
        # A lane of a vmap that is done solves for zero while others go on.
        rhs = jnp.where((size <= target) | (s.halt != 0), 0, s.gap)
        inner = solved(A, solve, inverse, rhs, jnp.minimum(forcing, LARGEST))
        x, gap, tries = line_search(self.statement, self.given, s.x, inner.x, s.gap)
        new = norm(gap)
        gained = new < size
        evaluations = s.evaluations + inner.evaluations + tries
        ratio = jnp.where(gained, new, size) / jnp.where(size > 0, size, 1)
        # Eisenstat & Walker (2.6) with the safeguard against forcing terms that fall too fast.
        kept = FACTOR * s.forcing**2
        eased = jnp.maximum(FACTOR * ratio**2, jnp.where(kept > 0.1, kept, 0))
        eased = jnp.clip(eased, EXACT, LARGEST).astype(s.forcing.dtype)
        again = ~gained & (s.forcing > EXACT)
        halt = jnp.where(gained | again, 0, _reason(inner.status)).astype(jnp.int32)
        forcing = jnp.where(gained, eased, EXACT).astype(s.forcing.dtype)
        stale = ~gained | (inner.status != int(Status.converged)) | (inner.iterations > PATIENCE)
        x, gap = jnp.where(gained, x, s.x), jnp.where(gained, gap, s.gap)
        kept_inverse = inverse if lasts(A, solve) else s.inverse
        return NewtonState(x, gap, evaluations, halt, forcing, kept_inverse, stale)


def _reason(status: Array) -> Array:
    singular = (status == int(Status.singular)) | (status == int(Status.inconsistent))
    return jnp.where(singular, int(Status.singular), int(Status.stagnation))


def line_search(
    statement: Statement, given: Given, x: Array, d: Array, gap: Array
) -> tuple[Array, Array, Array]:
    """The first point of x + t d, t = 1, ..., at which the residual is smaller; its residual; evaluations.

    The next t minimises the parabola through ‖r(0)‖², its slope and ‖r(t)‖², within [t/10, t/2].
    """
    size = norm(gap)
    real = size.dtype

    def rejected(carry):
        t, _, _, new, tries = carry
        return (tries == 0) | (~(new <= (1 - DECREASE * t) * size) & (t > SHORTEST))

    def shorten(t, new):
        square = (jnp.where(jnp.isfinite(new), new, 0) / jnp.where(size > 0, size, 1)) ** 2
        best = t**2 / jnp.maximum(square - 1 + 2 * t, jnp.finfo(real).tiny)
        return jnp.where(jnp.isfinite(new), jnp.clip(best, 0.1 * t, 0.5 * t), 0.1 * t)

    # The first trial is a turn of the loop too, so that the program holds the function once.
    def trial(carry):
        t, _, _, new, tries = carry
        t = jnp.where(tries == 0, t, shorten(t, new))
        z = x + (t * d).astype(x.dtype)
        value = statement.value(given, z)
        return t, z, value, norm(value), tries + 1

    begin = (jnp.ones((), real), x, gap, size, jnp.array(0, jnp.int32))
    _, z, value, _, tries = lax.while_loop(rejected, trial, begin)
    return z, value, tries


class TransientState(State):
    """The state with the length of the next time step."""

    duration: Array


class TransientSearch(AbstractSearch):
    """Implicit Euler steps with switched evolution relaxation: δ grows steadily, and as the residual falls."""

    statement: Statement
    given: Given
    linear: Any
    first: float

    def start(self, x: Array) -> TransientState:
        gap, slope = jax.linearize(lambda z: self.statement.value(self.given, z), x)
        # The unit of time is 1 over the derivative of f along the residual.
        size, change = norm(gap), norm(slope(gap))
        unit = jnp.where((size > 0) & (change > 0), size / jnp.where(change > 0, change, 1), 1)
        zero = jnp.array(0, jnp.int32)
        return TransientState(x, gap, zero + 2, zero, self.first * unit)

    def step(self, s: TransientState, target: Array) -> TransientState:
        rate = (1 / s.duration).astype(s.x.dtype)

        def condition(z):
            return -self.statement.value(self.given, z) + rate * (z - s.x)

        A, solve = linearised(condition, s.x, self.linear)
        size = norm(s.gap)
        rhs = jnp.where((size <= target) | (s.halt != 0), 0, s.gap)
        inner = solved(A, solve, inverse_of(A, solve), rhs, 1e-3)
        x = s.x + inner.x
        gap = self.statement.value(self.given, x)
        new = norm(gap)
        # A step to infinity or NaN, or a leap, is taken back and tried with a tenth of the time.
        sound = new <= LEAP * size
        growth = jnp.where(sound, HURRY * size / jnp.where(new > 0, new, 1), 0.1)
        duration = s.duration * jnp.clip(growth, 0.1, 10 * HURRY).astype(s.duration.dtype)
        lost = ~sound & (norm(inner.x) <= jnp.finfo(x.dtype).eps * norm(s.x))
        halt = jnp.where(lost, int(Status.stagnation), 0).astype(jnp.int32)
        evaluations = s.evaluations + inner.evaluations + 1
        return TransientState(
            jnp.where(sound, x, s.x), jnp.where(sound, gap, s.gap), evaluations, halt, duration
        )
