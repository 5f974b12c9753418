"""The one nonlinear loop: steps of a search until its condition is small, or the search cannot go on."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.nonlinear_methods import FIT, MINIMUM
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
    #: Whether `reviewed` does anything.
    reviews: ClassVar[bool] = False
    #: Whether what is minimised never grows: a gradient that does is no divergence then, but a way to a steeper place.
    descends: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, x: Array) -> Any:
        """The state at the first guess."""

    @abc.abstractmethod
    def step(self, s: Any, target: Array) -> Any:
        """The state after one more step; `target` is the norm at which the search will end."""

    def target(self, s: Any, size: Array, reference: Array, rtol: Array) -> Array:
        """The norm of the gap at which the search ends.

        Args:
            s: The state.
            size: The norm of its gap.
            reference: The norm of y, or that of the gap at the first guess if it is larger.
            rtol: The relative tolerance.
        """
        return rtol * reference

    def reviewed(self, s: Any) -> Any:
        """The state with new units; called before the search, and where it seems to be over."""
        return s

    def sizes(self, s: Any) -> Array | float:
        """The sizes by which entries of the gap are divided before they are compared."""
        return 1.0

    def judged(self, s: Any, status: Array) -> Array:
        """The status at the end, where the search knows more than that its condition is small."""
        return status


def iterate(search: AbstractSearch, x0: Array, scale: Array, control: Control, watch: Watch) -> Outcome:
    """Runs a search until the norm of its condition reaches the target, or the search cannot go on.

    Args:
        search: What to run.
        x0: First guess, shape (n,).
        scale: ‖y‖ for equations, otherwise 0.
        control: Tolerances and limit.
        watch: What observes the loop.
    """
    s = search.start(x0)
    first = norm(s.gap)
    reference = jnp.maximum(scale, first)
    limit = jnp.full_like(reference, jnp.inf) if search.descends else GROWTH * reference

    def measured(s: Any) -> tuple[Array, Array]:
        size = norm(s.gap)
        target = search.target(s, size, reference, control.rtol)
        return size, jnp.maximum(target, control.atol).astype(size.dtype)

    def running(carry):
        k, s, size, target, _ = carry
        # A NaN compares false and stops.
        return (size > target) & (size <= limit) & (s.halt == 0) & (k < control.max_iterations)

    def advance(carry):
        k, s, _, target, seen = carry
        s = search.step(s, target)
        size, target = measured(s)
        seen = watch.note(seen, k, k + 1, lambda: size, target, lambda: s.x)
        return k + 1, s, size, target, seen

    def searched(carry):
        _, (before, s, *_, seen) = carry
        s = search.reviewed(s)
        after = lax.while_loop(running, advance, (before, s, *measured(s), seen))
        k, s, size, target, _ = after
        # The result is judged in the units at x.
        again = search.reviews & (k > before) & (size <= target)
        return again, after

    begin = (jnp.array(0, jnp.int32), s, *measured(s), watch.start(s.x, first))
    if search.reviews:
        _, carry = lax.while_loop(lambda carry: carry[0], searched, (jnp.array(True), begin))
    else:
        carry = lax.while_loop(running, advance, begin)
    k, s, size, target, seen = carry
    status = jnp.where(size <= limit, int(Status.max_iterations), int(Status.divergence))
    status = jnp.where(s.halt != 0, s.halt, status)
    status = jnp.where(jnp.isfinite(size), status, int(Status.nonfinite))
    status = jnp.where(jnp.isfinite(first), status, int(Status.invalid_input))
    status, target = settled(
        search.statement, search.given, s.x, s.gap, size, target, status, search.sizes(s)
    )
    status = search.judged(s, status)
    trajectory = watch.end(seen, k, size, target)
    objective = s.value if search.statement.goal in (FIT, MINIMUM) else None
    return Outcome(s.x, s.gap, size, target, k, s.evaluations, status, trajectory, objective)


def settled(
    statement: Statement,
    given: Given,
    x: Array,
    gap: Array,
    size: Array,
    target: Array,
    status: Array,
    sizes: Array | float = 1.0,
) -> tuple[Array, Array]:
    """The status and the tolerance, raised to the rounding level where a search ended at it.

    What changes by as much when x changes in its last digit cannot be made smaller by any x of this dtype. The change
    is taken over more than one digit, of which it is a part, and is the smaller one of those to either side: across a
    jump or a kink, a change is no rounding.
    """
    # Of what is infinite at the start the tolerance is infinite as well. A comparison with NaN is a number again, and
    # may meet it.
    status = jnp.where(jnp.all(jnp.isfinite(x)), status, jnp.maximum(status, int(Status.nonfinite)))
    sound = jnp.isfinite(size) & jnp.all(jnp.isfinite(x))
    status = jnp.where((size <= target) & sound, int(Status.converged), status).astype(jnp.int32)
    stuck = (status != int(Status.converged)) & (status != int(Status.max_iterations)) & sound

    def noise():
        signs = (1 - 2 * (jnp.arange(x.shape[0]) % 2)).astype(x.dtype)
        step = DIGITS * jnp.finfo(x.dtype).eps * signs
        near = jnp.stack([x * (1 + step), x * (1 - step)])
        sides = lax.map(lambda z: statement.condition(given, z), near)
        return ROUNDING / DIGITS * norm(jnp.min(jnp.abs(sides + gap[None]), axis=0) * weights)

    weights = jnp.where(jnp.asarray(sizes) > 0, 1 / sizes, 0).astype(size.dtype)
    floor = lax.cond(stuck, noise, lambda: jnp.zeros_like(size))
    reached = stuck & (norm(gap * weights) <= floor)
    return (
        jnp.where(reached, int(Status.converged), status).astype(jnp.int32),
        jnp.where(reached, size, target),
    )
