"""LSQR, for least-squares problems and systems of any shape."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.vector import mul
from jaxsolve.solvers.krylov.basis import (
    Bidiagonal,
    bidiagonalise,
    bidiagonalise_on,
    quotient,
    right,
    rotation,
)
from jaxsolve.solvers.krylov.bidiagonal_method import AbstractBidiagonal
from jaxsolve.solvers.method import State


class LSQRState(State):
    """The iterate (before the preconditioner), the direction w and the QR factorisation of the bidiagonal matrix.

    Attributes:
        x: The iterate.
        w: The direction.
        process: The bidiagonalisation.
        rho: Entry on the diagonal that awaits its rotation.
        residual_norm: ‖r‖.
        slope: ‖Bᴴr‖ / ‖r‖ for B = A M.
        halt: 0.
    """

    x: Array
    w: Array
    process: Bidiagonal
    rho: Array
    residual_norm: Array
    slope: Array
    halt: Array


class LSQR(AbstractBidiagonal):
    """LSQR, preconditioned from the right: least squares with ‖r‖ falling in every step.

    Minimises ‖b - A x‖ over the Krylov space of AᴴA, where the shortest minimiser is. Converges as CG does on AᴴA x
    = Aᴴb, without its rounding.

    Args:
        damp: λ of Tikhonov's min ‖b - A x‖² + λ²‖x‖², which has one solution whatever `x0`, A and its rank; a number or
            a traced scalar, for sweeps under `jax.vmap`. It is judged as least squares: `info.residual` is b - A x, and
            `info.residual_norm` the root of the sum.

    Raises:
        StructureError: If `damp` is negative, not finite, not real or no scalar; a ValueError.
        NotConverged: Out of a solve: `max_iterations`; `inconsistent` where A is square and b out of its range.

    Solves: min ‖b - A x‖ with A of shape (m, n) and any rank, real or complex; from x0 = 0 the x of least norm. With a
        preconditioner M, A is to have full rank: without it M⁻¹x is what is shortest, and derivatives, which are
        those of A⁺b, are not its. M has shape (n, n) where m >= n, else (m, m), and b is in the range of A.
    Cost: one product with A, one with its adjoint, and as many preconditioner applications an iteration; 4 vectors
        of storage, one of length m and three of length n.
    Source: Paige and Saunders (1982), LSQR: an algorithm for sparse linear equations and sparse least squares.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), jnp.array([2.0, 2.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.LSQR())).tolist()]  # the shortest of many
    [0.667, 1.333, 0.667]
    """

    name: ClassVar[str] = "lsqr"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "4"

    def start(self, A, M, r):
        B = right(A, M)
        g = bidiagonalise(B, r)
        return LSQRState(jnp.zeros_like(g.v), g.v, g, g.alpha, g.beta, g.alpha, jnp.array(0))

    def step(self, A, M, s):
        # The numbers are the steps of Paige and Saunders's algorithm LSQR: the state's `rho` is ρ̄, its norm φ̄.
        g = bidiagonalise_on(right(A, M), s.process)  # 3: β u = A v - α u, α v = Aᴴu - β v
        c, sine, rho = rotation(s.rho, g.beta)  # 4a to c: ρ = √(ρ̄² + β²)
        theta = sine * g.alpha  # 4d
        x = s.x + mul(quotient(c * s.residual_norm, rho), s.w)  # 5a: x = x + (φ / ρ) w with φ = c φ̄ (4f)
        w = g.v - mul(quotient(theta, rho), s.w)  # 5b: w = v - (θ / ρ) w
        # 4e and 4g: ρ̄ = -c α, φ̄ = s φ̄; ‖Bᴴr‖ = φ̄ α |c| (Paige and Saunders, equation 5.4).
        return LSQRState(x, w, g, -c * g.alpha, sine * s.residual_norm, g.alpha * jnp.abs(c), jnp.array(0))
