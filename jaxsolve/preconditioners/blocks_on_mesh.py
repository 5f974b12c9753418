"""Schwarz' method without overlap: each device of a mesh inverts its own rows and columns approximately, by itself."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import by_identity
from jaxsolve.core.staging import is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.distributed import DistributedMatrix
from jaxsolve.operators.on_mesh import OnMesh, Placement, placed_on
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.processes import shared
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.preconditioner import is_self_transposed


class BlocksOnMesh(OnMesh):
    """An operator of each device on its own elements, of one structure; nothing is sent.

    Attributes:
        blocks: The operators, each array with the devices as its first axis.
        transposed: Their transposes; None where they are their own.
        place: How vectors lie on the devices.
        kind: The dtype of the results.
        facts: What is known of it.
    """

    blocks: LinearOperator
    transposed: LinearOperator | None
    place: Placement
    kind: Any = eqx.field(static=True)
    facts: Traits = eqx.field(static=True)

    def placement(self) -> Placement:
        """How its vectors lie on the devices."""
        return self.place

    @property
    def dtype(self) -> Any:
        """The dtype of the results."""
        return self.kind

    @property
    def traits(self) -> Traits:
        """The known facts."""
        return self.facts

    def own(self) -> LinearOperator:
        """The operator of a device, inside of `jax.shard_map` over `specs`."""
        return jax.tree.map(lambda v: v[0], self.blocks)

    @property
    def description(self) -> str:
        """How it is made, for people."""
        how = getattr(self.blocks, "description", "")
        return f"each of {self.parts[0].shards} devices by itself" + (f": {how}" if how else "")

    @property
    def told(self) -> str:
        """The same."""
        return self.description

    def transpose(self) -> LinearOperator:
        """The transposed operators, which were made with them: their indices are made on the host."""
        if self.transposed is None:
            return self
        return dataclasses.replace(self, blocks=self.transposed, transposed=self.blocks, facts=self.facts.T)


def blocks_on_mesh(A: Any, recipe: Any, build: Callable[[SparseMatrix], LinearOperator]) -> BlocksOnMesh:
    """What a recipe makes of the block of the diagonal that each device has, once for each matrix.

    The blocks get one pattern, that of all of them together, so that the program is the same on all devices.

    Args:
        A: The matrix on a mesh.
        recipe: What is built, compared by its value.
        build: What makes an operator of a block, whose arrays have shapes that follow from the pattern.

    Raises:
        StructureError: If A is traced, or no matrix of `js.distribute`.
    """
    values = getattr(A, "values", None)
    if values is None:
        raise StructureError(
            f"preconditioner {recipe.name!r} is made of the entries of A, and of a transposed or composed operator "
            "on a mesh they are not known. Make it of the matrix that js.distribute returned."
        )
    if is_traced(A):
        raise StructureError(
            f"on a mesh {recipe.name!r} is made of concrete values, and those of A are traced. Make it outside of jit, "
            f"M = js.{type(recipe).__name__}().build(A), and pass it on: js.Solve('GMres', preconditioner=M)."
        )
    made, key = _made_of(values), (recipe, A.traits, A.parts, A.mesh)
    if key not in made:
        with jax.ensure_compile_time_eval():
            made[key] = _made(A, build)
    return dataclasses.replace(made[key], place=A.place)


@by_identity
def _made_of(values: Array) -> dict[Any, BlocksOnMesh]:
    """The blocks that were made of these values."""
    return {}


def _made(A: DistributedMatrix, build: Callable[[SparseMatrix], LinearOperator]) -> BlocksOnMesh:
    mine = _own_blocks(A)
    pattern = _of_all(mine, A)
    facts = Traits(A.traits.symmetric, A.traits.hermitian, A.traits.positive_definite)
    inverses = {
        s: build(SparseMatrix(jnp.asarray(_on_pattern(block, pattern)), pattern, facts))
        for s, block in mine.items()
    }
    first = next(iter(inverses.values()))
    own = is_self_transposed(first)
    return BlocksOnMesh(
        _stacked(inverses, A),
        None if own else _stacked({s: M.T for s, M in inverses.items()}, A),
        Placement(None, A.mesh, A.parts),
        first.dtype,
        first.traits,
    )


def _own_blocks(A: DistributedMatrix) -> dict[int, scipy.sparse.csr_matrix]:
    """The block of the diagonal of each device of this process; ones where an element is none of the vector."""
    width, counts = A.parts[0].width, A.parts[0].counts
    values, columns, rows = (_of_devices(v) for v in (A.values, A.columns, A.rows))
    found = {}
    for s, v in values.items():
        row = np.broadcast_to(np.arange(width), v.shape) if A.rows is None else rows[s]
        column = row + np.asarray(A.offsets)[:, None] if A.offsets is not None else columns[s]
        inside = (v != 0) & (column >= 0) & (column < width)
        block = scipy.sparse.csr_matrix((v[inside], (row[inside], column[inside])), shape=(width, width))
        found[s] = block + scipy.sparse.diags_array(
            (np.arange(width) >= counts[s]).astype(v.dtype), format="csr"
        )
    return found


def _of_devices(v: Array | None) -> dict[int, np.ndarray]:
    """The parts of an array on the devices of this process, by the number of the device."""
    if v is None:
        return {}
    return {shard.index[0].start or 0: np.asarray(shard.data)[0] for shard in v.addressable_shards}


def _of_all(mine: dict[int, Any], A: DistributedMatrix) -> Pattern:
    """Where a block of some device has entries, and the diagonal."""
    width, shards = A.parts[0].width, A.parts[0].shards
    keys = {s: np.unique(np.int64(width) * M.tocoo().row + M.tocoo().col) for s, M in mine.items()}
    told = shared(keys, shards).values()
    places = np.unique(np.concatenate([*told, np.arange(width, dtype=np.int64) * (width + 1)]))
    rows, columns = places // width, places % width
    return Pattern.of(np.searchsorted(rows, np.arange(width + 1)), columns, (width, width))


def _on_pattern(block: Any, pattern: Pattern) -> np.ndarray:
    """The values of a block at the places of a pattern that holds its own."""
    out, coo, width = np.zeros(pattern.nnz, block.dtype), block.tocoo(), pattern.shape[0]
    keys = np.int64(width) * pattern.rows + pattern.indices
    out[np.searchsorted(keys, np.int64(width) * coo.row + coo.col)] = coo.data
    return out


def _stacked(operators: dict[int, LinearOperator], A: DistributedMatrix) -> LinearOperator:
    """Operators of one structure as one whose arrays lie on their devices."""
    leaves = {s: jax.tree.leaves(M) for s, M in operators.items()}
    (structure,) = {jax.tree.structure(M) for M in operators.values()}
    hosts = {s: [np.asarray(v) for v in found] for s, found in leaves.items()}
    some = next(iter(hosts.values()))
    return jax.tree.unflatten(
        structure, [placed_on(A.mesh, v.shape, lambda s, k=k: hosts[s][k]) for k, v in enumerate(some)]
    )
