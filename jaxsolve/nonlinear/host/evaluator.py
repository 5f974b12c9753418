"""Oracle: what SciPy asks of a problem, answered by JAX."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.memo import compiled
from jaxsolve.nonlinear.host.limits import Limits
from jaxsolve.nonlinear.host.scipy import PRODUCT, SIZES, VALUE
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement
from jaxsolve.nonlinear.parameter_units import curvature_sizes
from jaxsolve.solvers.nonlinear_methods import FIT

#: Numbers of iterations of shape (k,), -1 where there are none, and iterates of shape (k, n).
Path = tuple[Array, Array]
#: The norm of the condition that is asked for, the relative and the absolute tolerance, the iterations allowed.
Numbers = tuple[Array, Array, Array, Array]


class Found(NamedTuple):
    """What a search by SciPy ended with: code of host.scipy, sizes of the unknowns, a path where one is asked for."""

    x: Array
    sizes: Array
    iterations: Array
    evaluations: Array
    code: Array
    path: Path | None


@dataclasses.dataclass(frozen=True)
class Oracle:
    """Values, derivatives and constraints of a problem at the points of a search. Static under jit.

    Attributes:
        statement: The problem.
        limits: Its constraints, None for none.
    """

    statement: Statement
    limits: Limits | None

    def answer(self, kind: int, given: Given, x: Array, v: Array) -> tuple[Array, ...]:
        """The answer to a question of one kind, at x; v is the direction of a product, or the gradient at x0."""
        statement, limits = self.statement, self.limits
        if kind == VALUE and statement.goal == FIT:
            residual, J = jax.linearize(lambda x: statement.value(given, x), x)
            return residual, jax.vmap(J, out_axes=1)(jnp.eye(x.shape[0], dtype=x.dtype))
        if kind == VALUE:
            return statement.gradient(given, x)
        if kind == SIZES:
            return (curvature_sizes(statement, given, x, *statement.gradient(given, x), v),)
        if kind == PRODUCT:
            return (jax.jvp(lambda x: statement.gradient(given, x)[1], (x,), (v,))[1],)
        assert limits is not None

        def constraint(x: Array) -> Array:
            return limits.value(given.constants, x)

        return constraint(x), jax.jacobian(constraint)(x)

    @functools.partial(compiled, static=2)
    def compiled(self, kind: int, given: Given, x: Array, v: Array) -> tuple[Array, ...]:
        """The same by a program of its own."""
        return self.answer(kind, given, x, v)
