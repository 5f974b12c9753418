"""Residual: b - A x so exactly that a verdict can rest on it.

Computed plainly, b - A x carries a rounding error of about eps (|A||x| + |b|): in float32 often more than the
tolerance, and with luck the computed residual is zero where the true one is not. Where rounding could turn the verdict
the residual is computed again:

* With stored entries, each product a_ij x_j is split into four exact ones (Dekker 1971), and the leading ones are
  added without error: cut at a common power of two, they are multiples of one unit (Rump, Ogita and Oishi 2008).
  The error left is about sqrt(eps) times that of the plain sum.
* Of other operators only the products are known. A is applied to the upper and to the lower digits of x, which rounds
  anew, and of both residuals the larger one counts.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.vector import exponent, plain_norm, power, power_of_two, upper_half
from jaxsolve.operators.base import LinearOperator
from jaxsolve.solvers.units import rescaled

#: Products with A that a second, sharper residual counts as.
PRODUCTS = 2
#: ‖|A|‖ is taken for this many times the size of A's entries where these are not stored.
WIDTH = 8.0
#: A residual below this many times its rounding is computed again.
CLOSE = 10.0


class Residual(eqx.Module):
    """The residual of a system in the units of b.

    Attributes:
        A: The operator.
        b: The right-hand side divided by 2^of_b, of ordinary size.
        of_A: The exponent of the size of A's entries.
        of_b: The exponent of the size of b.
    """

    A: LinearOperator
    b: Array
    of_A: Array
    of_b: Array

    def plain(self, x: Array) -> tuple[Array, Array]:
        """2^-of_b (b - A x), and a bound of its rounding in the norm."""
        real = jnp.finfo(self.b.dtype).dtype
        of_x = exponent(jnp.max(jnp.abs(x), initial=0))
        ordinary = x * power(-of_x, real)
        unit = power(self.of_A + of_x - self.of_b, real)
        r = self.b - unit * rescaled(self.A, -self.of_A, real).mv(ordinary)
        entries = self.A.most_entries
        width = WIDTH if entries is None else 2 * math.sqrt(entries[0] * entries[1])
        rounding = jnp.finfo(real).eps * (width * unit * plain_norm(ordinary) + plain_norm(self.b))
        return r, rounding.astype(real)

    def sharp(self, x: Array, r: Array, asked: Array) -> Array:
        """The residual r of x computed again where it is asked for; under vmap only if one lane asks."""

        def again(_: Any) -> tuple[Array, Array]:
            return jnp.array(False), self._again(x, r).astype(r.dtype)

        # A loop of at most one round: a branch would become a choice under vmap, with both sides computed.
        return lax.while_loop(lambda carry: carry[0], again, (asked, r))[1]

    def _again(self, x: Array, r: Array) -> Array:
        real = jnp.finfo(self.b.dtype).dtype
        of_x = exponent(jnp.max(jnp.abs(x), initial=0))
        ordinary, unit = x * power(-of_x, real), power(self.of_A + of_x - self.of_b, real)
        if self.A.most_entries is not None:
            return self._from_entries(unit * ordinary)
        halves = _parts(upper_half, ordinary), _parts(lambda v: v - upper_half(v), ordinary)
        upper, lower = lax.map(rescaled(self.A, -self.of_A, real).mv, jnp.stack(halves))
        other = (self.b - unit * upper) - unit * lower
        return jnp.where(plain_norm(other) > plain_norm(r), other, r)

    def _from_entries(self, x: Array) -> Array:
        """b - 2^-of_A A x by sums over the entries."""
        scale = power(-self.of_A, x.real.dtype)

        def combine(b: Array, *factors: tuple[Callable[[Array], Array], Array]) -> Array:
            """b minus the sum of a row's products part(a) v, over all factors (part, v), real."""

            def total(term: Callable[..., Array], *rows: Array) -> Array:
                sums = 0
                for part, v in factors:
                    sums += self.A.row_sums(
                        lambda a, w, *r, part=part: term(part(a) * scale, w, *r), v, *rows
                    )
                return jnp.asarray(sums)

            size = total(lambda a, v: jnp.abs(a * v)) + jnp.abs(b)
            # Numbers cut at 4 power_of_two(size) > 2 size add up without error.
            cut = 4 * power_of_two(size)
            head, tail = total(_head, cut), total(_tail, cut)
            # The difference of b and the head, and what it rounds off (Knuth).
            difference = b - head
            back = difference - b
            lost = (b - (difference - back)) - (head + back)
            return difference + (lost - tail)

        if not (jnp.iscomplexobj(x) or jnp.iscomplexobj(self.b)):
            return combine(self.b, (jnp.real, x))
        if not jnp.issubdtype(self.A.dtype, jnp.complexfloating):
            return lax.complex(
                combine(self.b.real, (jnp.real, x.real)), combine(self.b.imag, (jnp.real, x.imag))
            )
        return lax.complex(
            combine(self.b.real, (jnp.real, x.real), (jnp.imag, -x.imag)),
            combine(self.b.imag, (jnp.real, x.imag), (jnp.imag, x.real)),
        )


def uncertain(norm: Array, rounding: Array, target: Array) -> Array:
    """Whether rounding could turn the verdict on a residual of this norm, or is most of it."""
    surely_within = norm + rounding <= target
    surely_above = (norm > target + rounding) & (norm > CLOSE * rounding)
    return jnp.isfinite(norm) & ~surely_within & ~surely_above


def _parts(f: Callable[[Array], Array], v: Array) -> Array:
    return lax.complex(f(v.real), f(v.imag)) if jnp.iscomplexobj(v) else f(v)


def _head(a: Array, x: Array, cut: Array) -> Array:
    """The product of the upper halves, rounded to a multiple of the last digit of `cut`."""
    return (cut + upper_half(a) * upper_half(x)) - cut


def _tail(a: Array, x: Array, cut: Array) -> Array:
    """The product without that."""
    upper_a, upper_x = upper_half(a), upper_half(x)
    lower_a, lower_x = a - upper_a, x - upper_x
    product = upper_a * upper_x
    return (product - ((cut + product) - cut)) + (upper_a * lower_x + lower_a * upper_x) + lower_a * lower_x
