"""Conjugate gradients, for Hermitian definite systems."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, real_dot, squared_norm
from jaxsolve.solvers.method import AbstractMethod, State


class CGState(State):
    """The iterate x, the residual r, the direction p, its image and their products."""

    x: Array
    r: Array
    p: Array
    Ap: Array
    rho: Array
    pAp: Array
    residual_norm: Array
    halt: Array
    positive: Array
    negative: Array


class CG(AbstractMethod):
    """Preconditioned conjugate gradients (Saad 2003, Algorithm 9.1).

    For symmetric or Hermitian, definite A and positive definite preconditioners. Five vectors of storage; one
    product with A, one preconditioner application and two (with a preconditioner three) dot products an iteration.
    Goes on through negative curvature, which a small indefinite system survives, and says so when it fails.
    """

    name: ClassVar[str] = "CG"
    needs: ClassVar[str] = "symmetric (Hermitian) positive definite"
    wants: ClassVar[tuple[str, ...]] = ("positive_definite",)
    storage: ClassVar[str] = "5"
    definite_preconditioner: ClassVar[bool] = True

    @property
    def start_products(self) -> int:
        return 1

    def start(self, A, M, r):
        z = r if M is None else M.mv(r)
        rr = squared_norm(r)
        rho = rr if M is None else real_dot(r, z)
        Ap = A.mv(z)
        no = jnp.array(False)
        return CGState(jnp.zeros_like(r), r, z, Ap, rho, real_dot(z, Ap), jnp.sqrt(rr), jnp.array(0), no, no)

    def step(self, A, M, s):
        # pᴴAp = 0 and rᴴz = 0 are the breakdowns; their signs are free of units.
        broken = (s.pAp == 0) | (s.rho == 0)
        alpha = s.rho / jnp.where(s.pAp == 0, jnp.inf, s.pAp)
        x = s.x + mul(alpha, s.p)
        r = s.r - mul(alpha, s.Ap)
        z = r if M is None else M.mv(r)
        rr = squared_norm(r)
        rho = rr if M is None else real_dot(r, z)
        p = z + mul(rho / jnp.where(s.rho == 0, jnp.inf, s.rho), s.p)
        # The product for the next step is made here: carried by the loop it is computed once, where XLA would fuse
        # it anew into each of its two uses. Costs one product a pass.
        Ap = A.mv(p)
        halt = jnp.where(broken, int(Status.breakdown), 0)
        # Curvature relative to rᴴz: a negative definite A keeps one sign throughout.
        curvature = s.pAp * s.rho
        positive, negative = s.positive | (curvature > 0), s.negative | (curvature < 0)
        return CGState(x, r, p, Ap, rho, real_dot(p, Ap), jnp.sqrt(rr), halt, positive, negative)

    def diagnose(self, s):
        return jnp.where(s.positive & s.negative, int(Status.negative_curvature), 0)
