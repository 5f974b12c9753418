"""What a polynomial smoother has to know of a level, found on the host."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.vector import scattered_on_host
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.polynomial import POWER_STEPS, SAFETY

#: Squares of shorter iterates might underflow in single precision.
SMALL = 1e-6


@dataclasses.dataclass(frozen=True)
class HostSpectrum:
    """The diagonal D of A and an upper estimate of the largest eigenvalue of D⁻¹A.

    Attributes:
        diagonal: Shape (n,), without zeros.
        largest: The estimate.
    """

    diagonal: np.ndarray
    largest: float

    def smoother(self, make: Callable[..., LinearOperator], A: LinearOperator) -> LinearOperator:
        """What a recipe makes of it for A on the device; see `AbstractPreconditioner.from_spectrum`."""
        largest = np.asarray(self.largest, jnp.finfo(A.dtype).dtype)
        scale, size = jax.device_put((self.diagonal.astype(A.dtype), largest))
        return make(A, scale, size, A.traits)


def host_spectrum(
    d: np.ndarray, product: Callable[[np.ndarray], np.ndarray], row_sums: np.ndarray
) -> HostSpectrum:
    """As `largest_eigenvalue` finds it on the device: power iterations, and at most Gershgorin's bound.

    Args:
        d: The diagonal of A.
        product: Multiplies with A, or with its transpose; makes a new vector.
        row_sums: Absolute row sums of A.
    """
    largest = np.abs(d).max(initial=0)
    d = np.where(d == 0, largest if largest > 0 else 1, d)
    bound = float(np.max(row_sums / np.abs(d), initial=0)) or 1.0
    # Divided by their bound, iterates do not grow.
    v = scattered_on_host(len(d)).astype(d.dtype)
    scale = d * bound
    size, norm = 0.0, _norm(v)
    for _ in range(POWER_STEPS):
        if norm < SMALL:
            v *= 1 / max(norm, np.finfo(v.dtype).tiny)
            norm = _norm(v)
        v = product(v)
        v /= scale
        before, norm = norm, _norm(v)
        size = SAFETY * norm / before if before else 0.0
        if size >= 1:
            break
    return HostSpectrum(d, min(size, 1.0) * bound or 1.0)


def _norm(v: np.ndarray) -> float:
    # Not by BLAS, whose threads would wake for it.
    return float(np.sqrt(np.einsum("i,i->", v.conj(), v).real))
