"""Dense factorisations on the device: LU, Cholesky, QR."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.tree import common
from jaxsolve.core.vector import plain_norm, power_of_two
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.refinement import AbstractDirect, RefinementState
from jaxsolve.solvers.host.fill import require_dense_room


class DenseFactors(LinearOperator):
    """The inverse of a dense matrix by its factors.

    Args:
        factors: What the factorisation returned, of A divided by `unit`.
        unit: The size of A's entries.
        kind: "lu", "cholesky" or "qr".
        form: 0 for the inverse, 1 for its transpose, 2 for its adjoint.
        size: Shape of the inverse.
    """

    factors: Any
    unit: Array
    kind: str = eqx.field(static=True)
    form: int = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the inverse."""
        return self.size

    @property
    def dtype(self) -> Any:
        """The dtype of the factors."""
        return self.factors[0].dtype

    def mv(self, x: Array) -> Array:
        """The solution for the right-hand side x."""
        if self.form == 1:
            # A⁻ᵀ x = conj(A⁻ᴴ conj(x))
            y = jnp.conj(self._apply(jnp.conj(x), adjoint=True))
        else:
            y = self._apply(x, adjoint=self.form == 2)
        return y / self.unit.astype(y.dtype)

    def _apply(self, x: Array, adjoint: bool) -> Array:
        dtype = common(x, self.dtype)
        x = x.astype(dtype)
        if self.kind == "lu":
            LU, pivots = self.factors
            return jsl.lu_solve((LU.astype(dtype), pivots), x, trans=2 if adjoint else 0)
        if self.kind == "cholesky":
            return jsl.cho_solve((self.factors[0].astype(dtype), True), x)
        Q, R = (factor.astype(dtype) for factor in self.factors)
        tall = not adjoint if Q.shape[0] == self._rows() else adjoint
        if tall:
            return jsl.solve_triangular(R, jnp.conj(Q.T) @ x)
        return Q @ jsl.solve_triangular(R, x, trans=2)

    def _rows(self) -> int:
        # Rows of A itself: the inverse maps them to columns, its transposes back.
        return self.size[1] if self.form == 0 else self.size[0]

    def log_determinant(self) -> tuple[Array, Array]:
        """Sign (complex: unit phase) and log|det| of A by its pivots; of LU and Cholesky factors, in form 0."""
        n, scale = self.size[0], jnp.log(self.unit)
        if self.kind == "cholesky":
            pivots = jnp.diagonal(self.factors[0]).real
            return jnp.ones((), self.dtype), 2 * jnp.sum(jnp.log(pivots)) + n * scale
        LU, swaps = self.factors
        pivots = jnp.diagonal(LU)
        swapped = jnp.sum(swaps != jnp.arange(n, dtype=swaps.dtype)) % 2
        sign = jnp.prod(jnp.sign(pivots)) * (1 - 2 * swapped).astype(pivots.dtype)
        return sign, jnp.sum(jnp.log(jnp.abs(pivots))) + n * scale

    def transpose(self) -> LinearOperator:
        """The inverse of the transpose, by the same factors."""
        return self._formed({0: 1, 1: 0}.get(self.form), LinearOperator.transpose)

    def adjoint(self) -> LinearOperator:
        """The inverse of the adjoint, by the same factors."""
        return self._formed({0: 2, 2: 0}.get(self.form), LinearOperator.adjoint)

    def _formed(self, form: int | None, otherwise: Any) -> LinearOperator:
        if form is None:
            return otherwise(self)
        return DenseFactors(self.factors, self.unit, self.kind, form, (self.size[1], self.size[0]))


class AbstractDense(AbstractDirect):
    """A dense factorisation of A, whose columns are formed where A is not dense."""

    storage: ClassVar[str] = "n²"

    def prepare(self, A: LinearOperator) -> DenseFactors:
        """The inverse by factors of the dense matrix, scaled by a power of two so that no pivot overflows."""
        require_dense_room(A, self.name)
        matrix = A.as_matrix()
        unit = power_of_two(jnp.max(jnp.abs(matrix), initial=0))
        return self._factorise(matrix / unit.astype(matrix.dtype), unit, (A.shape[1], A.shape[0]))

    def _factorise(self, matrix: Array, unit: Array, size: tuple[int, int]) -> DenseFactors:
        raise NotImplementedError


