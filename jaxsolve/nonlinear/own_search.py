"""The search of a method from outside of the package: it chooses the steps, the package judges them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import norm
from jaxsolve.nonlinear.linearisation import inverse_of, linearised, solved
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.search_loop import AbstractSearch, State
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.nonlinear_methods import FIT, MINIMUM, AbstractNonlinearMethod


class NonlinearProblem(eqx.Module):
    """What a method may ask of the problem that it solves, on flat vectors of shape (n,)."""

    statement: Statement
    given: Given
    linear: Any

    @property
    def goal(self) -> str:
        """What is asked: "equations", "fixed points", "least squares" or "minima"."""
        return self.statement.goal

    def gap(self, x: Array) -> Array:
        """Minus the condition: y - f(x), g(x) - x, or -∇f."""
        return -self.statement.condition(self.given, x)

    def objective(self, x: Array) -> Array:
        """What is minimised, f(x) or ½‖r(x)‖²; of equations and fixed points ½‖gap‖²."""
        return self.statement.objective(self.given, x)

    def residuals(self, x: Array) -> Array:
        """r(x) of a least-squares problem; y - f(x) or g(x) - x."""
        return self.statement.value(self.given, x)

    def jacobian(self, x: Array) -> LinearOperator:
        """The derivative of the condition at x: of f, of x - g(x), or the Hessian."""
        return linearised(lambda z: -self.gap(z), x, self.linear)[0]

    def newton_step(self, x: Array, gap: Array, rtol: Any = 1e-4) -> Array:
        """The d of J d = gap with J the `jacobian`, by the linear request of the user or by choice of the package."""
        A, solve = linearised(lambda z: -self.gap(z), x, self.linear)
        return solved(A, solve, inverse_of(A, solve), gap, rtol).x


class OwnState(State):
    """The state of a method of one's own.

    Attributes:
        value: The objective at x, None where there is none.
        memory: What the method remembers.
    """

    value: Any
    memory: Any


class OwnSearch(AbstractSearch):
    """Steps of a method, with the condition evaluated at each iterate."""

    statement: Statement
    given: Given
    linear: Any
    method: AbstractNonlinearMethod

    @property
    def problem(self) -> NonlinearProblem:
        """The problem as the method sees it."""
        return NonlinearProblem(self.statement, self.given, self.linear)

    def start(self, x: Array) -> OwnState:
        gap, value = self._evaluated(x)
        one, zero = jnp.array(1, jnp.int32), jnp.array(0, jnp.int32)
        memory = jax.tree.map(jnp.asarray, self.method.start(self.problem, x))
        return OwnState(x, gap, one, zero, value, memory)

    def step(self, s: OwnState, target: Array) -> OwnState:
        x, memory = self.method.step(self.problem, s, target)
        gap, value = self._evaluated(x)
        # A step that leads nowhere will not lead anywhere the next time, unless something was learnt.
        stuck = jnp.all(x == s.x) & (norm(gap) > target) & _unchanged(memory, s.memory)
        halt = jnp.where(stuck, int(Status.stagnation), 0).astype(jnp.int32)
        return OwnState(x, gap, s.evaluations + 1, halt, value, memory)

    def _evaluated(self, x: Array) -> tuple[Array, Any]:
        if self.statement.goal not in (FIT, MINIMUM):
            return self.problem.gap(x), None
        value, gradient = self.statement.gradient(self.given, x)
        return -self.statement.projected(self.given, x, gradient), value


def _unchanged(after: Any, before: Any) -> Array:
    pairs = zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True)
    return jnp.all(jnp.array([jnp.all(a == b) for a, b in pairs] + [True]))
