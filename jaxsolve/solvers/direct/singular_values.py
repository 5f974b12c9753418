"""SVD: the pseudo-inverse of a dense matrix of any shape and rank."""

from typing import Any, ClassVar

import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array, lax

from jaxsolve.core.staging import detached
from jaxsolve.core.status import Status
from jaxsolve.core.vector import exponent, mul, plain_norm
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.column_units import column_scales
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.direct.refinement import RefinementState
from jaxsolve.solvers.units import rescaled

#: Singular values below this times eps √max(m, n) times the largest are rounding. Those that vanish were at most 0.7
#: eps √max(m, n) in 400 products of random factors (float32 and float64, 2 to 1000 rows, 2 to 300 columns).
ROUNDING = 4
#: A factor R is of full rank for sure where ‖R‖‖R⁻¹‖ times what is rounding is at most this, for Frobenius' norm.
SURE = 0.1
#: What is left to be found in the range of A, in rounding errors of the first residual, where nothing is.
FLAT = 100


class PseudoInverseState(RefinementState):
    """The state of refinement by a pseudo-inverse.

    Attributes:
        x: The correction.
        r: Its residual.
        residual_norm: ‖r‖.
        halt: Why no more is to be gained.
        inside: The norm of what the last sweep took off r: a component in the range of A.
        first: The norm of the residual at the start.
    """

    x: Array
    r: Array
    residual_norm: Array
    halt: Array
    inside: Array
    first: Array


class SVD(AbstractDense):
    """The solution of least norm x = A⁺b, by QR where A is clearly of full rank, else by singular values.

    A = Q R, or Aᴴ = Q R where A is wide. Where ‖R‖‖R⁻¹‖ does not prove the rank to be full, R = U Σ Vᴴ tells it: what
    is below 4 eps √max(m, n) of the largest singular value counts as zero. Columns of a tall A whose units differ are
    scaled for that decision; of the minimisers the shortest in x itself is returned all the same.

    Raises:
        NotConverged: Out of a solve: `inconsistent` where A is square and b out of its range.

    Solves: min ‖b - A x‖ with A of shape (m, n) and any rank, real or complex; from x0 = 0 the x of least norm, as
        `numpy.linalg.lstsq`. Factors in the dtype of A.
    Cost: with k = min(m, n) 4 m n k flops once, and 22 k³ more where the rank is in doubt; 2 m n + 2 k² and one product
        with A a right-hand side; memory m n + k², which is order n².
    Source: Chan (1982), an improved algorithm for computing the singular value decomposition; Golub and Van Loan
        (2013), sections 5.4 and 5.5.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), jnp.array([1.0, 3.0, 1.0])
    >>> info = js.solve_linear_info(A, b, js.Solve(js.SVD()))
    >>> info.status.name, [round(v, 3) for v in info.x.tolist()]
    ('least_squares', [1.0, 1.0])
    """

    name: ClassVar[str] = "SVD"
    needs: ClassVar[str] = "any matrix, of any shape and rank"
    rectangular: ClassVar[bool] = True
    least_norm: ClassVar[bool] = True

    def judged(self, A: LinearOperator) -> Any:
        # No rank makes a pseudo-inverse unsure.
        return self.prepare(detached(A))

    def _factorise(self, matrix, unit, size):
        n, m = size
        k = -exponent(unit)
        if m >= n:
            Q, T = _factors(matrix, scaled=True)
            inverse = DenseMatrix(T) @ DenseMatrix(jnp.conj(Q.T))
        else:
            # A⁺ = ((Aᴴ)⁺)ᴴ
            Q, T = _factors(jnp.conj(matrix.T), scaled=False)
            inverse = DenseMatrix(Q) @ DenseMatrix(jnp.conj(T.T))
        return rescaled(inverse, k, unit.dtype)

    def start(self, A: LinearOperator, M: Any, r: Array) -> PseudoInverseState:
        s = super().start(A, M, r)
        return PseudoInverseState(s.x, r, s.residual_norm, s.halt, jnp.inf * s.residual_norm, s.residual_norm)

    def step(self, A: LinearOperator, M: Any, s: Any) -> PseudoInverseState:
        # Where b is out of the range of A a sweep lowers the component in the range, A d, and hardly the residual.
        d = M.mv(s.r)
        Ad = A.mv(d)
        inside = plain_norm(Ad)
        gained = inside < 0.5 * s.inside
        x, r = jnp.where(gained, s.x + d, s.x), jnp.where(gained, s.r - Ad, s.r)
        norm, m, n = plain_norm(r), *A.shape
        why = jnp.where(jnp.isfinite(inside), int(Status.stagnation), int(self.failure))
        if m <= n:
            # Tall systems are judged by the driver, column by column.
            eps = jnp.finfo(norm.dtype).eps
            flat = inside <= jnp.maximum(jnp.sqrt(eps) * norm, FLAT * eps * s.first)
            why = jnp.where(flat, int(Status.least_squares), why)
        return PseudoInverseState(
            x, r, norm, jnp.where(gained, 0, why), jnp.where(gained, inside, s.inside), s.first
        )

    def slope(self, s):
        # After a sweep that gained nothing, the true slope tells whether x is a minimiser.
        return jnp.where(s.halt != 0, 0, jnp.inf)

    def true_slope(self, A: LinearOperator, M: Any, s: Any, r: Array) -> Array:
        # The cosine between r and the range of A.
        return plain_norm(A.mv(M.mv(r))) / plain_norm(r)


def _factors(B: Array, scaled: bool) -> tuple[Array, Array]:
    """Q and T with B⁺ = T Qᴴ, for B of at least as many rows as columns.

    Args:
        B: Shape (m, n), m >= n.
        scaled: Whether the rank is decided in columns of one unit.
    """
    m, n = B.shape
    sizes = jnp.max(jnp.abs(B), axis=0, initial=0)
    scales = column_scales(sizes)
    Q, R = jnp.linalg.qr(mul(scales[None], B))
    rounding = ROUNDING * jnp.finfo(B.dtype).eps * max(m, 1) ** 0.5
    inverse = jsl.solve_triangular(R, jnp.eye(n, dtype=B.dtype))
    # Frobenius' norms are upper bounds: no singular value is below rounding then. NaN is not sure.
    sure = jnp.linalg.norm(R) * jnp.linalg.norm(inverse) * rounding <= SURE

    def truncated() -> Array:
        if scaled:
            return _shortest(R, scales, rounding)
        return _shortest(mul(1 / scales[None], R), jnp.ones_like(scales), rounding)

    return Q, lax.cond(sure, lambda: mul(scales[:, None], inverse), truncated)


def _shortest(R: Array, scales: Array, rounding: float) -> Array:
    """The x of least norm among the minimisers of ‖c - R S⁻¹x‖, as a matrix that maps c to it.

    S y with the shortest y is a minimiser; less its part in the null space, S times that of R, it is the shortest.
    """
    U, s, Vh = jnp.linalg.svd(R)
    kept = s > rounding * jnp.max(s, initial=0)
    V = jnp.conj(Vh.T)
    inverses = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    T = mul(scales[:, None], mul(inverses[None], V) @ jnp.conj(U.T))
    null = jnp.where(kept[None], 0, mul(scales[:, None], V))[:, ::-1]
    sizes = jnp.max(jnp.abs(null), axis=0, initial=0)
    directions = jnp.linalg.qr(mul(1 / jnp.where(sizes > 0, sizes, 1)[None], null))[0]
    N = jnp.where(kept[None, ::-1], 0, directions)
    for _ in range(2):  # the second time for what cancelled in the first
        T = T - N @ (jnp.conj(N.T) @ T)
    return T
