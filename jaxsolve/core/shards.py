"""Shards: what a solve does inside `jax.shard_map`, where each device holds its part of a vector.

There JAX notes in the type of a value over which axes of the mesh it varies, and a loop or a branch must hand back the
types that it was given. And the parts may be one vector: then a sum over its elements is a sum over the devices too.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

#: The axes over which the parts of one vector lie.
_AXES: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("_AXES", default=())


@contextlib.contextmanager
def one_vector_over(axes: tuple[str, ...]) -> Iterator[None]:
    """A context in which the parts of a vector on these axes of a mesh are one: sums are over all of them."""
    token = _AXES.set(axes)
    try:
        yield
    finally:
        _AXES.reset(token)


def joined_axes() -> tuple[str, ...]:
    """The axes over which vectors lie here; () where each is whole."""
    return _AXES.get()


def summed(v: Array) -> Array:
    """The sum over the parts of a vector of what was summed over one; v itself where vectors are whole."""
    return lax.psum(v, _AXES.get()) if _AXES.get() else v


def greatest(v: Array) -> Array:
    """The largest of the numbers that the parts of a vector found; v itself where vectors are whole."""
    # Scales and verdicts are made of it, of which nothing is to be differentiated.
    return lax.pmax(lax.stop_gradient(v), _AXES.get()) if _AXES.get() else v


def agreed(tree: Any) -> Any:
    """Numbers that all parts found alike, as values that do not vary over the parts."""
    return jax.tree.map(greatest, tree) if _AXES.get() else tree


def length(n: int) -> int:
    """The length of a vector of which each part has n elements."""
    return n * math.prod(lax.axis_size(axis) for axis in _AXES.get())


def first_of(count: int) -> Any:
    """The number of the first element of this part of a vector, where each part has so many."""
    return (
        lax.axis_index(_AXES.get()).astype(jnp.uint32) * jnp.uint32(count) if _AXES.get() else jnp.uint32(0)
    )


def axes_inside() -> tuple[str, ...]:
    """The axes of the mesh over which `jax.shard_map` has split what is seen here; () outside."""
    return tuple(jax.sharding.get_abstract_mesh().manual_axes)


def axes_of(tree: Any) -> frozenset[str]:
    """The axes over which the arrays of a tree, or their shapes, vary as far as their types tell."""
    return frozenset().union(*(_varies(leaf) for leaf in jax.tree.leaves(tree)))


def _varies(leaf: Any) -> frozenset[str]:
    kind = getattr(leaf if hasattr(leaf, "manual_axis_type") else jax.typeof(leaf), "manual_axis_type", None)
    return frozenset() if kind is None else kind.varying


def varying(tree: Any, axes: frozenset[str]) -> Any:
    """The arrays of a tree as ones that vary over these axes."""

    def cast(leaf: Any) -> Any:
        more = tuple(sorted(axes - _varies(leaf)))
        return lax.pcast(leaf, more, to="varying") if more else leaf

    return jax.tree.map(cast, tree) if axes else tree


def like(shape: tuple[int, ...], dtype: Any, axes: frozenset[str]) -> jax.ShapeDtypeStruct:
    """What stands for an array of this shape that varies over these axes."""
    if not axes:
        return jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(lambda: varying(jnp.zeros(shape, dtype), axes))


def while_loop(condition: Callable[[Any], Any], body: Callable[[Any], Any], start: Any) -> Any:
    """`lax.while_loop`, in `shard_map` too: what is carried varies over all axes that meet in the loop."""
    if not axes_inside():
        return lax.while_loop(condition, body, start)
    axes = axes_of((start, jax.eval_shape(lambda c: (condition(c), body(c)), start)))
    return lax.while_loop(condition, lambda c: varying(body(c), axes), varying(start, axes))


def fori_loop(count: int, body: Callable[[Any, Any], Any], start: Any) -> Any:
    """`lax.fori_loop` from 0, in `shard_map` too."""
    if not axes_inside():
        return lax.fori_loop(0, count, body, start)
    axes = axes_of((start, jax.eval_shape(body, 0, start)))
    return lax.fori_loop(0, count, lambda k, c: varying(body(k, c), axes), varying(start, axes))


def cond(predicate: Any, yes: Callable[..., Any], no: Callable[..., Any], *operands: Any) -> Any:
    """`lax.cond`, in `shard_map` too: both branches vary over the axes of either."""
    if not axes_inside():
        return lax.cond(predicate, yes, no, *operands)
    axes = axes_of(jax.eval_shape(lambda *given: (yes(*given), no(*given)), *operands))
    return lax.cond(predicate, *(lambda *v, f=f: varying(f(*v), axes) for f in (yes, no)), *operands)
