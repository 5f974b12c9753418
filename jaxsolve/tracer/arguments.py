"""Arguments of a traced function: which leaves carry values, which fix the structure.

Arrays and Python floats carry values: they may be traced and never cause a new reading. Everything else (strings,
functions, None) is part of the structure. Integers are values too, until the reading needs to know them: as the size
of a slice, or as indices; then they become part of the structure with their values.
"""

import dataclasses
import hashlib
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.compat import Tracer


@dataclasses.dataclass(frozen=True)
class Split:
    """Leaves of a pytree in two parts.

    Attributes:
        values: The leaves that carry values.
        fixed: For each leaf its fixed value, or `VALUE`.
        tree: The structure.
        key: Equal for arguments that one reading serves.
        integers_fixed: Whether concrete integers belong to the structure.
    """

    values: list[Any]
    fixed: tuple[Any, ...]
    tree: Any
    key: Hashable
    integers_fixed: bool

    def joined(self, values: list[Any]) -> Any:
        """The pytree with other values."""
        stream = iter(values)
        return jax.tree.unflatten(self.tree, [next(stream) if f is VALUE else f for f in self.fixed])


class _Value:
    def __repr__(self) -> str:
        return "VALUE"


VALUE = _Value()


def split(tree: Any, integers_fixed: bool) -> Split:
    """The parts of a pytree of arguments; with `integers_fixed`, concrete integers belong to the structure."""
    leaves, structure = jax.tree.flatten(tree)
    fixed = tuple(VALUE if _carries_value(leaf, integers_fixed) else _host(leaf) for leaf in leaves)
    values = [leaf for leaf, f in zip(leaves, fixed, strict=True) if f is VALUE]
    key = (structure, tuple(_signature(leaf, f) for leaf, f in zip(leaves, fixed, strict=True)))
    return Split(values, fixed, structure, key, integers_fixed)


def has_integers(tree: Any) -> bool:
    """Whether there are concrete integers that could be fixed."""
    return any(_is_value(leaf) and _is_concrete_integer(leaf) for leaf in jax.tree.leaves(tree))


def _is_value(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


def _is_concrete_integer(leaf: Any) -> bool:
    if isinstance(leaf, Tracer):
        return False
    dtype = jnp.result_type(leaf)
    return bool(jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_))


def _carries_value(leaf: Any, integers_fixed: bool) -> bool:
    return _is_value(leaf) and not (integers_fixed and _is_concrete_integer(leaf))


def _host(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf


def _signature(leaf: Any, fixed: Any) -> Hashable:
    if fixed is VALUE:
        aval = jax.typeof(leaf)
        return (aval.shape, aval.dtype, aval.weak_type)
    if isinstance(fixed, np.ndarray):
        digest = hashlib.blake2b(np.ascontiguousarray(fixed).data, digest_size=16).digest()
        return (fixed.shape, str(fixed.dtype), digest)
    return (type(fixed), fixed) if isinstance(fixed, Hashable) else id(fixed)
