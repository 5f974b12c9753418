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

from jaxsolve.core.shards import while_loop
from jaxsolve.core.vector import exponent, mul, peak, plain_norm, power, upper_half
from jaxsolve.operators.operator import LinearOperator

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
        ordinary: 2^-of_A A.
        b: The right-hand side divided by 2^of_b, of ordinary size.
        of_A: The exponent of the size of A's entries.
        of_b: The exponent of the size of b.
    """

    A: LinearOperator
    ordinary: LinearOperator
    b: Array
    of_A: Array
    of_b: Array

    def __call__(self, x: Array, target: Array, scale: Array | None) -> tuple[Array, Array, Array, Array]:
        """The residual of x, sharp where its rounding matters.

        Args:
            x: Shape (n,).
            target: The norm that decides.
            scale: A power of two: residuals that overflow in its units have diverged, and those that underflow are
                zero. None where nothing is known of x: then that of the residual.

        Returns:
            2^-of_b (b - A x), its norm, the norm of what rounding makes of a plain residual, and the products spent.
        """
        real = target.dtype
        of_x = exponent(peak(x))
        ordinary, unit = mul(power(-of_x, real), x), power(self.of_A + of_x - self.of_b, real)
        r = self.b - mul(unit, self.ordinary.mv(ordinary))
        entries = self.A.most_entries
        width = WIDTH if entries is None else 2 * math.sqrt(entries[0] * entries[1])
        if scale is None:
            scale = power(exponent(peak(r)), real)
        rounding = jnp.finfo(real).eps * (width * unit * plain_norm(ordinary) + plain_norm(self.b))
        inverse = 1 / scale

        def again(_: Any) -> tuple[Array, Array, Array]:
            if entries is not None:
                new = self._from_entries(mul(unit, ordinary), entries[0])
                return jnp.array(False), new, plain_norm(mul(inverse, new)) * scale
            halves = _parts(upper_half, ordinary), _parts(lambda v: v - upper_half(v), ordinary)
            upper, lower = lax.map(self.ordinary.mv, jnp.stack(halves))
            other = (self.b - mul(unit, upper)) - mul(unit, lower)
            other_norm = plain_norm(mul(inverse, other)) * scale
            larger = other_norm > norm
            return jnp.array(False), jnp.where(larger, other, r), jnp.where(larger, other_norm, norm)

        norm = plain_norm(mul(inverse, r)) * scale
        asked = uncertain(norm, rounding, target)
        # A loop of at most one round: a branch would become a choice under vmap, with both sides computed.
        _, r, norm = while_loop(lambda carry: carry[0], again, (asked, r, norm))
        return r, norm, rounding, 1 + PRODUCTS * asked.astype(jnp.int32)

    def _from_entries(self, x: Array, most: int) -> Array:
        """b - 2^-of_A A x by sums over the entries, of which a row has at most so many."""
        real = x.real.dtype
        scale = power(-self.of_A, real)
        # Above twice the sum of any row, where numbers that are cut at it add up without error.
        bound = 4 * most * peak(x)
        cut = power(exponent(bound) + 2, real)

        def subtracted(b: Array, *factors: tuple[Callable[[Array], Array], Array]) -> Array:
            """b minus the sum of a row's products part(a) v, over all real factors (part, v)."""
            lost = jnp.zeros_like(b)
            for part, v in factors:
                # Of the difference, what it rounds off is kept too (Knuth).
                head, tail = self.A.row_sums(lambda a, w, part=part: _split(part(a) * scale, w, cut), v)
                difference = b - head
                back = difference - b
                lost += ((b - (difference - back)) - (head + back)) - tail
                b = difference
            return b + lost

        if not (jnp.iscomplexobj(x) or jnp.iscomplexobj(self.b)):
            return subtracted(self.b, (jnp.real, x))
        if not jnp.issubdtype(self.A.dtype, jnp.complexfloating):
            return lax.complex(
                subtracted(self.b.real, (jnp.real, x.real)), subtracted(self.b.imag, (jnp.real, x.imag))
            )
        return lax.complex(
            subtracted(self.b.real, (jnp.real, x.real), (jnp.imag, -x.imag)),
            subtracted(self.b.imag, (jnp.real, x.imag), (jnp.imag, x.real)),
        )


def uncertain(norm: Array, rounding: Array, target: Array) -> Array:
    """Whether rounding could turn the verdict on a residual of this norm, or is most of it."""
    surely_within = norm + rounding <= target
    surely_above = (norm > target + rounding) & (norm > CLOSE * rounding)
    return jnp.isfinite(norm) & ~surely_within & ~surely_above


def _parts(f: Callable[[Array], Array], v: Array) -> Array:
    return lax.complex(f(v.real), f(v.imag)) if jnp.iscomplexobj(v) else f(v)


def _split(a: Array, x: Array, cut: Array) -> tuple[Array, Array]:
    """The product a x as a multiple of the last digit of `cut`, and the rest."""
    upper_a, upper_x = upper_half(a), upper_half(x)
    lower_a, lower_x = a - upper_a, x - upper_x
    product = upper_a * upper_x
    head = (cut + product) - cut
    return head, (product - head) + (upper_a * lower_x + lower_a * upper_x) + lower_a * lower_x
