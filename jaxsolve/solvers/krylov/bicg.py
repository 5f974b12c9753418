"""The biconjugate gradient method, for any square system with an adjoint."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot, dot_of_part, plain_norm, square_of_part, summed_together
from jaxsolve.solvers.krylov.basis import negligible, precondition, quotient
from jaxsolve.solvers.method import AbstractMethod, State


class BiCGState(State):
    """Iterate, residual and direction, with the residual and direction of the adjoint system."""

    x: Array
    r: Array
    p: Array
    shadow_r: Array
    shadow_p: Array
    rho: Array
    residual_norm: Array
    halt: Array


class BiCG(AbstractMethod):
    """Preconditioned biconjugate gradients.

    Makes the residual orthogonal to the Krylov space of Aᴴ, by the recurrences of CG for A and Aᴴ together.

    Raises:
        NotConverged: Out of a solve: `breakdown` where the directions, or the residuals, are orthogonal to their
            shadows.

    Solves: A x = b with A of shape (n, n), real or complex, whose adjoint can be applied.
    Cost: one product with A, one with its adjoint, and as many preconditioner applications an iteration; 5 vectors
        of storage.
    Source: Fletcher (1976); Saad (2003), algorithm 7.3.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([4.0, 8.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.BiCG())).tolist()]
    [1.0, 2.0]
    """

    name: ClassVar[str] = "biCG"
    needs: ClassVar[str] = "square, with its adjoint"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "5"
    cost: ClassVar[str] = "1 product, 1 adjoint product"
    adjoint: ClassVar[bool] = True

    @property
    def products(self):
        return 2

    def start(self, A, M, r):
        z = precondition(M, r)
        shadow_z = r if M is None else M.H.mv(r)  # 1, 2: r* = r, p = z = M r, p* = z* = Mᴴ r*
        return BiCGState(jnp.zeros_like(r), r, z, r, shadow_z, dot(r, z), plain_norm(r), jnp.array(0))

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 7.3, preconditioned: z and z* stand for r and r* in 8 to 10.
        q, shadow_q = A.mv(s.p), A.H.mv(s.shadow_p)
        sigma, along, image = summed_together(
            dot_of_part(s.shadow_p, q), square_of_part(s.shadow_p), square_of_part(q)
        )
        # The two breakdowns: the directions, or the residuals, are orthogonal to their shadows.
        broken = negligible(sigma, jnp.sqrt(along) * jnp.sqrt(image))
        alpha = jnp.where(broken, 0, quotient(s.rho, sigma))  # 4: α = (z, r*) / (A p, p*)
        x = s.x + alpha * s.p  # 5
        r = s.r - alpha * q  # 6
        shadow_r = s.shadow_r - jnp.conj(alpha) * shadow_q  # 7: r* = r* - ᾱ Aᴴp*
        z = precondition(M, r)
        shadow_z = shadow_r if M is None else M.H.mv(shadow_r)
        rho, of_shadow, of_z, rr = summed_together(
            dot_of_part(shadow_r, z), square_of_part(shadow_r), square_of_part(z), square_of_part(r)
        )
        beta = quotient(rho, s.rho)  # 8: β = (z, r*) / (z, r* before)
        broken |= negligible(rho, jnp.sqrt(of_shadow) * jnp.sqrt(of_z))
        halt = jnp.where(broken, int(Status.breakdown), 0)
        p, shadow_p = z + beta * s.p, shadow_z + jnp.conj(beta) * s.shadow_p  # 9, 10
        return BiCGState(x, r, p, shadow_r, shadow_p, rho, jnp.sqrt(rr), halt)