class LU(AbstractDense):
    """Gaussian elimination with partial pivoting, and refinement.

    Raises:
        NotConverged: Out of a solve: `singular` where a pivot is 0.

    Solves: A x = b with A of shape (n, n), real or complex, written out densely; factors in the dtype of A.
    Cost: 2/3 n³ flops once, 2 n² and one product with A a right-hand side; memory n².
    Source: Golub and Van Loan (2013), section 3.4; refinement: Higham (2002), chapter 12.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([3.0, 5.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.LU())).tolist()]
    [1.0, 3.0]
    """

    name: ClassVar[str] = "LU"
    needs: ClassVar[str] = "any square matrix"

    def _factorise(self, matrix, unit, size):
        return DenseFactors(jsl.lu_factor(matrix), unit, "lu", 0, size)


class Cholesky(AbstractDense):
    """The Cholesky factorisation A = L Lᴴ, and refinement.

    Reads one triangle of A.

    Raises:
        NotConverged: Out of a solve: `not_positive_definite` where a pivot is not positive.

    Solves: A x = b with A of shape (n, n), Hermitian positive definite, real or complex; factors in the dtype of A.
    Cost: 1/3 n³ flops once, 2 n² and one product with A a right-hand side; memory n².
    Source: Golub and Van Loan (2013), section 4.2; refinement: Higham (2002), chapter 12.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
    >>> [round(v, 3) for v in js.solve_linear(A, b, js.Solve(js.Cholesky())).tolist()]
    [0.091, 0.636]
    """

    name: ClassVar[str] = "Cholesky"
    needs: ClassVar[str] = "symmetric (Hermitian) positive definite"
    wants: ClassVar[tuple[str, ...]] = ("positive_definite",)
    failure: ClassVar[Status] = Status.not_positive_definite

    def _factorise(self, matrix, unit, size):
        return DenseFactors((jnp.linalg.cholesky(matrix),), unit, "cholesky", 0, size)


class ProjectionState(RefinementState):
    """The state of refinement in a tall system.

    Attributes:
        x: The correction.
        r: Its residual.
        residual_norm: ‖r‖.
        halt: Why no more is to be gained.
        inside: The norm of what the last sweep took off r: a component in the range of A.
    """

    x: Array
    r: Array
    residual_norm: Array
    halt: Array
    inside: Array


class QR(AbstractDense):
    """The QR factorisation: least squares for tall, minimum norm for wide matrices.

    Raises:
        NotConverged: Out of a solve: `singular` or `stagnation` where A has not full rank.

    Solves: min ‖b - A x‖ with A of shape (m, n) and of full rank, real or complex; factors in the dtype of A.
    Cost: 2 n² (m - n/3) flops once and as many for Q (m >= n), 4/3 n³ where m = n; memory m n + n², which is order
        n².
    Source: Golub and Van Loan (2013), chapter 5.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), jnp.array([1.0, 0.0, 2.0])
    >>> [round(v, 3) for v in js.solve_linear_info(A, b, js.Solve(js.QR())).x.tolist()]
    [0.5, 0.5]
    """

    name: ClassVar[str] = "QR"
    needs: ClassVar[str] = "any matrix of full rank, rectangular too"
    rectangular: ClassVar[bool] = True

    def start(self, A: LinearOperator, M: Any, r: Array) -> Any:
        s = super().start(A, M, r)
        return (
            s
            if A.shape[0] <= A.shape[1]
            else ProjectionState(s.x, r, s.residual_norm, s.halt, jnp.inf * s.residual_norm)
        )

    def step(self, A: LinearOperator, M: Any, s: Any) -> Any:
        if A.shape[0] <= A.shape[1]:
            return super().step(A, M, s)
        # Where b is nearly orthogonal to the range of A, a sweep that finds all of x hardly lowers the residual. It
        # lowers the component in the range, A d.
        d = M.mv(s.r)
        Ad = A.mv(d)
        inside = plain_norm(Ad)
        halt = jnp.where(jnp.isfinite(inside), int(Status.stagnation), int(self.failure))
        gained = inside < 0.5 * s.inside
        x, r = jnp.where(gained, s.x + d, s.x), jnp.where(gained, s.r - Ad, s.r)
        return ProjectionState(
            x, r, plain_norm(r), jnp.where(gained, 0, halt), jnp.where(gained, inside, s.inside)
        )

    def slope(self, s):
        # After a sweep that gained nothing, the true slope tells whether x is a minimiser.
        return jnp.where(s.halt != 0, 0, jnp.inf)

    def true_slope(self, A: LinearOperator, M: Any, s: Any, r: Array) -> Array:
        # The cosine between r and the range of A, which is ‖Aᴴr‖ / (‖A‖‖r‖) up to the condition number.
        return plain_norm(A.mv(M.mv(r))) / plain_norm(r)

    def _factorise(self, matrix, unit, size):
        tall = matrix.shape[0] >= matrix.shape[1]
        factors = jnp.linalg.qr(matrix if tall else jnp.conj(matrix.T))
        return DenseFactors(tuple(factors), unit, "qr", 0, size)
