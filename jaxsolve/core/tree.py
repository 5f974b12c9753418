"""Packing: a pytree of arrays as one flat vector, and back."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.array_likes import is_list_of_numbers, poses_as_array, stands_alone, told, unwrapped
from jaxsolve.core.errors import StructureError

_LEAF = jax.tree.structure(0)


@dataclasses.dataclass(frozen=True)
class Packing:
    """How the leaves of a pytree lie in one vector: in order, each in C order.

    Attributes:
        treedef: The structure.
        shapes: Shape of each leaf.
        dtypes: Dtype of each leaf.
        split: Whether the vector is real and holds each complex leaf as its real part, then its imaginary part.

    >>> packing = Packing.of({"u": jnp.ones((2, 3)), "p": jnp.zeros(4)})
    >>> packing.size, jax.tree.map(jnp.shape, packing.unpack(jnp.arange(10.0)))
    (10, {'p': (4,), 'u': (2, 3)})
    >>> halves = Packing.of(jnp.ones(2, complex), split=True)
    >>> halves.pack(jnp.array([1 + 3j, 2 + 4j]), float).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    split: bool = False

    @classmethod
    def of(cls, tree: Any, split: bool = False) -> "Packing":
        """The packing of a tree of arrays or shapes."""
        leaves, treedef = jax.tree.flatten(tree)
        dtypes = tuple(jnp.dtype(v.dtype) for v in leaves)
        return cls(treedef, tuple(tuple(v.shape) for v in leaves), dtypes, split)

    @classmethod
    def vector(cls, size: int, dtype: Any) -> "Packing":
        """The packing of one flat array."""
        return cls(_LEAF, ((size,),), (jnp.dtype(dtype),))

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(self.lengths)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The length of each leaf in the vector."""
        counts = map(math.prod, self.shapes)
        return tuple(n * (1 + halved) for n, halved in zip(counts, self._halved, strict=True))

    @property
    def _halved(self) -> tuple[bool, ...]:
        """Which leaves lie as two parts."""
        return tuple(self.split and _complex(dtype) for dtype in self.dtypes)

    @property
    def dtype(self) -> Any:
        """The common inexact dtype of the leaves."""
        return inexact(*self.dtypes)

    @property
    def mixed(self) -> bool:
        """Whether some leaves are complex and others are not."""
        return len({_complex(dtype) for dtype in self.dtypes}) == 2

    @property
    def has_complex(self) -> bool:
        """Whether some leaves are complex."""
        return any(map(_complex, self.dtypes))

    def vector_dtype(self, *dtypes: Any) -> Any:
        """The dtype of vectors of leaves that have these dtypes."""
        dtype = inexact(*dtypes)
        return jnp.finfo(dtype).dtype if self.split else dtype

    def constants(self, dtype: Any) -> Array:
        """The vectors whose parts are constant, orthonormal, shape (n, k): 1 and, of complex leaves in two parts, i.

        >>> Packing.of(jnp.ones(1, complex), split=True).constants(float).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        columns = []
        for part in (jnp.ones, lambda s, d: jnp.full(s, 1j, d)) if any(self._halved) else (jnp.ones,):
            leaves = [
                part(s, d) if halved or part is jnp.ones else jnp.zeros(s, d)
                for s, d, halved in zip(self.shapes, self.dtypes, self._halved, strict=True)
            ]
            column = self.pack(jax.tree.unflatten(self.treedef, leaves), dtype)
            columns.append(column / jnp.sqrt(jnp.maximum(jnp.sum(column), 1)))
        return jnp.stack(columns, axis=1)

    def pack(self, tree: Any, dtype: Any) -> Array:
        """The vector of a tree with this structure.

        Raises:
            StructureError: If complex values would lie in a real leaf of a real vector.
        """
        pairs = list(zip(jax.tree.leaves(tree), self._halved, strict=True))
        if self.split and any(jnp.iscomplexobj(v) and not halved for v, halved in pairs):
            raise StructureError(
                f"complex values where the leaf is real: {Packing.of(tree).dtypes} for {self.dtypes}."
            )
        leaves = [jnp.stack([jnp.real(v), jnp.imag(v)]) if halved else v for v, halved in pairs]
        leaves = [typed(v if v.ndim == 1 else v.reshape(-1), dtype) for v in leaves]
        if len(leaves) == 1:
            return leaves[0]
        return jnp.concatenate(leaves) if leaves else jnp.zeros(0, dtype)

    def unpack(self, vector: Array) -> Any:
        """The tree of a vector, or of vectors (..., n); leaves keep an inexact dtype that holds the values."""
        if self == Packing(_LEAF, (vector.shape[-1:],), (vector.dtype,)):
            return vector
        leaves = [_typed(v, d) for v, d in zip(self.parts(vector), self.dtypes, strict=True)]
        return jax.tree.unflatten(self.treedef, leaves)

    def parts(self, vector: Any) -> list[Any]:
        """The leaves of a vector, or of vectors (..., n), by its own operations: NumPy's for arrays of NumPy."""
        leaves, start = [], 0
        for shape, halved in zip(self.shapes, self._halved, strict=True):
            stop = start + math.prod(shape)
            part = vector[..., start:stop]
            if halved:
                start, stop = stop, 2 * stop - start
                part = part + 1j * vector[..., start:stop]
            leaves.append(part.reshape((*vector.shape[:-1], *shape)))
            start = stop
        return leaves

    def struct(self, dtype: Any) -> Any:
        """The shapes with one dtype, as a tree of `jax.ShapeDtypeStruct`."""
        return jax.tree.unflatten(self.treedef, [jax.ShapeDtypeStruct(shape, dtype) for shape in self.shapes])

    def widened(self, dtype: Any) -> "Packing":
        """The same structure with leaves that hold `dtype`."""
        return dataclasses.replace(self, dtypes=tuple(common(d, dtype) for d in self.dtypes))

    def joined(self, other: "Packing") -> "Packing":
        """The same structure, complex where either is, leaf by leaf."""
        dtypes = zip(self.dtypes, other.dtypes, strict=True)
        wide = [common(a, jnp.complex64) if _complex(b) else a for a, b in dtypes]
        return dataclasses.replace(self, dtypes=tuple(map(jnp.dtype, wide)))

    def fits(self, other: "Packing") -> bool:
        """Whether both have one structure and the same shapes."""
        return (self.treedef, self.shapes) == (other.treedef, other.shapes)

    def check(self, tree: Any, what: str) -> None:
        """Raises `StructureError` unless `tree` has this structure and these shapes."""
        other = Packing.of(tree)
        if not self.fits(other):
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


