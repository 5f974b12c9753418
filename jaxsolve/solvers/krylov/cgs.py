"""The conjugate gradient squared method, for any square system without an adjoint."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot_of_part, square_of_part, squared_norm, summed_together
from jaxsolve.solvers.krylov.basis import negligible, precondition, quotient, right
from jaxsolve.solvers.method import AbstractMethod, State


class CGSState(State):
    """Iterate (before the preconditioner), residual, shadow residual and the two directions u and p."""

    x: Array
    r: Array
    shadow: Array
    u: Array
    p: Array
    rho: Array
    residual_norm: Array
    halt: Array


class CGS(AbstractMethod):
    """Conjugate gradients squared, preconditioned from the right.

    Converges twice as fast as biCG where that converges well, and irregularly where it does not.

    Raises:
        NotConverged: Out of a solve: `breakdown` where A p, or the residual, is orthogonal to the shadow residual.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone.
    Cost: two products with A and two preconditioner applications an iteration; 5 vectors of storage.
    Source: Sonneveld (1989); Saad (2003), algorithm 7.6.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([4.0, 8.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.CGS())).tolist()]
    [1.0, 2.0]
    """

    name: ClassVar[str] = "CGS"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "5"
    cost: ClassVar[str] = "2 products"

    @property
    def products(self):
        return 2

    def start(self, A, M, r):
        rr = squared_norm(r)
        return CGSState(jnp.zeros_like(r), r, r, r, r, rr.astype(r.dtype), jnp.sqrt(rr), jnp.array(0))

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 7.6, with A M for his A.
        B = right(A, M)
        v = B.mv(s.p)
        sigma, size, image = summed_together(
            dot_of_part(s.shadow, v), square_of_part(s.shadow), square_of_part(v)
        )
        size = jnp.sqrt(size)
        broken = negligible(sigma, size * jnp.sqrt(image))
        alpha = jnp.where(broken, 0, quotient(s.rho, sigma))  # 4: α = (r, r*) / (A p, r*)
        q = s.u - alpha * v  # 5: q = u - α A p
        x = s.x + alpha * (s.u + q)  # 6
        r = s.r - alpha * B.mv(s.u + q)  # 7
        rho, rr = summed_together(dot_of_part(s.shadow, r), square_of_part(r))
        beta = quotient(rho, s.rho)  # 8: β = (r, r*) / (r, r* before)
        u = r + beta * q  # 9
        p = u + beta * (q + beta * s.p)  # 10
        r_norm = jnp.sqrt(rr)
        broken |= negligible(rho, size * r_norm)
        halt = jnp.where(broken, int(Status.breakdown), 0)
        return CGSState(x, r, s.shadow, u, p, rho, r_norm, halt)

    def finish(self, A, M, s):
        return precondition(M, s.x)
