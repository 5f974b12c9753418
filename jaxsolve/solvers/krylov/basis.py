"""What the methods share: guarded quotients, right preconditioning, Arnoldi's and Golub and Kahan's processes."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from jaxsolve.core.vector import plain_norm
from jaxsolve.operators.base import LinearOperator, Product


def precondition(M: LinearOperator | None, r: Array) -> Array:
    """M r, or r where there is no preconditioner."""
    return r if M is None else M.mv(r)


def right(A: LinearOperator, M: LinearOperator | None) -> LinearOperator:
    """A M: the operator of a method that is preconditioned from the right; its solution y gives x = M y."""
    return A if M is None else Product(A, M)


def quotient(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    zero = b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def negligible(value: Array, size: Array) -> Array:
    """Whether |value| is no more than rounding in a sum of terms of `size` (both in the same units)."""
    return jnp.abs(value) <= jnp.finfo(size.dtype).eps * size


def rotation(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """c, s and ρ >= 0 of the Givens rotation [[c̄, s̄], [-s, c]] that takes (a, b) to (ρ, 0)."""
    rho = jnp.sqrt(jnp.square(jnp.abs(a)) + jnp.square(jnp.abs(b)))
    # Where both are 0 there is nothing to gain in this row: s = 1 leaves the residual as it is.
    return quotient(a, rho), jnp.where(rho == 0, 1, quotient(b, rho)), rho


def orthogonalise(V: Array, w: Array) -> tuple[Array, Array]:
    """The coefficients Vᴴw and the rest w - V(Vᴴw), for V of shape (k, n) whose rows are orthonormal or zero.

    Twice, which leaves the rest orthogonal to working precision (Giraud, Langou, Rozložník 2005); as matrix
    products, which run at the speed of the memory.
    """
    h = jnp.matmul(jnp.conj(V), w, precision=lax.Precision.HIGHEST)
    w = w - jnp.matmul(h, V, precision=lax.Precision.HIGHEST)
    again = jnp.matmul(jnp.conj(V), w, precision=lax.Precision.HIGHEST)
    return h + again, w - jnp.matmul(again, V, precision=lax.Precision.HIGHEST)


class Arnoldi(eqx.Module):
    """An orthonormal basis of a Krylov space, with the QR factorisation of its Hessenberg matrix H = Qᴴ R.

    Attributes:
        V: Shape (m + 1, n), one vector a row; zero rows are not yet in use.
        v: The newest vector, shape (n,).
        Q: Unitary, shape (m + 1, m + 1): the product of the rotations so far.
        R: Upper triangular, shape (m, m), of which `size` columns are in use.
        beta: Norm of the vector that started it.
        size: Number of columns.
        exhausted: Whether the space cannot grow: the residual vanishes on it (up to rounding).
        singular: Whether the newest column depended on the others: A is singular on the space.
    """

    V: Array
    v: Array
    Q: Array
    R: Array
    beta: Array
    size: Array
    exhausted: Array
    singular: Array

    @property
    def residual_norm(self) -> Array:
        """The norm of the least residual over the space."""
        return self.beta * jnp.abs(self.Q[self.size, 0])

    def coefficients(self) -> Array:
        """The combination of the basis, shape (m,), with the least residual."""
        used = jnp.arange(self.R.shape[0]) < self.size
        R = jnp.where(used, self.R, jnp.eye(self.R.shape[0], dtype=self.R.dtype))
        return solve_triangular(R, jnp.where(used, self.beta * self.Q[:-1, 0], 0))


def arnoldi(r: Array, m: int) -> Arnoldi:
    """The basis of one vector in the direction of r, with room for m more."""
    beta = plain_norm(r)
    v = quotient(r, beta)
    V = jnp.zeros((m + 1, r.shape[0]), r.dtype).at[0].set(v)
    no = jnp.array(False)
    Q, R = jnp.eye(m + 1, dtype=r.dtype), jnp.zeros((m, m), r.dtype)
    return Arnoldi(V, v, Q, R, beta, jnp.array(0), no, no)


def extend(space: Arnoldi, w: Array) -> Arnoldi:
    """The basis with one more vector, w = A v orthogonalised (in flexible methods w = A z for any z)."""
    k, V = space.size, space.V
    length = plain_norm(w)
    h, w = orthogonalise(V, w)
    rest = plain_norm(w)
    exhausted = negligible(rest, length)
    # Rows k and k + 1 of the column are rotated into its entry on the diagonal of R.
    column = jnp.matmul(space.Q, h, precision=lax.Precision.HIGHEST)
    c, s, rho = rotation(column[k], rest.astype(column.dtype))
    singular = negligible(rho, length)
    upper, lower = space.Q[k], jnp.zeros_like(space.Q[k]).at[k + 1].set(1)
    Q = space.Q.at[k].set(jnp.conj(c) * upper + jnp.conj(s) * lower).at[k + 1].set(c * lower - s * upper)
    R = space.R.at[:, k].set(column[:-1].at[k].set(rho.astype(column.dtype)))
    v = quotient(w, rest)
    grown = Arnoldi(V.at[k + 1].set(v), v, Q, R, space.beta, k + 1, exhausted, singular)
    # A dependent column is left out; the least residual is that of the space before it.
    Q, size = jnp.where(singular, space.Q, grown.Q), jnp.where(singular, k, k + 1)
    return eqx.tree_at(lambda a: (a.Q, a.size), grown, (Q, size))


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
    u = B.mv(g.v) - g.alpha * g.u
    beta = plain_norm(u)
    u = quotient(u, beta)
    v = B.H.mv(u) - beta * g.v
    alpha = plain_norm(v)
    norm = jnp.maximum(g.norm, jnp.sqrt(jnp.square(g.alpha) + jnp.square(beta)))
    return Bidiagonal(u, quotient(v, alpha), alpha, beta, norm)
