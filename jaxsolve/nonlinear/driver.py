"""The one nonlinear loop: steps of a search until its condition is small, or until it is known why not."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.nonlinear.statement import Given, Statement
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.nonlinear import FIT, MINIMUM
from jaxsolve.telemetry.watch import Watch

#: Growth of the residual over its start that is called divergence.
GROWTH = 1e5
#: The residual is rounding below this times what it changes by when x changes in its last digit.
ROUNDING = 8
#: The change of x by which that is measured, in units of its last digit.
DIGITS = 64


class State(eqx.Module):
    """What one step of a search hands to the next.

    Attributes:
        x: The iterate, shape (n,).
        gap: Minus the condition at x, shape (n,): y - f(x), g(x) - x or -∇f.
        evaluations: Evaluations of the function, its products and its gradients so far.
        halt: 0 while the search can go on, else the `Status` that tells why it cannot.
    """

    x: Array
    gap: Array
    evaluations: Array
    halt: Array


class AbstractSearch(eqx.Module):
    """A nonlinear method at work on a problem."""

    statement: eqx.AbstractVar[Statement]
    given: eqx.AbstractVar[Given]

    @abc.abstractmethod
    def start(self, x: Array) -> Any:
        """The state at the first guess."""

    @abc.abstractmethod
    def step(self, s: Any, target: Array) -> Any:
        """The state after one more step; `target` is the norm at which the search will end."""


def iterate(search: AbstractSearch, x0: Array, scale: Array, control: Control, watch: Watch) -> Outcome:
    """Runs a search until ‖condition‖ <= max(rtol max(scale, ‖condition at x0‖), atol).

    Args:
        search: What to run.
        x0: First guess, shape (n,).
        scale: ‖y‖ for equations, otherwise 0.
        control: Tolerances and limit.
        watch: What observes the loop.
    """
    s = search.start(x0)
    first = norm(s.gap)
    target = jnp.maximum(control.rtol * jnp.maximum(scale, first), control.atol).astype(first.dtype)
    limit = GROWTH * jnp.maximum(first, scale)

    def running(carry):
        k, s, size, _ = carry
        # A NaN compares false and stops.
        return (size > target) & (size <= limit) & (s.halt == 0) & (k < control.max_iterations)

    def advance(carry):
        k, s, _, seen = carry
        s = search.step(s, target)
        size = norm(s.gap)
        seen = watch.note(seen, k, k + 1, lambda: size, target, lambda: s.x)
        return k + 1, s, size, seen

    begin = (jnp.array(0, jnp.int32), s, first, watch.start(s.x, first))
    k, s, size, seen = lax.while_loop(running, advance, begin)
    status = jnp.where(size <= limit, int(Status.max_iterations), int(Status.divergence))
    status = jnp.where(s.halt != 0, s.halt, status)
    status = jnp.where(jnp.isfinite(size), status, int(Status.nonfinite))
    status = jnp.where(jnp.isfinite(first), status, int(Status.invalid_input))
    status, target = settled(search.statement, search.given, s.x, s.gap, size, target, status)
    trajectory = watch.end(seen, k, size, target)
    objective = s.value if search.statement.goal in (FIT, MINIMUM) else None
    return Outcome(s.x, s.gap, size, target, k, s.evaluations, status, trajectory, objective)


def settled(
    statement: Statement, given: Given, x: Array, gap: Array, size: Array, target: Array, status: Array
) -> tuple[Array, Array]:
    """The status and the tolerance, raised to the rounding level where a search ended at it.

    What changes by as much when x changes in its last digit cannot be made smaller by any x of this dtype. The change
    is taken over more than one digit, of which it is a part, and is the smaller one of those to either side: across a
    jump or a kink, a change is no rounding.
    """
    # Of what is infinite at the start the tolerance is infinite as well.
    status = jnp.where((size <= target) & jnp.isfinite(size), int(Status.converged), status).astype(jnp.int32)
    stuck = (status != int(Status.converged)) & (status != int(Status.max_iterations)) & jnp.isfinite(size)

    def noise():
        signs = 1 - 2 * (jnp.arange(x.shape[0]) % 2)
        step = (DIGITS * jnp.finfo(x.dtype).eps * signs).astype(x.dtype)
        sides = lax.map(lambda z: statement.condition(given, z), x * (1 + jnp.stack([step, -step])))
        return ROUNDING / DIGITS * norm(jnp.min(jnp.abs(sides + gap), axis=0))

    floor = lax.cond(stuck, noise, lambda: jnp.zeros_like(size))
    reached = stuck & (size <= floor)
    return (
        jnp.where(reached, int(Status.converged), status).astype(jnp.int32),
        jnp.where(reached, size, target),
    )
