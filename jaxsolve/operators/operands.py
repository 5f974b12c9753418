"""What operators are combined with: vectors, numbers, facts that are declared of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.shards import axes_inside, axes_of, varying
from jaxsolve.core.traits import Traits, traits_for
from jaxsolve.core.tree import inexact


def vector(A: Any, x: Any) -> Array:
    """What an operator is multiplied with, as an array."""
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        raise TypeError(
            f"an operator of shape {A.shape} multiplies vectors and operators; got a {type(x).__name__}."
        ) from None


def column(A: Any, x: Any) -> Array:
    """The vector of A x."""
    x = vector(A, x)
    if x.ndim != 1 or x.shape[0] != A.shape[1]:
        raise StructureError(
            f"an operator of shape {A.shape} multiplies vectors of shape ({A.shape[1]},); got {x.shape}. "
            "Use jax.vmap for several vectors."
        )
    return x


def row(A: Any, x: Any) -> Array:
    """The vector of xᵀ A."""
    x = vector(A, x)
    if x.ndim != 1 or x.shape[0] != A.shape[0]:
        raise StructureError(
            f"a vector of shape ({A.shape[0]},) multiplies an operator of shape {A.shape} from the left, as "
            f"x @ A = A.T @ x; got {x.shape}. Use jax.vmap for several vectors, js.DenseMatrix(M) @ A for a matrix."
        )
    return x


def in_precision(values: Array, dtype: Any) -> Array:
    """The values of a matrix in the precision of `dtype`: a real matrix stays real in a complex system."""
    wanted = dtype
    if not jnp.issubdtype(values.dtype, jnp.complexfloating):
        wanted = jnp.finfo(inexact(dtype)).dtype
    return values if values.dtype == wanted else values.astype(wanted)


def check_scalar(factor: Any) -> None:
    """Raises `StructureError` unless a factor of an operator is one number."""
    if jnp.ndim(factor):
        raise StructureError(
            f"an operator is multiplied by a number; got an array of shape {jnp.shape(factor)}. js.Diagonal(v) @ A "
            "scales the rows of A, A @ js.Diagonal(v) its columns."
        )


def declaration(A: Any, declared: dict[str, bool]) -> Traits:
    """The traits of A with `declared` added (or, where False, removed)."""
    complex_ = bool(jnp.issubdtype(A.dtype, jnp.complexfloating))
    new = traits_for(complex_, **declared)
    values = {f.name: getattr(A.traits, f.name) or getattr(new, f.name) for f in dataclasses.fields(Traits)}
    values.update({name: False for name, value in declared.items() if not value})
    return Traits(**values)


def on_parts(product: Callable[[Array], Array], x: Array) -> Array:
    """The product of a real matrix and a complex vector, by two products with real ones."""
    return lax.complex(product(x.real), product(x.imag))


def transposed_product(product: Callable[[Array], Array], zeros: Array, y: Array) -> Array:
    """Aᵀ y, by JAX's derivative of the product x -> A x at zeros.

    Raises:
        NotImplementedError: If JAX cannot transpose what the product is made of.
    """
    # By vjp and not by linear_transpose, which refuses `u.at[i].set(v)` unless the indices are known to differ.
    try:
        if axes_inside():
            # What does not vary over a mesh axis gets the sum of its cotangents there; a part of a vector varies.
            axes = axes_of((y, jax.eval_shape(product, zeros)))
            zeros, y = varying(zeros, axes), varying(y, axes)
        out, pull = jax.vjp(product, zeros)
        return pull(y.astype(out.dtype))[0]
    # The product has been made before: what fails here is its transposition, each primitive in its own words.
    except (AssertionError, NotImplementedError, ValueError) as error:
        raise NotImplementedError(
            "a gradient or a method with the adjoint needs the transpose of A, and JAX has none for what A is made of "
            f"({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}). Write A as a "
            "js.LinearOperator with a method `transpose()`."
        ) from error
