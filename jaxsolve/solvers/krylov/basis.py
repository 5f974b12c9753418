"""What the methods share: guarded quotients, right preconditioning, Arnoldi's and Golub and Kahan's processes."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from jaxsolve.core.shards import cond, joined_axes, summed
from jaxsolve.core.tree import common, typed
from jaxsolve.core.vector import mul, plain_norm, short_norm, square_of_part, summed_together
from jaxsolve.operators.operator import LinearOperator, Product


def precondition(M: LinearOperator | None, r: Array) -> Array:
    """M r, or r where there is no preconditioner."""
    return r if M is None else M.mv(r)


def right(A: LinearOperator, M: LinearOperator | None) -> LinearOperator:
    """A M: the operator of a method that is preconditioned from the right; its solution y gives x = M y."""
    return A if M is None else Product(A, M)


def quotient(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    dtype = common(a, b)
    a, b, zero = typed(a, dtype), typed(b, dtype), b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def negligible(value: Array, size: Array) -> Array:
    """Whether |value| is no more than rounding in a sum of terms of `size` (both in the same units)."""
    return jnp.abs(value) <= jnp.finfo(size.dtype).eps * size


def exhausted(r_norm: Array, start_norm: Array) -> Array:
    """Whether a residual has fallen so far within one iteration that directions made from it are rounding."""
    return r_norm <= 64 * jnp.finfo(r_norm.dtype).eps * start_norm


def least(slope: Array) -> Array:
    """Whether a residual of this slope ‖A r‖ / (‖A‖‖r‖) is hardly to be reduced: a step from there is mostly rounding.

    Where b is out of the range of A, the next step from the least residual makes x longer by many orders.
    """
    return slope <= 64 * jnp.finfo(slope.dtype).eps


def rotation(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """c, s and ρ >= 0 of the Givens rotation [[c̄, s̄], [-s, c]] that takes (a, b) to (ρ, 0)."""
    rho = jnp.sqrt(jnp.square(jnp.abs(a)) + jnp.square(jnp.abs(b)))
    # Where a and b are 0 the row gains nothing: s = 1 leaves the residual as it is.
    return quotient(a, rho), jnp.where(rho == 0, 1, quotient(b, rho)), rho


def orthogonalise(V: Array, w: Array) -> tuple[Array, Array]:
    """The coefficients Vᴴw and the rest w - V(Vᴴw), for V of shape (k, n) whose rows are orthonormal or zero.

    Again where less than 1/√2 of w is left, so that the rest is orthogonal to working precision (Daniel, Gragg,
    Kaufman and Stewart 1976); as matrix products, which run at the speed of the memory.
    """

    def project(w: Array) -> tuple[Array, Array]:
        h = summed(jnp.matmul(jnp.conj(V), w, precision=lax.Precision.HIGHEST))
        return h, w - jnp.matmul(h, V, precision=lax.Precision.HIGHEST)

    h, rest = project(w)
    # A laxer test adds up over the steps: 0.1 lost 3 digits on a graded matrix, 1/2 and 1/√2 none.
    cancelled = plain_norm(rest) < math.sqrt(0.5) * plain_norm(w)
    more, rest = cond(cancelled, project, lambda rest: (jnp.zeros_like(h), rest), rest)
    return h + more, rest


def orthogonalise_in_two_sums(V: Array, w: Array) -> tuple[Array, Array, Array, Array]:
    """The same twice in any case, with the norms of w and of the rest, in one message each time.

    The norm of the rest is by Pythagoras what the second time leaves. Only where that is less than half is it summed
    by itself: twice is enough (Parlett 1980, section 6.9), so that such a rest is rounding or nearly so.
    """

    def project(w: Array) -> tuple[Array, Array, Array]:
        of_part = jnp.matmul(jnp.conj(V), w, precision=lax.Precision.HIGHEST)
        h, square = summed_together(of_part, square_of_part(w))
        return h, square, w - jnp.matmul(h, V, precision=lax.Precision.HIGHEST)

    h, of_w, rest = project(w)
    more, left, rest = project(rest)
    after = left - square_of_part(more)
    norm = cond(2 * after < left, plain_norm, lambda _: jnp.sqrt(jnp.maximum(after, 0)), rest)
    return h + more, rest, jnp.sqrt(of_w), norm


class Arnoldi(eqx.Module):
    """An orthonormal basis of a Krylov space, A V = V H, and the least residual over it.

    Attributes:
        V: Shape (m + 1, n), one vector a row; zero rows are not yet in use.
        v: The newest vector, shape (n,).
        H: The Hessenberg matrix, shape (m + 1, m), of which `size` columns are in use.
        t: The vector with tᵀH = 0 and t[0] = 1, shape (m + 1,).
        beta: Norm of the vector that started it.
        size: Number of columns.
        full: Whether the space cannot grow, since there is no more room or nothing more to add.
        singular: Whether the newest column depended on the others: A is singular on the space.
    """

    V: Array
    v: Array
    H: Array
    t: Array
    beta: Array
    size: Array
    full: Array
    singular: Array

    @property
    def residual_norm(self) -> Array:
        """The norm of the least residual over the space."""
        # The least residual of H y = β e₁ is the component of β e₁ along t̄.
        used = jnp.where(jnp.arange(self.t.shape[0]) <= self.size, self.t, 0)
        return self.beta / short_norm(used)

    def coefficients(self) -> Array:
        """The coefficients, shape (m,), that leave the least residual."""
        m = self.H.shape[1]
        # Columns not in use are unit vectors below the others, which leaves their coefficients 0.
        H = jnp.where(jnp.arange(m) < self.size, self.H, jnp.eye(m + 1, m, k=-1, dtype=self.H.dtype))
        Q, R = jnp.linalg.qr(H)
        return solve_triangular(R, mul(self.beta, jnp.conj(Q[0])))

    def combination(self, vectors: Array) -> Array:
        """The combination of `vectors`, shape (at least m, n), whose coefficients leave the least residual."""
        m, y = self.H.shape[1], self.coefficients()
        # The coefficients are extended by zeros: to cut the vectors would copy them.
        y = jnp.zeros(vectors.shape[0], y.dtype).at[:m].set(y)
        return jnp.matmul(y, vectors, precision=lax.Precision.HIGHEST)


def arnoldi(r: Array, m: int) -> Arnoldi:
    """The basis of one vector in the direction of r, with room for m more."""
    beta = plain_norm(r)
    v = quotient(r, beta)
    V = jnp.zeros((m + 1, r.shape[0]), r.dtype).at[0].set(v)
    H, t = jnp.zeros((m + 1, m), r.dtype), jnp.zeros(m + 1, r.dtype).at[0].set(1)
    no = jnp.array(False)
    return Arnoldi(V, v, H, t, beta, jnp.array(0), no, no)


def extend(space: Arnoldi, w: Array, length: Array | None = None) -> Arnoldi:
    """The basis with one more vector: w = A v, made orthogonal (in flexible methods w = A z for any z).

    Args:
        space: The basis.
        w: The vector.
        length: Its norm before a projection, beside which rounding is judged; None for that of w.
    """
    k, m = space.size, space.H.shape[1]
    if length is None and joined_axes():
        h, w, length, rest = orthogonalise_in_two_sums(space.V, w)
    else:
        length = plain_norm(w) if length is None else length
        h, w = orthogonalise(space.V, w)  # h_ij = (w, v_i), w = w - Σ h_ij v_i
        rest = plain_norm(w)
    # The part of the column outside the range of the others is tᵀh / ‖t‖ in their space, and the new row.
    th = jnp.matmul(space.t, h, precision=lax.Precision.HIGHEST)
    outside = jnp.hypot(jnp.abs(th) / short_norm(space.t), rest)
    singular = negligible(outside, length)
    exhausted = negligible(rest, length)
    v = quotient(w, rest)  # v_{j+1} = w / h_{j+1,j}
    return Arnoldi(
        V=space.V.at[k + 1].set(v),
        v=v,
        H=space.H.at[:, k].set(h.at[k + 1].set(rest.astype(h.dtype))),
        # Where nothing is left the residual is 0 up to rounding.
        t=space.t.at[k + 1].set(
            -quotient(th, jnp.where(rest == 0, jnp.finfo(rest.dtype).eps * length, rest))
        ),
        beta=space.beta,
        # A dependent column is left out; the least residual is that of the space before it.
        size=jnp.where(singular, k, k + 1),
        full=exhausted | (k + 1 == m),
        singular=singular,
    )


class Bidiagonal(eqx.Module):
    """One step of Golub and Kahan's bidiagonalisation: B v = α u + ..., Bᴴ u = α v + ...

    Attributes:
        u: Left vector, shape (m,).
        v: Right vector, shape (n,).
        alpha: Diagonal entry, positive.
        beta: Entry beside it, the norm of what B v added to the left vectors.
        norm: The largest column of the bidiagonal matrix so far, a lower bound of ‖B‖.
    """

    u: Array
    v: Array
    alpha: Array
    beta: Array
    norm: Array


def bidiagonalise(B: LinearOperator, r: Array) -> Bidiagonal:
    """The first step, from r = β u; one product with the adjoint of B."""
    beta = plain_norm(r)
    u = quotient(r, beta)
    v = B.H.mv(u)
    alpha = plain_norm(v)
    return Bidiagonal(u, quotient(v, alpha), alpha, beta, alpha)


def bidiagonalise_on(B: LinearOperator, g: Bidiagonal) -> Bidiagonal:
    """The next step; one product with B and one with its adjoint."""
    u = B.mv(g.v) - mul(g.alpha, g.u)  # β u = B v - α u
    beta = plain_norm(u)
    u = quotient(u, beta)
    v = B.H.mv(u) - mul(beta, g.v)  # α v = Bᴴ u - β v
    alpha = plain_norm(v)
    norm = jnp.maximum(g.norm, jnp.sqrt(jnp.square(g.alpha) + jnp.square(beta)))
    return Bidiagonal(u, quotient(v, alpha), alpha, beta, norm)
