"""Iterative refinement: what all direct methods share once A is factorised."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.staging import detached
from jaxsolve.core.status import Status
from jaxsolve.core.vector import plain_norm
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.judged_inverse import judged_inverse
from jaxsolve.solvers.method import AbstractMethod, State


class RefinementState(State):
    """The correction, its residual, and whether the factorisation failed."""

    x: Array
    r: Array
    residual_norm: Array
    halt: Array


class AbstractDirect(AbstractMethod):
    """A method that factorises A and refines: d += A⁻¹ r, r = r - A (A⁻¹ r) (Higham 2002, section 12).

    One sweep solves well conditioned systems; further ones recover digits that the factorisation lost. The driver
    passes the factorisation, made by `prepare`, in the place of the preconditioner.
    """

    cost: ClassVar[str] = "1 product and 1 substitution"
    storage: ClassVar[str] = "factors"
    preconditioned: ClassVar[bool] = False
    #: What a factorisation that yields infinities or NaN means.
    failure: ClassVar[Status] = Status.singular

    @abc.abstractmethod
    def prepare(self, A: LinearOperator) -> Any:
        """An operator that applies A⁻¹ (or the pseudo-inverse) by a factorisation."""

    def judged(self, A: LinearOperator) -> Any:
        """The same, with whether it shows A to be singular to working precision."""
        return judged_inverse(*detached((A, self.prepare(A))))

    def undetermined(self, M: Any) -> Array | None:
        return getattr(M, "singular", None)

    def start(self, A: LinearOperator, M: Any, r: Array) -> RefinementState:
        return RefinementState(jnp.zeros(A.shape[1], r.dtype), r, plain_norm(r), jnp.array(0))

    def step(self, A: LinearOperator, M: Any, s: Any) -> RefinementState:
        d = M.mv(s.r)
        finite = jnp.all(jnp.isfinite(d))
        d = jnp.where(finite, d, 0)
        r = s.r - A.mv(d)
        after = plain_norm(r)
        # The driver compares true residuals; here only a sweep that gains nothing ends the pass.
        stuck = jnp.where(after > 0.5 * s.residual_norm, int(Status.stagnation), 0)
        halt = jnp.where(finite, stuck, int(self.failure))
        better = after < s.residual_norm
        x = jnp.where(better, s.x + d, s.x)
        return RefinementState(x, jnp.where(better, r, s.r), jnp.where(better, after, s.residual_norm), halt)
