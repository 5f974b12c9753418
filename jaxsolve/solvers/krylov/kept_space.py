"""Kept spaces: the rows that a recycling method hands from pass to pass, and how they are made usable."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import mul, power_of_two
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.method import AbstractMethod


class AbstractRecycling(AbstractMethod):
    """A method that starts a pass with directions which an earlier one kept, and keeps new ones.

    Directions are rows of shape (count, n). Any rows do, zero or dependent ones too: they change iterations alone.
    """

    @property
    def opening_products(self) -> int:
        """Products with A in `opened`."""
        return 0

    @abc.abstractmethod
    def opened(self, A: LinearOperator, M: LinearOperator | None, rows: Array) -> Any:
        """What the first pass of a solve starts with, from the rows that were kept."""

    @abc.abstractmethod
    def resume(self, A: LinearOperator, M: LinearOperator | None, r: Array, kept: Any) -> Any:
        """The state before the first step of a pass, as `start` gives it."""

    @abc.abstractmethod
    def renewed(self, A: LinearOperator, M: LinearOperator | None, s: Any) -> Any:
        """What the next pass starts with, from the last state of this one."""

    @abc.abstractmethod
    def rows(self, kept: Any) -> Array:
        """The rows to keep."""


def images(A: LinearOperator, rows: Array) -> Array:
    """A times each row."""
    return jax.vmap(A.mv)(rows)


def combined(coefficients: Array, rows: Array) -> Array:
    """The combinations of rows whose coefficients are the columns."""
    return jnp.matmul(coefficients.T, rows, precision=lax.Precision.HIGHEST)


def inner(V: Array, w: Array) -> Array:
    """The inner products of rows with a vector: vᴴw for each v; with rows w a matrix."""
    return jnp.matmul(jnp.conj(V), w.T, precision=lax.Precision.HIGHEST)


def unit_rows(rows: Array) -> Array:
    """Rows of norm 1; those that are zero or not finite are zero."""
    size = jax.vmap(power_of_two)(jnp.max(jnp.abs(rows), axis=-1, initial=0))
    rows = mul((1 / size)[:, None], rows)
    lengths = jnp.sqrt(jnp.sum(jnp.square(jnp.abs(rows)), axis=-1))
    usable = jnp.isfinite(lengths) & (lengths > 0)
    return jnp.where(usable[:, None], mul((1 / jnp.where(usable, lengths, 1))[:, None], rows), 0)


def scaled_columns(values: Array, vectors: Array, least: Array) -> tuple[Array, Array]:
    """Eigenvectors divided by √|λ|, the largest |λ| first, zero where |λ| is at most `least`; and the signs of λ."""
    order = jnp.argsort(-jnp.abs(values))
    values, vectors = values[order], vectors[:, order]
    live = jnp.abs(values) > least
    scales = jnp.where(live, 1 / jnp.sqrt(jnp.where(live, jnp.abs(values), 1)), 0)
    return mul(scales[None, :], vectors), jnp.where(live, jnp.sign(values), 0)


def orthonormal_images(rows: Array, images: Array) -> tuple[Array, Array]:
    """Combinations of rows whose images are orthonormal, zero where images depend on each other; and the images."""
    tiny = jnp.sqrt(jnp.finfo(rows.dtype).eps)
    # Twice: the first round leaves errors of eps / tiny.
    for _ in range(2):
        lengths = jnp.sqrt(jnp.sum(jnp.square(jnp.abs(images)), axis=-1))
        shrink = jnp.where(lengths > 0, 1 / jnp.where(lengths > 0, lengths, 1), 0)[:, None]
        rows, images = mul(shrink, rows), mul(shrink, images)
        values, vectors = jnp.linalg.eigh(inner(images, images))
        columns, _ = scaled_columns(values, vectors, tiny * jnp.max(jnp.abs(values), initial=0))
        rows, images = combined(columns, rows), combined(columns, images)
    return rows, images
