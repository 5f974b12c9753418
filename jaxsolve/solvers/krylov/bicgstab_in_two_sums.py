"""Bi-CGSTAB with two sums over all devices an iteration, for vectors that lie on several."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot_of_part, square_of_part, squared_norm, summed_together
from jaxsolve.solvers.krylov.basis import negligible, precondition, quotient, right
from jaxsolve.solvers.method import AbstractMethod, State


class BiCGStabInTwoSumsState(State):
    """The iterate (before the preconditioner), its residual and what the next step takes from them.

    Attributes:
        x: The iterate.
        r: The residual.
        shadow: The shadow residual.
        shadow_norm: Its norm.
        u: The direction.
        rho: (r̃, r).
        old: -ω (r̃, r) of the step before.
        alpha: The length of the last step along u.
    """

    x: Array
    r: Array
    shadow: Array
    shadow_norm: Array
    u: Array
    rho: Array
    old: Array
    alpha: Array
    residual_norm: Array
    halt: Array


class BiCGStabInTwoSums(AbstractMethod):
    """Bi-CGSTAB, preconditioned from the right, whose inner products come in two groups.

    The iterates of `BiCGStab(l=1)` in exact arithmetic: what that finds of the new residual follows here from inner
    products of the two vectors of which it is made.

    Cost: 2 products with A and as many preconditioner applications an iteration, in two sums seven inner products; 7
        vectors of storage.
    Source: van der Vorst (1992); Yang and Brent, The improved BiCGStab method for large and sparse unsymmetric linear
        systems on parallel distributed memory architectures (2002), goes on to one sum.
    """

    name: ClassVar[str] = "biCG-stab"
    spreads: ClassVar[bool] = True

    @property
    def products(self):
        return 2

    def start(self, A, M, r):
        rr, zeros = squared_norm(r), jnp.zeros_like(r)
        norm, rho = jnp.sqrt(rr), rr.astype(r.dtype)
        one = jnp.ones_like(rho)
        return BiCGStabInTwoSumsState(
            zeros, r, r, norm, zeros, rho, one, jnp.zeros_like(one), norm, jnp.array(0)
        )

    def step(self, A, M, s):
        B = right(A, M)
        u = s.r - s.alpha * quotient(s.rho, s.old) * s.u  # u = r - β u, β = -α ρ / (ω ρ')
        Au = B.mv(u)
        gamma, size = summed_together(dot_of_part(s.shadow, Au), square_of_part(Au))
        broken = negligible(gamma, s.shadow_norm * jnp.sqrt(size))
        alpha = jnp.where(broken, 0, quotient(s.rho, gamma))  # α = (r̃, r) / (r̃, A u)
        half = s.r - alpha * Au
        t = B.mv(half)
        hh, tt, th, of_half, of_t = summed_together(
            square_of_part(half),
            square_of_part(t),
            dot_of_part(t, half),
            dot_of_part(s.shadow, half),
            dot_of_part(s.shadow, t),
        )
        omega = quotient(th, tt.astype(th.dtype))  # ω = (t, half) / (t, t)
        x = s.x + alpha * u + omega * half
        r = half - omega * t
        # ‖r‖² by Pythagoras, as r is orthogonal to t; below this share of ‖half‖² it is rounding.
        rr = jnp.maximum(hh - jnp.square(jnp.abs(omega)) * tt, jnp.finfo(hh.dtype).eps * hh)
        halt = jnp.where(broken | (omega == 0), int(Status.breakdown), 0)
        rho = of_half - omega * of_t  # (r̃, r)
        return BiCGStabInTwoSumsState(
            x, r, s.shadow, s.shadow_norm, u - omega * Au, rho, -omega * s.rho, alpha, jnp.sqrt(rr), halt
        )

    def finish(self, A, M, s):
        return precondition(M, s.x)
