"""Nyström: the large eigenvalues of a dense kernel, found by random products, taken out of the spectrum."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memory import require_memory
from jaxsolve.core.options import require_count
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import applied, mul
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, as_square


class Nystrom(AbstractPreconditioner):
    """The inverse of a random low-rank approximation of A - μ I, plus μ I: for kernels, with A = K + μ I.

    Where the eigenvalues of K decay fast, CG takes a few dozen iterations once `rank` exceeds the number of those
    above μ, whatever their size. Of no use for discretised differential equations, whose spectra do not decay.

    Args:
        rank: Products in the set-up, and vectors that are held.
        shift: μ, at least 0; may be traced.
        seed: Of the random numbers.

    Raises:
        StructureError: If `rank` is less than 1 or `shift` no number of at least 0; from `build`, if A is not
            square.

    Builds: an operator of shape (n, n) in the dtype of A, by products alone; Hermitian positive definite for every
        A.
    Cost: set-up `rank` products and about n rank² flops, application 2 n rank multiplications; memory `rank`
        vectors.
    Source: Frangella, Tropp, Udell, Randomized Nyström preconditioning (2023), algorithm 2.1 and equation 5.3.

    >>> import jaxsolve as js
    >>> t = jnp.linspace(0, 1, 200)
    >>> A = jnp.exp(-30 * (t[:, None] - t) ** 2) + 1e-3 * jnp.eye(200)
    >>> E = Nystrom(rank=30, shift=1e-3).build(js.DenseMatrix(A)).as_matrix() @ A
    >>> bool(jnp.linalg.cond(A) > 1e4), bool(jnp.linalg.cond(E) < 10)
    (True, True)
    """

    name: ClassVar[str] = "nystrom"
    needs: ClassVar[str] = (
        "symmetric (Hermitian) positive definite with fast decaying spectrum; products are enough"
    )
    cost: ClassVar[str] = "set-up `rank` products and n rank^2, application 2 n rank"

    rank: int = eqx.field(static=True, default=64)
    shift: Any = 0.0
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self) -> None:
        require_count("Nystrom", "rank", self.rank)
        require_count("Nystrom", "seed", self.seed, 0)
        if isinstance(self.shift, str) or np.ndim(self.shift):
            raise StructureError(f"Nystrom: shift must be a number, traced or not; got {self.shift!r}.")

    def build(self, A: Any) -> LinearOperator:
        """The low-rank inverse."""
        A = as_square(A, self.name)
        n = A.shape[0]
        rank, real = min(self.rank, n), jnp.finfo(A.dtype).dtype
        # Directions, products with them, their sum, factors and singular vectors.
        needed = 5 * n * rank * np.dtype(A.dtype).itemsize
        owner = f"preconditioner {self.name!r}"
        require_memory(needed, owner, f"{rank} vectors", "Use a smaller rank.", on_device=True)
        shift = jnp.asarray(self.shift, real)
        test = _orthonormal(n, rank, A.dtype, self.seed)
        Y = _products(A, test) - shift.astype(A.dtype) * test
        # The sketch of K + νI with ν at the level of rounding, taken off again below.
        size = jnp.linalg.norm(Y)
        noise = jnp.finfo(real).eps * size
        Y = Y + noise.astype(A.dtype) * test
        core = jnp.conj(test.T) @ Y
        w, V = jnp.linalg.eigh((core + jnp.conj(core.T)) / 2)
        # K ≈ B Bᴴ with B = Y (Ωᴴ Y)^(-1/2) on the directions where that is positive beyond rounding.
        tiny = 4 * max(rank, 1) * jnp.finfo(real).eps
        kept = w > tiny * jnp.max(jnp.abs(w), initial=0)
        B = (Y @ V) * jnp.where(kept, jax.lax.rsqrt(jnp.where(kept, w, 1)), 0).astype(A.dtype)[None, :]
        U, s, _ = jnp.linalg.svd(B, full_matrices=False)
        values = jnp.maximum(s**2 - noise, 0)
        largest = jnp.max(values, initial=0)
        some = values > tiny * largest
        floor = jnp.min(jnp.where(some, values, largest), initial=jnp.inf)
        floor = jnp.where(jnp.isfinite(floor) & (floor + shift > 0), floor, 1)
        rest = 1 / (floor + shift)
        weights = jnp.where(some, 1 / (jnp.where(some, values, floor) + shift) - rest, 0)
        facts = Traits(
            symmetric=not jnp.issubdtype(A.dtype, jnp.complexfloating), hermitian=True, positive_definite=True
        )
        return LowRankInverse(U, weights.astype(A.dtype), rest.astype(A.dtype), facts)


def _orthonormal(n: int, rank: int, dtype: Any, seed: int) -> Array:
    """Random orthonormal columns of shape (n, rank)."""
    columns = jax.random.normal(jax.random.key(seed), (n, rank), jnp.finfo(dtype).dtype)
    return jnp.linalg.qr(columns)[0].astype(dtype)


def _products(A: LinearOperator, X: Array) -> Array:
    """A X."""
    return A.multiply_columns(X)


class LowRankInverse(LinearOperator):
    """U diag(w) Uᴴ + ρ I for orthonormal U of shape (n, k)."""

    basis: Array
    weights: Array
    rest: Array
    facts: Traits = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.basis.shape[0], self.basis.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the basis."""
        return self.basis.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The approximate solution for the right-hand side x."""
        weighted = mul(self.weights, applied(jnp.conj(self.basis.T), x))
        return mul(self.rest, x) + applied(self.basis, weighted)

    def transpose(self) -> LinearOperator:
        """The conjugate, since the operator is Hermitian."""
        return (
            self
            if self.facts.symmetric
            else LowRankInverse(jnp.conj(self.basis), self.weights, self.rest, self.facts)
        )
