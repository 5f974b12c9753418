"""log det A of a Hermitian positive definite operator by products alone: stochastic Lanczos quadrature.

log det A = tr log A = E vᴴ log(A) v over vectors v of ±1. Each term is an integral over the spectrum of A as v sees it,
and m steps of Lanczos from v give its Gauss quadrature: ‖v‖² Σ τ² log θ, with the eigenvalues θ of the tridiagonal
matrix and the first entries τ of its eigenvectors (Ubaru, Chen and Saad 2017, algorithm 1). What the vectors differ by
is the standard error; what the second half of the steps changed bounds the error of the quadrature.
"""

import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import applied, mul, plain_norm
from jaxsolve.operators.operator import LinearOperator

#: Bytes of Lanczos vectors that are held at once.
BYTES = 2**27


def log_determinant_by_lanczos(
    A: LinearOperator, diagonal: Array | None, vectors: Array, steps: int
) -> tuple[Array, Array]:
    """log det A and its standard error; NaN where A is not Hermitian positive definite.

    Args:
        A: The operator.
        diagonal: That of A, which is divided out (log det A = Σ log d + log det D^-½ A D^-½); None where unknown.
        vectors: Of ±1, as rows.
        steps: Of Lanczos.
    """
    n, real = A.shape[0], jnp.finfo(A.dtype).dtype
    steps = min(steps, n)
    scale = jnp.ones(n, real) if diagonal is None else lax.rsqrt(diagonal.real)
    unit = _size(A, scale, vectors[0])

    def term(v: Array) -> tuple[Array, Array]:
        T, symmetric = _tridiagonal(A, scale, unit, v, steps)
        # The coarse one has more of an error than the fine one, so that what they differ by is a bound.
        fine, coarse = _quadrature(T), _quadrature(T[: (steps + 1) // 2, : (steps + 1) // 2])
        return jnp.where(symmetric, n * fine, jnp.nan), n * (fine - coarse)

    at_once = max(1, min(len(vectors), BYTES // max(n * steps * A.dtype.itemsize, 1)))
    terms, changes = lax.map(term, vectors, batch_size=at_once)
    spread = jnp.std(terms, ddof=1) / jnp.sqrt(jnp.asarray(len(vectors), real))
    value = jnp.mean(terms) + n * jnp.log(unit) - 2 * jnp.sum(jnp.log(scale))
    # All of the spectrum was seen where there are as many steps as unknowns.
    return value, jnp.hypot(spread, jnp.mean(changes) if steps < n else jnp.zeros((), real))


def _size(A: LinearOperator, scale: Array, v: Array) -> Array:
    """The size of the scaled operator, by one product: logarithms are taken near 1."""
    size = plain_norm(mul(scale, A.mv(mul(scale, v)))) / plain_norm(v)
    return jnp.where(size > 0, size, 1).astype(scale.dtype)


def _tridiagonal(A: LinearOperator, scale: Array, unit: Array, v: Array, steps: int) -> tuple[Array, Array]:
    """The matrix T of m steps of Lanczos, orthogonalised in full, and whether A looked Hermitian in it."""
    real, eps = scale.dtype, jnp.finfo(scale.dtype).eps
    q = (v / plain_norm(v).astype(v.dtype)).astype(A.dtype)
    basis = jnp.zeros((steps, A.shape[0]), A.dtype).at[0].set(q)

    def step(k: Array, carry: tuple) -> tuple:
        basis, alphas, betas, odd = carry
        w = mul(scale / unit, A.mv(mul(scale, basis[k])))
        h = applied(jnp.conj(basis), w)
        w = w - applied(basis.T, h)
        again = applied(jnp.conj(basis), w)
        w = w - applied(basis.T, again)
        h = h + again
        # Of a Hermitian A, h is (0, ..., β, α): the rest, and that α is not real, is its skew part.
        told = h.at[k].set(1j * h[k].imag if jnp.iscomplexobj(h) else 0)
        told = told.at[k - 1].add(jnp.where(k > 0, -betas[k - 1], 0).astype(h.dtype))
        odd = jnp.maximum(odd, jnp.max(jnp.abs(told)))
        beta = plain_norm(w)
        # An invariant subspace: nothing is left to see, and what follows has no weight.
        ended = (beta <= 100 * eps) | (k > 0) & ~jnp.any(basis[k] != 0)
        beta = jnp.where(ended, 0, beta)
        q = jnp.where(ended, 0, w / jnp.where(ended, 1, beta).astype(w.dtype))
        seen = jnp.any(basis[k] != 0)
        alphas = alphas.at[k].set(jnp.where(seen, h[k].real, 1))
        basis = basis.at[k + 1].set(q, mode="drop")
        return basis, alphas, betas.at[k].set(beta), odd

    zeros = jnp.zeros(steps, real)
    _, alphas, betas, odd = lax.fori_loop(0, steps, step, (basis, zeros, zeros, jnp.zeros((), real)))
    T = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    return T, odd <= jnp.sqrt(eps) * (1 + jnp.max(jnp.abs(alphas)))


def _quadrature(T: Array) -> Array:
    """e₁ᵀ log(T) e₁; NaN where T is not positive definite."""
    theta, vectors = jnp.linalg.eigh(T)
    weights = jnp.square(vectors[0])
    return jnp.sum(weights * jnp.log(jnp.where(theta > 0, theta, jnp.nan)))
