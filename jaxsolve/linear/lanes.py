"""Batches of large systems, solved one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.turns import take_turns


def lane_by_lane(
    solve: Callable[..., Any], shared: Callable[[Any], Any], inverse: Any, A: LinearOperator, *rest: Any
) -> Any:
    """solve(inverse, A, *rest); of a batch of large sparse systems on a CPU one lane after the other.

    Each lane then stops by itself, what it works on stays in the cache, and its memory serves the next one. Dense
    matrices are multiplied with all lanes at once. Not differentiable.

    Args:
        solve: Takes and returns trees of arrays.
        shared: What is made of an inverse that is the same for all lanes.
        inverse: An approximate inverse of A, or how to make it.
        A: The operator of shape (n, n).
        *rest: More arguments.
    """
    alone = jax.custom_batching.custom_vmap(solve)
    # The rule outlives this call: it keeps the shapes of A, none of its values.
    shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)), A)

    @alone.def_vmap
    def _(size: int, batched: Any, inverse: Any, *parts: Any) -> tuple[Any, Any]:
        del size
        if not any(jax.tree.leaves(batched[0])):
            inverse = shared(inverse)
            batched = [jax.tree.map(lambda _: False, inverse), *batched[1:]]
        leaves, treedef = jax.tree.flatten((inverse, *parts))
        several = jax.tree.leaves(batched)
        lanes = [leaf for leaf, there in zip(leaves, several, strict=True) if there]

        def lane(own: list[Any]) -> Any:
            left = iter(own)
            return treedef.unflatten(next(left) if b else x for x, b in zip(leaves, several, strict=True))

        if take_turns(min(shapes.shape), (shapes, inverse)):
            out = lax.map(lambda own: alone(*lane(own)), lanes)
        else:
            out = jax.vmap(lambda own: solve(*lane(own)))(lanes)
        return out, jax.tree.map(lambda _: True, out)

    return alone(inverse, A, *rest)
