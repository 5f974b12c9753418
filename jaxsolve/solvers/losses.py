"""Losses: what a residual costs by its square, so that a few that are far off do not decide a fit.

A fit with a loss ρ minimises ½ s² Σ ρ((rᵢ/s)²), with s the size from which residuals count as far off. All losses here
have ρ(0) = 0 and ρ'(0) = 1: residuals much smaller than s cost what they do in least squares.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.array_likes import told
from jaxsolve.core.names import normalized, unknown_name


def huber(z: Array) -> Array:
    """z, 2√z - 1 beyond 1: costs grow like |r| (Huber 1964)."""
    return jnp.where(z <= 1, z, 2 * jnp.sqrt(jnp.where(z <= 1, 1, z)) - 1)


def soft_l1(z: Array) -> Array:
    """2(√(1 + z) - 1): a smooth `huber`, written without the difference."""
    return 2 * z / (jnp.sqrt(1 + z) + 1)


def cauchy(z: Array) -> Array:
    """log(1 + z): costs grow like log |r|."""
    return jnp.log1p(z)


def tukey(z: Array) -> Array:
    """(1 - (1 - z)³)/3, 1/3 beyond 1: what is far off has no weight (Beaton and Tukey 1974)."""
    z = jnp.minimum(z, 1)
    return z * (1 - z + z**2 / 3)


#: The losses by name, `linear` among them, which is none.
LOSSES: dict[str, Callable[[Array], Array] | None] = {
    "linear": None,
    "huber": huber,
    "soft-l1": soft_l1,
    "cauchy": cauchy,
    "tukey": tukey,
}


class Loss(eqx.Module):
    """A loss that is known by name.

    Attributes:
        name: A name in `LOSSES`.
    """

    name: str = eqx.field(static=True)

    @property
    def rho(self) -> Callable[[Array], Array] | None:
        """ρ, None where a residual costs its square."""
        return LOSSES[self.name]

    def __repr__(self) -> str:
        return repr(self.name)


def as_loss(loss: Any) -> Any:
    """The loss of a name; functions are returned as they are.

    >>> as_loss("Soft_L1"), as_loss("huber").rho(4.0).item()
    ('soft-l1', 3.0)
    >>> as_loss("hubert")
    Traceback (most recent call last):
    ValueError: unknown loss 'hubert'. Did you mean 'huber'? Known: cauchy, huber, linear, soft-l1, tukey.
    """
    if isinstance(loss, str):
        known = {normalized(name): name for name in LOSSES}
        if normalized(loss) not in known:
            raise ValueError(unknown_name("loss", loss, LOSSES))
        return Loss(known[normalized(loss)])
    if not callable(loss):
        raise TypeError(
            f"LevenbergMarquardt: loss expects a name ({', '.join(LOSSES)}) or a function rho(z) of the squared "
            f"residuals; got {told(loss)}."
        )
    return loss
