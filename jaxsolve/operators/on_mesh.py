"""OnMesh: an operator between vectors whose blocks lie on the devices of a mesh."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsolve.core.staging import is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.partition import Partition


class Placement(eqx.Module):
    """How the vectors of an operator lie on the devices of a mesh.

    Attributes:
        order: The element of a vector in each place, shape (devices, width), numbers beyond n where there is none; None
            where rows have the order of the matrix.
        mesh: The devices.
        parts: The partitions of rows and of columns.
    """

    order: Array | None
    mesh: Mesh = eqx.field(static=True)
    parts: tuple[Partition, Partition] = eqx.field(static=True)

    @property
    def turned(self) -> "Placement":
        """That of the transposed operator."""
        rows, columns = self.parts
        return Placement(self.order, self.mesh, (columns, rows))


class OnMesh(LinearOperator):
    """An operator of which each device of a mesh holds a part.

    Its arrays, but the order in its placement, have the devices as their first axis, over which they are spread.
    """

    @abc.abstractmethod
    def placement(self) -> Placement:
        """How its vectors lie on the devices."""

    @abc.abstractmethod
    def own(self) -> LinearOperator:
        """The part of a device, inside of `jax.shard_map` over `specs`."""

    @property
    def mesh(self) -> Mesh:
        """The devices."""
        return self.placement().mesh

    @property
    def parts(self) -> tuple[Partition, Partition]:
        """The partitions of rows and of columns."""
        return self.placement().parts

    @property
    def order(self) -> Array | None:
        """The element of a vector in each place; None in the order of the matrix."""
        order = self.placement().order
        return None if order is None else order.reshape(-1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.parts[0].size, self.parts[1].size

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the mesh, over all of which rows lie."""
        return tuple(self.mesh.axis_names)

    @property
    def specs(self) -> PartitionSpec:
        """How each of its arrays lies on the mesh: with its first axis over the devices."""
        return PartitionSpec(self.axes)

    @property
    def on_mesh(self) -> "OnMesh":
        """The operator itself."""
        return self

    def unordered(self) -> Any:
        """The operator without the order of its rows, for programs between blocks."""
        return eqx.tree_at(lambda A: A.placement().order, self, None, is_leaf=lambda v: v is None)

    def spread(self, x: Array) -> Array:
        """Vectors of shape (..., n) as blocks on the devices."""
        return self.parts[1].spread(x, self.order)

    def gathered(self, y: Array) -> Array:
        """The vectors of shape (..., m) whose blocks lie on the devices."""
        return self.parts[0].gathered(y, self.order)

    def over_devices(self, f: Callable[[Any, Array], Array]) -> Callable[[Array], Array]:
        """A function of blocks that each device computes with its part."""
        run = jax.shard_map(
            lambda A, x: f(A.own(), x),
            mesh=self.mesh,
            in_specs=(self.specs, self.specs),
            out_specs=self.specs,
        )
        return lambda x: run(self.unordered(), x)

    def mv(self, x: Array) -> Array:
        """The product A x."""
        return _product(self, x) if is_traced((self, x)) else _compiled_product(self, x)

    def transpose(self) -> LinearOperator:
        """The transpose (without conjugation)."""
        return TransposedOnMesh(self)

    def conj(self) -> LinearOperator:
        """The entrywise complex conjugate."""
        complex_ = jnp.issubdtype(self.dtype, jnp.complexfloating)
        return TransposedOnMesh(self, True) if complex_ else self

    def untold(self) -> str:
        """Why the entries are not known, for people."""
        return "its entries lie on the devices of a mesh and are not gathered."


def _product(A: OnMesh, x: Array) -> Array:
    return A.gathered(A.over_devices(lambda own, x: own.mv(x))(A.spread(x)))


#: In eager mode `jax.shard_map` runs each operation by itself.
_compiled_product = eqx.filter_jit(_product)


class TransposedOnMesh(OnMesh):
    """The transpose of an operator on a mesh: each device transposes its part.

    Attributes:
        operator: The operator.
        conjugate: Whether it is the conjugate of it instead.
    """

    operator: OnMesh
    conjugate: bool = eqx.field(static=True, default=False)

    def placement(self) -> Placement:
        """That of the operator, turned."""
        place = self.operator.placement()
        return place if self.conjugate else place.turned

    @property
    def dtype(self) -> Any:
        """The dtype of the operator."""
        return self.operator.dtype

    @property
    def traits(self) -> Traits:
        """The facts about it."""
        return self.operator.traits if self.conjugate else self.operator.traits.T

    def unordered(self) -> "TransposedOnMesh":
        """The same without the order of its rows."""
        return TransposedOnMesh(self.operator.unordered(), self.conjugate)

    def own(self) -> LinearOperator:
        """The part of a device."""
        own = self.operator.own()
        return own.conj() if self.conjugate else own.T

    def transpose(self) -> LinearOperator:
        """The operator itself, or the conjugate of the transpose."""
        return self.operator.T.conj() if self.conjugate else self.operator

    def conj(self) -> LinearOperator:
        """The conjugate of the transpose, or the operator itself."""
        return self.operator if self.conjugate else super().conj()

    def known_diagonal(self) -> Array | None:
        found = self.operator.known_diagonal()
        return found if found is None or not self.conjugate else jnp.conj(found)

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know."""
        return self.operator.magnitude()


def placed_on(mesh: Mesh, shape: tuple[int, ...], part: Callable[[int], np.ndarray]) -> Array:
    """An array with the devices as its first axis, of which each process makes the parts of its own.

    Args:
        mesh: The devices.
        shape: Of one part.
        part: Makes that of a device.
    """
    shards = mesh.devices.size
    sharding = NamedSharding(mesh, PartitionSpec(tuple(mesh.axis_names)))

    def of_device(index: Any) -> np.ndarray:
        return part(index[0].start or 0)[None]

    return jax.make_array_from_callback((shards, *shape), sharding, of_device)
