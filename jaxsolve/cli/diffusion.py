"""The problem of the demo: diffusion in layered rock with tight inclusions, a function of (x, conductivity)."""

import jax.numpy as jnp
import numpy as np
from jax import Array

#: Conductivity of the inclusions that the demo looks for, relative to the layers around them.
TIGHT = 0.05


def diffusion(x: Array, conductivity: Array) -> Array:
    """-div(k grad x) on the unit square with x = 0 outside, in units of the squared cell size.

    Finite volumes: the flux between two cells goes by the harmonic mean of their conductivities.

    Args:
        x: Shape (rows, columns).
        conductivity: The same shape, positive.
    """
    k = jnp.pad(conductivity, 1, mode="edge")
    u = jnp.pad(x, 1)
    faces = [2 * conductivity * other / (conductivity + other) for other in _neighbours(k)]
    return sum(
        (face * (x - other) for face, other in zip(faces, _neighbours(u), strict=True)), jnp.zeros_like(x)
    )


def _neighbours(padded: Array) -> list[Array]:
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def layers(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Conductivities of shape (size, size) of layers (1 and 32), and where the inclusions are (0 or 1)."""
    y, x = np.meshgrid(*2 * [(np.arange(size) + 0.5) / size], indexing="ij")
    height = y + 0.06 * np.sin(5 * x + 1) + 0.03 * np.sin(13 * x)
    background = 10.0 ** (0.75 + 0.75 * np.sign(np.sin(9 * height)))
    centres = [(0.3, 0.3, 0.13), (0.68, 0.62, 0.17), (0.25, 0.75, 0.09), (0.75, 0.2, 0.08)]
    inside = sum(((y - cy) ** 2 + (x - cx) ** 2 < r**2) for cy, cx, r in centres)
    return background, (np.asarray(inside) > 0).astype(float)


def rock(background: Array | np.ndarray, inside: Array | np.ndarray, log_tightness: Array | float) -> Array:
    """The conductivity whose inclusions are exp(`log_tightness`) times as permeable as the layers around them."""
    return jnp.asarray(background) * jnp.exp(log_tightness * jnp.asarray(inside))


def wells(size: int) -> Array:
    """Source of shape (size, size): a uniform inflow and one strong well."""
    b = np.full((size, size), 1.0 / size**2)
    b[size // 3, size // 2] += 0.5
    return jnp.asarray(b)
