"""Conjugate gradients that choose every direction anew, for nearly symmetric or indefinite systems."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import dot_of_part, plain_norm, square_of_part, summed_together
from jaxsolve.solvers.krylov.basis import precondition, quotient
from jaxsolve.solvers.method import AbstractMethod, State


class AdaptiveCGState(State):
    """The iterate x, the residual r, the direction p."""

    x: Array
    r: Array
    p: Array
    residual_norm: Array
    halt: Array


class AdaptiveCG(AbstractMethod):
    """Conjugate gradients with step lengths and directions from inner products with the present vectors.

    The step is the exact Galerkin step along p, and the next direction is made A-orthogonal to p explicitly.
    Neither relies on relations that hold only for symmetric A and in exact arithmetic. Where p has no curvature,
    the step minimises the residual, and the next direction is A p (Luenberger 1970 met the same case with a pair).

    Raises:
        NotConverged: Out of a solve: `singular` where A p is 0.

    Solves: A x = b with A of shape (n, n), Hermitian or nearly so, definite or not, real or complex.
    Cost: one product with A, one preconditioner application, six inner products an iteration; 3 vectors of storage.
    Source: Saad (2003), section 6.7, with the orthogonality made explicit.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([1.0, 0.0])  # bᵀA b = 0: CG breaks down
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.AdaptiveCG())).tolist()]
    [0.0, 1.0]
    """

    name: ClassVar[str] = "CG-adaptive"
    needs: ClassVar[str] = "symmetric (Hermitian) or nearly so, may be indefinite"
    wants: ClassVar[tuple[str, ...]] = ("hermitian",)
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "3"

    def start(self, A, M, r):
        return AdaptiveCGState(jnp.zeros_like(r), r, precondition(M, r), plain_norm(r), jnp.array(0))

    def step(self, A, M, s):
        p, Ap = s.p, A.mv(s.p)
        pAp, ApAp, pp, pr, Apr = summed_together(
            dot_of_part(p, Ap),
            square_of_part(Ap),
            square_of_part(p),
            dot_of_part(p, s.r),
            dot_of_part(Ap, s.r),
        )
        # |pᴴAp| >= ‖p‖‖Ap‖ 2/√κ for definite A: below √eps is beyond the condition numbers that a dtype resolves.
        tiny = jnp.sqrt(jnp.finfo(ApAp.dtype).eps)
        flat = jnp.abs(pAp) <= tiny * jnp.sqrt(pp * ApAp)
        alpha = jnp.where(flat, quotient(Apr, ApAp), quotient(pr, pAp))  # pᴴ(r - αAp) = 0
        x = s.x + alpha * p
        r = s.r - alpha * Ap
        z = precondition(M, jnp.where(flat, Ap, r))  # the next direction before it is made A-orthogonal
        Apz, rr = summed_together(dot_of_part(Ap, z), square_of_part(r))
        beta = jnp.where(flat, 0, quotient(Apz, jnp.conj(pAp)))  # (A p)ᴴ(z - β p) = 0
        halt = jnp.where(ApAp == 0, int(Status.singular), 0)
        return AdaptiveCGState(x, r, z - beta * p, jnp.sqrt(rr), halt)
