"""DistributedMatrix: a sparse matrix whose rows lie on the devices of a mesh."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.traits import Traits
from jaxsolve.operators.halo import Halo
from jaxsolve.operators.on_mesh import OnMesh, Placement
from jaxsolve.operators.operands import declaration
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.own_rows import OwnRows


class DistributedMatrix(OnMesh):
    """A sparse matrix with some of its rows on each device of a mesh, made by `js.distribute`.

    Its arrays have the devices as their first axis, over which they are spread; what it knows of positions is static.
    It passes through jit, vmap and grad as an argument.

    Args:
        values: The entries, zeros where a device has fewer than others.
        columns: The positions of the elements that they are multiplied with, among own ones and ghosts; None where the
            matrix is kept by diagonals.
        rows: The row of each entry where rows have very different lengths, else None.
        sends: The positions of what each device sends.
        place: How vectors lie on the devices.
        halo: How ghosts are sent.
        offsets: The diagonals, None for other layouts.
        most: At most so many entries are in a row, and in a column.
        facts: What is declared of the matrix.
        hermitian: Whether the values that it was made with are those of a Hermitian matrix.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: 2 nnz flops a product over all devices, and one exchange of ghosts; the entries, and as many integers but by
        diagonals.

    >>> import jax, jax.numpy as jnp, jaxsolve as js, scipy.sparse as sp
    >>> mesh = jax.make_mesh((1,), ("rows",))
    >>> A = js.distribute(sp.diags_array([-1.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(6, 6)), mesh)
    >>> A, (A @ jnp.ones(6)).tolist()
    (DistributedMatrix(6x6, float64, 1 device, by diagonals), [2.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    """

    values: Array
    columns: Array | None
    rows: Array | None
    sends: tuple[Array, ...]
    place: Placement
    halo: Halo = eqx.field(static=True)
    offsets: tuple[int, ...] | None = eqx.field(static=True)
    most: tuple[int, int] = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())
    hermitian: bool = eqx.field(static=True, default=False)

    def placement(self) -> Placement:
        """How its vectors lie on the devices."""
        return self.place

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """What is declared, and what the values showed that it was made with."""
        if not self.hermitian:
            return self.facts
        real = not jnp.issubdtype(self.dtype, jnp.complexfloating)
        return dataclasses.replace(self.facts, hermitian=True, symmetric=real or self.facts.symmetric)

    def transpose(self) -> LinearOperator:
        """The transpose; a matrix that was declared symmetric is its own."""
        return self if self.facts.symmetric else super().transpose()

    def declare(self, **traits: bool) -> "DistributedMatrix":
        """The same matrix with declared traits."""
        return dataclasses.replace(self, facts=declaration(self, traits))

    def astype(self, dtype: Any) -> "DistributedMatrix":
        """The matrix with values in the precision of `dtype`; real values stay real."""
        real = jnp.finfo(dtype).dtype
        wanted = dtype if jnp.iscomplexobj(self.values) else real
        return (
            self
            if self.dtype == wanted
            else eqx.tree_at(lambda A: A.values, self, self.values.astype(wanted))
        )

    def own(self) -> OwnRows:
        """The rows of a device, inside of `jax.shard_map` over `specs`."""
        size = (self.parts[0].width, self.parts[1].width)
        first: Any = jax.tree.map(lambda v: v[0], (self.values, self.columns, self.rows, self.sends))
        values, columns, rows, sends = first
        return OwnRows(values, columns, rows, sends, self.halo, self.offsets, size, self.most, self.facts)

    def diagonal(self) -> Array:
        """The diagonal."""
        return _diagonal(self)

    def to_scipy(self) -> Any:
        """The matrix on the host in the order of the blocks, as SciPy's CSR; entries that are 0 are left out.

        Raises:
            StructureError: If some of its rows lie on devices of other processes.
        """
        if not self.values.is_fully_addressable:
            raise StructureError(
                "the rows of this matrix lie on devices of several processes, of which none may hold all."
            )
        (part, across), values = self.parts, np.asarray(self.values)
        place = np.arange(part.width)
        rows = np.broadcast_to(place if self.rows is None else np.asarray(self.rows), values.shape)
        rows = rows + np.asarray(part.starts[:-1]).reshape(-1, *[1] * (values.ndim - 1))
        if self.offsets is not None:
            columns = rows + np.asarray(self.offsets)[:, None]
        else:
            # What a device would get of the numbers of all elements.
            numbers = across.spread(jnp.arange(across.size))
            met = self.over_devices(lambda A, x: A.halo.extended(x, A.sends)[A.columns][None])(numbers)
            columns = np.asarray(met)
        used = values != 0
        return scipy.sparse.csr_matrix((values[used], (rows[used], columns[used])), shape=self.shape)

    def magnitude(self) -> Array:
        """The largest absolute entry."""
        return jnp.max(jnp.abs(self.values), initial=0)

    @property
    def most_entries(self) -> tuple[int, int]:
        """At most so many entries are in a row, and in a column."""
        return self.most

    def __repr__(self) -> str:
        m, n = self.shape
        count = math.prod(self.mesh.devices.shape)
        kind = "diagonals" if self.offsets is not None else "entries" if self.rows is not None else "rows"
        return f"DistributedMatrix({m}x{n}, {self.dtype.name}, {count} device{'s' * (count != 1)}, by {kind})"


@eqx.filter_jit
def _diagonal(A: DistributedMatrix) -> Array:
    run = jax.shard_map(lambda A: A.own().diagonal(), mesh=A.mesh, in_specs=A.specs, out_specs=A.specs)
    return A.gathered(run(A.unordered()))
