"""The conjugate residual method, for Hermitian systems that may be indefinite."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot_of_part, plain_norm, square_of_part, summed_together
from jaxsolve.solvers.krylov.basis import least, precondition, quotient
from jaxsolve.solvers.method import AbstractMethod, State


class CRState(State):
    """The iterate and its residual, the direction and its image.

    Attributes:
        x: The iterate.
        r: The residual.
        z: M r; None without a preconditioner.
        p: The direction.
        Ap: Its image.
        MAp: M A p; None without a preconditioner.
        norm: The largest ‖A p‖ / ‖p‖, a lower bound of ‖A‖.
        slope: ‖A z‖ / (‖A‖‖z‖).
    """

    x: Array
    r: Array
    z: Array | None
    p: Array
    Ap: Array
    MAp: Array | None
    norm: Array
    slope: Array
    residual_norm: Array
    halt: Array


class CR(AbstractMethod):
    """Preconditioned conjugate residuals.

    Minimises the residual (in the norm of the preconditioner) as minres does, by shorter recurrences. Where the
    residual has no curvature, rᴴA r = 0, there is no step, and the next direction is A p instead of r.

    Raises:
        NotConverged: Out of a solve: `singular` where A p is 0, `breakdown` where the preconditioner is not
            positive.

    Solves: A x = b with A of shape (n, n), Hermitian, definite or not, real or complex; the preconditioner positive
        definite.
    Cost: one product with A and one preconditioner application an iteration; 4 vectors of storage, 6 with a
        preconditioner.
    Source: Saad (2003), algorithm 6.20.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.diag(jnp.array([1.0, -2.0])), jnp.array([1.0, 2.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.CR())).tolist()]
    [1.0, -1.0]
    """

    name: ClassVar[str] = "CR"
    needs: ClassVar[str] = "symmetric (Hermitian), may be indefinite"
    wants: ClassVar[tuple[str, ...]] = ("hermitian",)
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "4"
    definite_preconditioner: ClassVar[bool] = True

    @property
    def start_products(self):
        return 1

    def start(self, A, M, r):
        z = precondition(M, r)
        Az = A.mv(z)
        norm = quotient(plain_norm(Az), plain_norm(z))
        slope = jnp.where(norm == 0, 0, jnp.ones_like(norm))
        kept = (None, None) if M is None else (z, M.mv(Az))
        return CRState(
            jnp.zeros_like(r), r, kept[0], z, Az, kept[1], norm, slope, plain_norm(r), jnp.array(0)
        )

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 6.20, in the inner product of M.
        MAp = s.Ap if M is None else s.MAp
        z = s.r if M is None else s.z
        square, along, image, direction = summed_together(
            dot_of_part(s.Ap, MAp).real, dot_of_part(s.Ap, z), square_of_part(s.Ap), square_of_part(z)
        )
        # The cosine of r and A p is how much a step gains; √eps of it is lost in rounding.
        tiny = jnp.sqrt(jnp.finfo(square.dtype).eps)
        flat = jnp.abs(along) <= tiny * jnp.sqrt(image) * jnp.sqrt(direction)
        alpha = jnp.where(flat, 0, quotient(along, square))  # 3: (A p, z) is (r, A r) there, before rounding
        x = s.x + alpha * s.p  # 4
        r = s.r - alpha * s.Ap  # 5
        z = r if M is None else z - alpha * MAp  # 5 times M
        z_next = jnp.where(flat, MAp, z)
        Az = A.mv(z_next)
        onto, image, direction, rr = summed_together(
            dot_of_part(MAp, Az), square_of_part(Az), square_of_part(z_next), square_of_part(r)
        )
        beta = quotient(onto, square)  # 6: minus his β, as (M A p, A p) = 0 for this p and the next
        p = z_next - beta * s.p  # 7
        Ap = Az - beta * s.Ap  # 8
        image = quotient(jnp.sqrt(image), jnp.sqrt(direction))
        norm = jnp.maximum(s.norm, image)
        slope = jnp.where(flat, 1, quotient(image, norm))
        kept = (None, None) if M is None else (z, M.mv(Ap))
        halt = jnp.where(least(slope), int(Status.stagnation), 0)
        halt = jnp.where(square == 0, int(Status.singular), halt)
        halt = jnp.where(square < 0, int(Status.breakdown), halt)
        return CRState(x, r, kept[0], p, Ap, kept[1], norm, slope, jnp.sqrt(rr), halt)

    def slope(self, s):
        return s.slope

    def true_slope(self, A, M, s, r):
        z = precondition(M, r)
        return quotient(plain_norm(A.mv(z)), s.norm * plain_norm(z))
