"""Spectrum: what some dozens of products tell of the eigenvalues and the condition of an operator."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.operators.operator import LinearOperator

#: Operators up to this size are made dense, and known exactly.
EXACT = 256
#: Products of an estimate.
STEPS = 80
#: What the spectrum of Aᴴ A tells of A by its square root.
ROOTS = ("smallest", "largest", "lowest", "highest", "condition", "norm")
#: Numbers in the basis of an estimate at most.
STORAGE = 50_000_000


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """The spectrum of a square operator, exactly or as far as Arnoldi's process saw it.

    Attributes:
        exact: Whether the figures are those of the whole matrix, not of a Krylov space.
        smallest: The smallest absolute value of an eigenvalue (estimates are too large).
        largest: The largest absolute value of an eigenvalue (estimates are too small).
        lowest: The smallest real part.
        highest: The largest real part.
        condition: Condition number in the 2-norm (estimates are lower bounds).
        norm: The 2-norm (estimates are lower bounds).
        asymmetry: ‖A - Aᴴ‖ / ‖A‖ in the Frobenius norm, on what was seen.
        finite: Whether the products were finite.
    """

    exact: bool
    smallest: float
    largest: float
    lowest: float
    highest: float
    condition: float
    norm: float
    asymmetry: float
    finite: bool = True

    @property
    def indefinite(self) -> bool:
        """Whether real parts of eigenvalues lie on both sides of zero, beyond rounding."""
        return self.lowest < -1e-10 * self.norm and self.highest > 1e-10 * self.norm

    def __str__(self) -> str:
        if not self.finite:
            return "not finite"
        about = "" if self.exact else " or more"
        return (
            f"condition number {self.condition:.2g}{about}, eigenvalues of size {self.smallest:.2g} to "
            f"{self.largest:.2g}, real parts from {self.lowest:.2g} to {self.highest:.2g}, asymmetry "
            f"{self.asymmetry:.1g}"
        )


def spectrum_of(A: LinearOperator) -> Spectrum:
    """The spectrum of a square (or the singular values of a rectangular) concrete operator."""
    m, n = A.shape
    if m != n:
        squares = spectrum_of(A.H @ A)
        roots = {name: math.sqrt(max(getattr(squares, name), 0)) for name in ROOTS}
        return dataclasses.replace(squares, **roots)
    if n <= EXACT:
        H = np.asarray(A.as_matrix())
        return _of(H, H, True)
    H = _arnoldi(A, min(STEPS, n, max(STORAGE // n, 8)))
    return _of(H[:-1], H, False)


def _of(H: np.ndarray, extended: np.ndarray, exact: bool) -> Spectrum:
    """The figures of a matrix H that is A, or A on a Krylov space (with one row more)."""
    # In double precision, so that rounding of these figures is not taken for a property of A.
    H, extended = (np.asarray(part, np.promote_types(part.dtype, np.float64)) for part in (H, extended))
    if not np.isfinite(extended).all():
        return Spectrum(exact, *[math.nan] * 7, finite=False)
    if not H.size:
        return Spectrum(exact, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    whole = float(np.linalg.norm(H))
    asymmetry = float(np.linalg.norm(H - H.conj().T)) / whole if whole else 0.0
    # Those of a symmetric matrix come out without the rounding of the general algorithm.
    values = np.linalg.eigvalsh(H) if asymmetry < 1e-12 else np.linalg.eigvals(H)
    sizes, singular = np.abs(values), np.linalg.svd(extended, compute_uv=False)
    condition = float(singular[0] / singular[-1]) if singular[-1] > 0 else math.inf
    smallest, largest, leftmost, rightmost = map(
        float, (sizes.min(), sizes.max(), values.real.min(), values.real.max())
    )
    return Spectrum(exact, smallest, largest, leftmost, rightmost, condition, float(singular[0]), asymmetry)


def _arnoldi(A: LinearOperator, steps: int) -> np.ndarray:
    """The Hessenberg matrix of shape (k + 1, k) of Arnoldi's process from a random vector, k <= `steps`."""
    n = A.shape[0]
    product = jax.jit(lambda A, v: A.mv(v))
    fast = A.layout()
    V = np.zeros((steps + 1, n), A.dtype)
    H = np.zeros((steps + 1, steps), A.dtype)
    v = np.random.default_rng(9973).standard_normal(n)
    V[0] = v / np.linalg.norm(v)
    for j in range(steps):
        w = np.asarray(product(fast, jnp.asarray(V[j])))
        before = np.linalg.norm(w)
        # Twice is enough (Kahan and Parlett).
        for _ in range(2):
            h = V[: j + 1].conj() @ w
            w = w - h @ V[: j + 1]
            H[: j + 1, j] += h
        H[j + 1, j] = np.linalg.norm(w)
        # The space is invariant (or the products are not finite).
        if not H[j + 1, j].real > 10 * np.finfo(H.dtype).eps * before:
            return H[: j + 2, : j + 1]
        V[j + 1] = w / H[j + 1, j]
    return H
