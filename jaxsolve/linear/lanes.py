"""Batches of large systems, solved one after the other."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsolve.operators.conversion import is_operator
from jaxsolve.operators.operator import LinearOperator

#: Unknowns a core from which lanes are solved one after the other. `CG` on 16 coefficient fields, two cores, the whole
#: batch at once and lane by lane: 256 unknowns 1.3 and 1.5 ms, 1024 12 and 7, 4096 97 and 43, 16 384 730 and 490.
BUSY = 512


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

        if _suits(shapes, inverse):
            out = lax.map(lambda own: alone(*lane(own)), lanes)
        else:
            out = jax.vmap(lambda own: solve(*lane(own)))(lanes)
        return out, jax.tree.map(lambda _: True, out)

    return alone(inverse, A, *rest)


def _suits(A: LinearOperator, inverse: Any) -> bool:
    # A batch that is spread over several devices is worked on where it is.
    if (
        jax.default_backend() != "cpu"
        or jax.device_count() > 1
        or min(A.shape) < BUSY * (os.cpu_count() or 1)
    ):
        return False
    parts = jax.tree.leaves((A, inverse), is_leaf=is_operator)
    return all(part.lanes_share_nothing for part in parts if is_operator(part))
