"""Derivatives in the direction of a tangent operator."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.custom_derivatives import SymbolicZero


def pushed(A: Any, tangent: Any, product: Callable[[Any], Array]) -> Array | None:
    """The derivative of `product(A)` along the tangent of A, None where A has none.

    Args:
        A: A pytree of arrays.
        tangent: The same structure, with `SymbolicZero` where a leaf does not move.
        product: Linear in A for a matrix; anything differentiable.
    """
    leaves, treedef = jax.tree.flatten(A)
    tangents = jax.tree.leaves(tangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    moved = [k for k, t in enumerate(tangents) if not isinstance(t, SymbolicZero)]
    if not moved:
        return None

    def of_moved(*values):
        full = list(leaves)
        for k, value in zip(moved, values, strict=True):
            full[k] = value
        return product(jax.tree.unflatten(treedef, full))

    return jax.jvp(of_moved, tuple(leaves[k] for k in moved), tuple(tangents[k] for k in moved))[1]
