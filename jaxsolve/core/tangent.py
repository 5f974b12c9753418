"""Derivatives of a function of a tree of arrays, of which some move and others do not."""

from collections.abc import Callable, Sequence
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
    moved, tangents = directions(tangent)
    return along(A, moved, tangents, product) if moved else None


def directions(tangent: Any) -> tuple[tuple[int, ...], tuple[Array, ...]]:
    """Which leaves of a tree move, by their numbers, and their tangents."""
    tangents = jax.tree.leaves(tangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    moved = tuple([k for k, t in enumerate(tangents) if not isinstance(t, SymbolicZero)])
    return moved, tuple([tangents[k] for k in moved])


def along(A: Any, moved: Sequence[int], tangents: Sequence[Array], product: Callable[[Any], Array]) -> Array:
    """The derivative of `product(A)` where the leaves `moved` of A have these tangents, and the others none."""
    leaves, treedef = jax.tree.flatten(A)

    def of_moved(*values):
        full = list(leaves)
        for k, value in zip(moved, values, strict=True):
            full[k] = value
        return product(jax.tree.unflatten(treedef, full))

    return jax.jvp(of_moved, tuple([leaves[k] for k in moved]), tuple(tangents))[1]
