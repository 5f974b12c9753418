"""Packing: a pytree of arrays as one flat vector, and back."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError

_LEAF = jax.tree.structure(0)


@dataclasses.dataclass(frozen=True)
class Packing:
    """How the leaves of a pytree lie in one vector: in order, each in C order.

    Attributes:
        treedef: The structure.
        shapes: Shape of each leaf.
        dtypes: Dtype of each leaf.

    >>> packing = Packing.of({"u": jnp.ones((2, 3)), "p": jnp.zeros(4)})
    >>> packing.size, jax.tree.map(jnp.shape, packing.unpack(jnp.arange(10.0)))
    (10, {'p': (4,), 'u': (2, 3)})
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, tree: Any) -> "Packing":
        """The packing of a tree of arrays or shapes."""
        leaves, treedef = jax.tree.flatten(tree)
        return cls(treedef, tuple(tuple(v.shape) for v in leaves), tuple(jnp.dtype(v.dtype) for v in leaves))

    @classmethod
    def vector(cls, size: int, dtype: Any) -> "Packing":
        """The packing of one flat array."""
        return cls(_LEAF, ((size,),), (jnp.dtype(dtype),))

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def dtype(self) -> Any:
        """The common inexact dtype of the leaves."""
        return inexact(*self.dtypes)

    def pack(self, tree: Any, dtype: Any) -> Array:
        """The vector of a tree with this structure."""
        leaves = [typed(v if v.ndim == 1 else v.reshape(-1), dtype) for v in jax.tree.leaves(tree)]
        if len(leaves) == 1:
            return leaves[0]
        return jnp.concatenate(leaves) if leaves else jnp.zeros(0, dtype)

    def unpack(self, vector: Array) -> Any:
        """The tree of a vector; leaves keep their dtype where it is inexact and can hold the values."""
        if self == Packing(_LEAF, (vector.shape,), (vector.dtype,)):
            return vector
        leaves, start = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            stop = start + math.prod(shape)
            leaves.append(_typed(vector[start:stop].reshape(shape), dtype))
            start = stop
        return jax.tree.unflatten(self.treedef, leaves)

    def struct(self, dtype: Any) -> Any:
        """The shapes with one dtype, as a tree of `jax.ShapeDtypeStruct`."""
        return jax.tree.unflatten(self.treedef, [jax.ShapeDtypeStruct(shape, dtype) for shape in self.shapes])

    def widened(self, dtype: Any) -> "Packing":
        """The same structure with leaves that hold `dtype`."""
        return Packing(self.treedef, self.shapes, tuple(jnp.promote_types(d, dtype) for d in self.dtypes))

    def check(self, tree: Any, what: str) -> None:
        """Raises `StructureError` unless `tree` has this structure and these shapes."""
        other = Packing.of(tree)
        if other.treedef != self.treedef or other.shapes != self.shapes:
            raise StructureError(f"{what}: expected {self}, got {other}.")

    def __str__(self) -> str:
        shapes = jax.tree.unflatten(self.treedef, [_Shape(shape) for shape in self.shapes])
        return str(shapes)


class _Shape:
    """A shape that prints as one and is a leaf."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def __repr__(self) -> str:
        return f"array{self.shape}"


def _typed(leaf: Array, dtype: Any) -> Array:
    # A real slot keeps a complex solution, and an integer one any.
    if not jnp.issubdtype(dtype, jnp.inexact) or (
        jnp.iscomplexobj(leaf) and not jnp.issubdtype(dtype, jnp.complexfloating)
    ):
        return leaf
    return leaf.astype(dtype) if jnp.finfo(dtype).bits < jnp.finfo(leaf.dtype).bits else leaf


def typed(v: Array, dtype: Any) -> Array:
    """v as `dtype`; v itself where it is that already."""
    return v if v.dtype == dtype else v.astype(dtype)


def inexact(*dtypes: Any) -> Any:
    """The promoted dtype, floating point at least (the default one where all are integers).

    Raises:
        TypeError: For numbers of half precision.
    """
    if dtypes and all(d == dtypes[0] for d in dtypes) and jnp.issubdtype(dtypes[0], jnp.inexact):
        dtype = jnp.dtype(dtypes[0])
    else:
        dtype = jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)
        dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(dtype, float)
    if dtype.itemsize < 4:
        raise TypeError(
            f"systems are solved in float32, float64, complex64 or complex128; got {dtype.name}. "
            "Convert them first: A.astype(jnp.float32), b.astype(jnp.float32)."
        )
    return dtype
