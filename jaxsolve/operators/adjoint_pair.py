"""Operators inside loops: an operator beside its adjoint, a product where it is asked for."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.shards import while_loop
from jaxsolve.core.traits import Traits
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operator import LinearOperator, Wrapper


class Paired(Wrapper):
    """An operator beside its adjoint: made once, for loops that apply both."""

    operator: LinearOperator
    opposite: LinearOperator

    @property
    def traits(self) -> Traits:
        """The facts of the operator."""
        return self.operator.traits

    def mv(self, x: Array) -> Array:
        """The product A x."""
        return self.operator.mv(x)

    def on_host(self) -> HostOperator:
        """The products of the operator."""
        return self.operator.on_host()

    def transpose(self) -> LinearOperator:
        """The conjugate of the adjoint."""
        return self.opposite.conj()

    def adjoint(self) -> LinearOperator:
        """The adjoint, with the operator beside it."""
        return Paired(self.opposite, self.operator)


def product_if(condition: Array, A: LinearOperator, x: Array) -> Array:
    """A x where the scalar condition holds, else zeros; under vmap no product is made unless one lane asks.

    Behind a branch the product is computed once and stored; XLA would fuse it into a maximum or norm of it, which on a
    CPU takes a stencil on 1024² points from 3 to 20 ms. The branch is a loop of at most one round, since under vmap
    `lax.cond` becomes a choice between both sides.
    """
    image = jax.eval_shape(A.mv, x)
    start = (jnp.asarray(condition), jnp.zeros(image.shape, image.dtype))
    return while_loop(lambda carry: carry[0], lambda carry: (jnp.array(False), A.mv(x)), start)[1]
