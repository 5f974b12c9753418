"""Systems over the real numbers: functions of complex leaves whose real and imaginary parts are the unknowns.

A function of a complex leaf and a real one cannot be linear over the complex numbers: i times a real leaf is none. Nor
can one that conjugates. Both are linear over the real numbers, on vectors that hold a complex leaf as its real part,
then its imaginary part.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from jaxsolve.core.tree import Packing, inexact
from jaxsolve.operators.function import check_output


def joined(
    f: Callable[..., Any], unknown: Packing, rhs: Packing, args: tuple, kwargs: dict
) -> tuple[Packing, Packing]:
    """The structures of x and of b, complex leaf by leaf where b, x0 or what f returns is.

    Args:
        f: f(x, *args, **kwargs).
        unknown: The structure of x0, or of b where that gives the structure of x.
        rhs: The structure of b.
        args: Further arguments.
        kwargs: The same by name.
    """
    square = unknown.fits(rhs)
    while True:
        if square:
            unknown, rhs = unknown.joined(rhs), rhs.joined(unknown)
        leaves = [
            jax.ShapeDtypeStruct(s, inexact(d)) for s, d in zip(unknown.shapes, unknown.dtypes, strict=True)
        ]
        y = jax.eval_shape(lambda x: f(x, *args, **kwargs), jax.tree.unflatten(unknown.treedef, leaves))
        check_output(f, y, rhs)
        wide = rhs.joined(Packing.of(y))
        if wide == rhs:
            return unknown, rhs
        rhs = wide


def by_parts(f: Callable[..., Any], unknown: Packing, rhs: Packing) -> Callable[..., Array]:
    """f between real vectors in the form of two packings that are split."""

    def parts(v: Array, *args: Any, **kwargs: Any) -> Array:
        y = f(unknown.unpack(v), *args, **kwargs)
        check_output(f, y, rhs)
        return rhs.pack(y, rhs.vector_dtype(v.dtype, *(leaf.dtype for leaf in jax.tree.leaves(y))))

    parts.__name__ = getattr(f, "__name__", "the function")
    return parts