def _complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.complexfloating)


def _typed(leaf: Array, dtype: Any) -> Array:
    # A real slot keeps a complex solution, and an integer one any.
    if not jnp.issubdtype(dtype, jnp.inexact) or (jnp.iscomplexobj(leaf) and not _complex(dtype)):
        return leaf
    return leaf.astype(dtype) if jnp.finfo(dtype).bits < jnp.finfo(leaf.dtype).bits else leaf


def typed(v: Array, dtype: Any) -> Array:
    """v as `dtype`; v itself where it is that already."""
    return v if v.dtype == dtype else v.astype(dtype)


def common(*values: Any) -> Any:
    """The dtype in which arrays, numbers or dtypes come together, by JAX's ordinary rules.

    `jax_numpy_dtype_promotion="strict"` asks for every conversion to be written out: this is the dtype to convert to.
    """
    # Nothing is traced in here, so that no compiled program depends on the switch.
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*values)


def inexact(*dtypes: Any) -> Any:
    """The promoted dtype, floating point at least (the default one where all are integers).

    Raises:
        TypeError: For numbers of half precision.
    """
    if dtypes and all(d == dtypes[0] for d in dtypes) and jnp.issubdtype(dtypes[0], jnp.inexact):
        dtype = jnp.dtype(dtypes[0])
    else:
        dtype = common(*dtypes) if dtypes else jnp.result_type(float)
        dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else common(dtype, float)
    if dtype.itemsize < 4:
        raise TypeError(
            f"systems are solved in float32, float64, complex64 or complex128; got {dtype.name}. "
            "Convert them first: A.astype(jnp.float32), b.astype(jnp.float32)."
        )
    return dtype


def as_arrays(name: str, tree: Any) -> Any:
    """A pytree with arrays for leaves; a list of numbers is one array, and so is what has `__jax_array__`.

    Raises:
        TypeError: If a leaf is no number, or only poses as an array; the text names what it is.
        StructureError: If a list of lists is ragged.
    """
    if isinstance(tree, jax.Array):
        return tree
    if tree is None:
        raise TypeError(f"{name} must be an array or a pytree of arrays; got None.")

    def array(leaf: Any) -> Array:
        refuse_posing(name, leaf)
        if not (eqx.is_array_like(leaf) or is_list_of_numbers(leaf)):
            raise TypeError(
                f"{name} must be an array or a pytree of arrays; got a {type(leaf).__name__} in it."
            )
        try:
            return jnp.asarray(unwrapped(leaf))
        except (TypeError, ValueError) as error:
            kind = (
                "a list of rows of different lengths"
                if isinstance(leaf, list)
                else f"a {type(leaf).__name__}"
            )
            raise StructureError(
                f"{name} must be an array or a pytree of arrays; got {kind}: {error}"
            ) from None

    return jax.tree.map(array, tree, is_leaf=stands_alone)


def refuse_posing(name: str, value: Any) -> None:
    """Raises `TypeError` for what has the face of an array and is none."""
    if poses_as_array(value) and not eqx.is_array(value):
        raise TypeError(
            f"{name} must be an array or a pytree of arrays; got {told(value)}, which stands for an array and is none. "
            "Hand over the array itself: `materialise()` of a quax value, `todense()` of a sparse matrix, the "
            "magnitude of a quantity, `np.asarray(...)` of what lives in another library."
        )
