"""JudgedInverse: an inverse by factors that knows whether A is singular but for rounding."""

import jax.numpy as jnp
from jax import Array

from jaxsolve.core.memo import compiled
from jaxsolve.core.vector import exponent, mul, plain_norm, power, scattered
from jaxsolve.operators.operator import LinearOperator, Wrapper
from jaxsolve.solvers.units import rescaled

#: κ eps from which on A is called singular: of x not one digit is sure, nor its part in the null space. So were all of
#: 10 870 singular matrices U diag(s, 0) Vᴴ (real ones up to n = 300, complex ones up to 30), and none of as many with
#: 1e-11 in the place of the 0.
SINGULAR = 0.1


class JudgedInverse(Wrapper):
    """The inverse by factors, and whether A is singular to working precision."""

    operator: LinearOperator
    singular: Array

    def mv(self, x: Array) -> Array:
        """The solution for the right-hand side x."""
        return self.operator.mv(x)

    def transpose(self) -> LinearOperator:
        """The inverse of the transpose, by the same factors."""
        return JudgedInverse(self.operator.transpose(), self.singular)

    def adjoint(self) -> LinearOperator:
        """The inverse of the adjoint, by the same factors."""
        return JudgedInverse(self.operator.adjoint(), self.singular)

    def conj(self) -> LinearOperator:
        """The conjugate."""
        return JudgedInverse(self.operator.conj(), self.singular)


def _judged(A: LinearOperator, inverse: LinearOperator) -> LinearOperator:
    """The same inverse, judged by the condition number κ of R A C; as it is where the entries of A are not known.

    R and C bring the sums of rows and of columns to 1, as units of equations and unknowns mean nothing (van der Sluis
    1969: columns of one length are within √n of the best). Then ‖R A C‖ is at least the largest length of a column,
    and ‖B‖ with B = C⁻¹A⁻¹R⁻¹ at least ‖Bᴴt‖ for the unit vector t along B s, whatever s is: one step of inverse
    iteration, for two substitutions. κ is never overestimated, so that nothing regular is called singular. (QR rounds
    small equations as large ones: where their units are far apart it hides a null space.)
    (Pivots alone do not tell: |u_kk| / (|L||U|)_kk was 5e3 eps for singular matrices, 80 eps at a condition of 1e14.)

    Args:
        A: Shape (m, n). Only the unknowns have units in least squares, and only the equations in a wide system.
        inverse: A⁻¹, or the pseudo-inverse of a matrix of full rank.
    """
    m, n = A.shape
    largest = A.magnitude()
    if 0 in A.shape or largest is None:
        return inverse
    real, k = largest.dtype, exponent(largest)
    scale, ones = power(-k, real), jnp.ones(m, real)
    rows = A.row_sums(lambda a, _: jnp.abs(a) * scale, jnp.ones(n, real)) if m <= n else ones
    if rows is None:
        return inverse
    rows = jnp.where(rows > 0, rows, 1)
    columns, squares = A.T.row_sums(lambda a, r: _sums(jnp.abs(a) * scale * r), 1 / rows)
    columns = jnp.where((columns > 0) & (m >= n), columns, 1)
    size = jnp.max(jnp.sqrt(squares) / columns)

    B = rescaled(inverse, k, real)
    t = mul(columns, B.mv(mul(rows, scattered(m, real)).astype(A.dtype)))
    length = plain_norm(t)
    inverse_size = plain_norm(mul(rows, B.H.mv(mul(columns, mul(1 / length, t)))))
    if hasattr(inverse, "status"):
        # Pivots that vanish were replaced: B = (A + E)⁻¹, and (I - B A) t = B E t is what A maps to zero, if there is.
        plain = rescaled(A, -k, real)
        for _ in range(2):
            t = mul(1 / plain_norm(t), t)
            left = plain.mv(mul(1 / columns, t))
            inverse_size = jnp.maximum(inverse_size, 1 / plain_norm(mul(1 / rows, left)))
            t = t - mul(columns, B.mv(left))
    # What is no number counts as singular; an infinite B s has t = 0.
    regular = jnp.isfinite(length) & (size * inverse_size * jnp.finfo(real).eps <= SINGULAR)
    return JudgedInverse(inverse, ~regular)


judged_inverse = compiled(_judged)


def _sums(terms: Array) -> tuple[Array, Array]:
    return terms, jnp.square(terms)
