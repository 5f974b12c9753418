"""Shards: what a solve does inside `jax.shard_map`, where each device holds its part of a vector.

There JAX notes in the type of a value over which axes of the mesh it varies, and a loop or a branch must hand back the
types that it was given. And the parts may be one vector: then a sum over its elements is a sum over the devices too.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


@dataclasses.dataclass(frozen=True)
class Joined:
    """How the parts of one vector lie on a mesh.

    Attributes:
        axes: The axes of the mesh over which they lie; () where vectors are whole.
        counts: How many elements of each part are some of the vector, where others fill it up; None for all.
    """

    axes: tuple[str, ...] = ()
    counts: tuple[int, ...] | None = None


#: Vectors are whole.
WHOLE = Joined()

_JOINED: contextvars.ContextVar[Joined] = contextvars.ContextVar("_JOINED", default=WHOLE)


@contextlib.contextmanager
def one_vector_over(joined: Joined) -> Iterator[None]:
    """A context in which the parts of a vector on the axes of a mesh are one: sums are over all of them."""
    token = _JOINED.set(joined)
    try:
        yield
    finally:
        _JOINED.reset(token)


def joined() -> Joined:
    """How the parts of vectors lie here."""
    return _JOINED.get()


def joined_over(axes: tuple[str, ...]) -> Joined:
    """How the parts of vectors over these axes lie here."""
    here = _JOINED.get()
    return here if here.axes == axes else Joined(axes)


def joined_axes() -> tuple[str, ...]:
    """The axes over which vectors lie here; () where each is whole."""
    return _JOINED.get().axes


def summed(v: Array) -> Array:
    """The sum over the parts of a vector of what was summed over one; v itself where vectors are whole."""
    return lax.psum(v, joined_axes()) if joined_axes() else v


def greatest(v: Array) -> Array:
    """The largest of the numbers that the parts of a vector found; v itself where vectors are whole."""
    # Scales and verdicts are made of it, of which nothing is to be differentiated.
    return lax.pmax(lax.stop_gradient(v), joined_axes()) if joined_axes() else v


def agreed(tree: Any) -> Any:
    """Numbers that all parts found alike, as values that do not vary over the parts."""
    return jax.tree.map(greatest, tree) if joined_axes() else tree


def length(n: int) -> int:
    """The length of a vector of which each part has n elements."""
    if joined().counts is not None:
        return sum(joined().counts or ())
    return n * math.prod(lax.axis_size(axis) for axis in joined_axes())


def ones(n: int, dtype: Any) -> Array:
    """The part of the vector of ones, shape (n,): zeros where elements fill a part up."""
    counts = joined().counts
    if counts is None:
        return jnp.ones(n, dtype)
    return (jnp.arange(n) < jnp.asarray(counts)[lax.axis_index(joined_axes())]).astype(dtype)


def first_of(count: int) -> Any:
    """The number of the first element of this part of a vector, where each part has so many."""
    if not joined_axes():
        return jnp.uint32(0)
    return lax.axis_index(joined_axes()).astype(jnp.uint32) * jnp.uint32(count)


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
