"""Conjugate gradients, for Hermitian definite systems."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import mul, real_dot, squared_norm
from jaxsolve.solvers.krylov.cg_in_one_sum import CGInOneSum
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
    """Preconditioned conjugate gradients.

    Minimises the error in the norm of A over the Krylov space. Goes on through negative curvature, which a small
    indefinite system survives, and says so when it fails.

    Raises:
        NotConverged: Out of a solve: `negative_curvature` where pᴴA p took both signs, `breakdown` where it or rᴴz
            is 0.

    Solves: A x = b with A of shape (n, n), Hermitian and definite, real or complex; the preconditioner positive
        definite.
    Cost: one product with A, one preconditioner application, two dot products (with a preconditioner three) an
        iteration; one product more a pass; 5 vectors of storage.
    Source: Hestenes and Stiefel (1952); Saad (2003), algorithm 9.1.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
    >>> info = js.solve_linear_info(A, b, js.Solve(js.CG()))
    >>> info.status.name, int(info.iterations), [round(v, 3) for v in info.x.tolist()]
    ('converged', 2, [0.091, 0.636])
    """

    name: ClassVar[str] = "CG"
    needs: ClassVar[str] = "symmetric (Hermitian) positive definite"
    wants: ClassVar[tuple[str, ...]] = ("positive_definite",)
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "5"
    definite_preconditioner: ClassVar[bool] = True
    recycles: ClassVar[bool] = True

    def over_devices(self) -> AbstractMethod:
        return CGInOneSum()

    @property
    def start_products(self) -> int:
        return 1

    def start(self, A, M, r):
        z = r if M is None else M.mv(r)
        rr = squared_norm(r)
        rho = rr if M is None else real_dot(r, z)
        Ap = A.mv(z)  # 1: z = M r, p = z
        no = jnp.array(False)
        return CGState(jnp.zeros_like(r), r, z, Ap, rho, real_dot(z, Ap), jnp.sqrt(rr), jnp.array(0), no, no)

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 9.1, with M for his M⁻¹.
        # pᴴAp = 0 and rᴴz = 0 are the breakdowns; their signs are free of units.
        broken = (s.pAp == 0) | (s.rho == 0)
        alpha = s.rho / jnp.where(s.pAp == 0, jnp.inf, s.pAp)  # 3: α = (r, z) / (A p, p)
        x = s.x + mul(alpha, s.p)  # 4
        r = s.r - mul(alpha, s.Ap)  # 5
        z = r if M is None else M.mv(r)  # 6: z = M r
        rr = squared_norm(r)
        rho = rr if M is None else real_dot(r, z)
        p = z + mul(rho / jnp.where(s.rho == 0, jnp.inf, s.rho), s.p)  # 7, 8: p = z + β p
        # The product for the next step is made here. The loop carries it, so that it is computed once; otherwise XLA
        # would fuse it into each of its two uses. This costs one product a pass.
        Ap = A.mv(p)
        halt = jnp.where(broken, int(Status.breakdown), 0)
        # Curvature relative to rᴴz: a negative definite A keeps one sign throughout.
        curvature = s.pAp * s.rho
        positive, negative = s.positive | (curvature > 0), s.negative | (curvature < 0)
        return CGState(x, r, p, Ap, rho, real_dot(p, Ap), jnp.sqrt(rr), halt, positive, negative)

    def diagnose(self, s):
        return jnp.where(s.positive & s.negative, int(Status.negative_curvature), 0)
