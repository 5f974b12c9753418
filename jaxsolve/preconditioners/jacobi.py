"""Point and block Jacobi: the inverses of the diagonal entries or of the diagonal blocks."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse import csgraph

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memory import require_memory
from jaxsolve.core.options import require_count
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common, typed
from jaxsolve.operators.diagonal import Diagonal
from jaxsolve.operators.ell import gather, gather_or_zero
from jaxsolve.operators.operator import Declared, LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.blocks_on_mesh import BlocksOnMesh, blocks_on_mesh
from jaxsolve.preconditioners.graph import neighbours
from jaxsolve.preconditioners.local_blocks import padded_rows, piece_positions
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    as_square,
    inherited,
    is_self_transposed,
    reciprocal,
    with_entries,
)


class Jacobi(AbstractPreconditioner):
    """The inverse of the diagonal; zeros on it are replaced by its largest entry.

    Removes the units of the unknowns and row-wise scales.

    Raises:
        StructureError: From `build`, if A is not square.

    Builds: a diagonal operator of shape (n, n) in the dtype of A; positive definite where A is.
    Cost: one multiplication an entry of the vector; no set-up where the diagonal is known.
    Source: Saad, Iterative Methods for Sparse Linear Systems (2003), section 4.1.

    >>> import jaxsolve as js
    >>> A = js.DenseMatrix(jnp.array([[4.0, 1.0], [1.0, 0.0]]))
    >>> Jacobi().build(A).diagonal().tolist()
    [0.25, 0.25]
    """

    name: ClassVar[str] = "jacobi"
    needs: ClassVar[str] = "a known diagonal"
    cost: ClassVar[str] = "set-up 0, application 0.2 products"
    by_products: ClassVar[bool] = True

    def build(self, A: Any) -> LinearOperator:
        """The diagonal operator with entries 1 / A[i, i]."""
        A = as_square(A, self.name)
        d = A.known_diagonal()
        if d is None:
            d = with_entries(A, self.name).diagonal()
        return Declared(Diagonal(reciprocal(d)), inherited(A))


class BlockJacobi(AbstractPreconditioner):
    """The inverses of the square blocks along the diagonal, or of the blocks that a pattern couples.

    The last block is smaller where `size` does not divide n; a singular block is replaced by its diagonal.

    Args:
        size: Rows per block (the number of unknowns of a node is natural), or a `Pattern` of the matrix's shape
            whose connected parts are the blocks, of any rows and sizes: that of the strong couplings, say.

    Raises:
        StructureError: If `size` is less than 1 or a pattern of another shape; from `build`, if A is not square,
            its entries are not known, or the blocks take more memory than there may be.

    Builds: a block diagonal operator of shape (n, n) in the dtype of A; positive definite where A is.
    Cost: one batched inversion, about n size² flops, in the set-up; one batched product, 2 n size flops, an
        application.
    Source: Saad (2003), section 4.1.1.

    >>> A = jnp.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 4.0]])
    >>> jnp.round(BlockJacobi(size=2).build(A).as_matrix(), 3).tolist()
    [[0.667, -0.333, 0.0], [-0.333, 0.667, 0.0], [0.0, 0.0, 0.25]]
    """

    name: ClassVar[str] = "block-jacobi"
    cost: ClassVar[str] = "set-up n size^2, application n size"

    size: int | Pattern = eqx.field(static=True, default=16)

    def __check_init__(self) -> None:
        if not isinstance(self.size, Pattern):
            require_count("BlockJacobi", "size", self.size)

    def build_on_mesh(self, A: Any) -> BlocksOnMesh:
        """The blocks along the diagonal of the rows and columns of each device of a mesh.

        Raises:
            StructureError: If `size` is a pattern, or A is traced.
        """
        if isinstance(self.size, Pattern):
            raise StructureError(
                "BlockJacobi of a pattern is made of a whole matrix; on a mesh give the rows of a block, "
                "js.BlockJacobi(size=4)."
            )
        return blocks_on_mesh(A, self, self.build)

    def build(self, A: Any) -> LinearOperator:
        """The block diagonal operator."""
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        A = as_square(A, self.name)
        n = A.shape[0]
        if isinstance(self.size, Pattern):
            return _coupled_blocks(with_entries(A, self.name), self.size)
        size = min(self.size, max(n, 1))
        # Positions, blocks and inverses.
        needed = -(-n // size) * size**2 * (8 + 3 * np.dtype(A.dtype).itemsize)
        require_memory(
            needed, f"preconditioner {self.name!r}", f"blocks of {size} rows", "Use a smaller size."
        )
        blocks = diagonal_blocks(A, size)
        return BlockDiagonal(guarded_inverse(blocks), n, inherited(A))


def _coupled_blocks(A: SparseMatrix, coupling: Pattern) -> LinearOperator:
    """The inverses of the blocks that a pattern couples, the rows brought together and back."""
    if coupling.shape != A.shape:
        raise StructureError(
            f"BlockJacobi expects a pattern of the matrix's shape {A.shape}; got one of {coupling.shape}."
        )
    n = A.shape[0]
    count, labels = csgraph.connected_components(neighbours(coupling), directed=False)
    order = np.argsort(labels, kind="stable")
    width = int(np.bincount(labels, minlength=1).max())
    rows = padded_rows(labels[order], order, count, width, n)
    blocks = gather_or_zero(A.data, index_array(piece_positions(A.pattern, rows, BlockJacobi.name)))
    unused = (rows == n)[:, :, None] * np.eye(width, dtype=np.int8)
    blocks = guarded_inverse(blocks + index_array(unused).astype(blocks.dtype))
    places = np.empty(n, np.int32)
    places[rows[rows < n]] = np.flatnonzero(rows.reshape(-1) < n)
    return Rearranged(
        BlockDiagonal(blocks, count * width, inherited(A)), index_array(rows.reshape(-1)), index_array(places)
    )


def diagonal_blocks(A: LinearOperator, size: int) -> Array:
    """The blocks along the diagonal, shape (ceil(n / size), size, size); ones on the diagonal beyond n."""
    n = A.shape[0]
    count = -(-n // size)
    array = A.dense_form
    if array is not None:
        beyond = count * size - n
        whole = jnp.pad(array.matrix, ((0, beyond), (0, beyond))).reshape(count, size, count, size)
        blocks = whole[jnp.arange(count), :, jnp.arange(count), :]
    else:
        matrix = with_entries(A, BlockJacobi.name)
        blocks = gather_or_zero(matrix.data, index_array(_block_positions(matrix.pattern, size)))
    rows = np.arange(count * size).reshape(count, size)
    beyond = np.where(rows >= n, 1, 0)[:, :, None] * np.eye(size, dtype=int)
    last = (jnp.arange(count) == count - 1)[:, None, None]
    return blocks + jnp.where(last, jnp.asarray(beyond[-1:], blocks.dtype), 0)


def _block_positions(pattern: Pattern, size: int) -> np.ndarray:
    count = -(-pattern.shape[0] // size)
    rows, cols = pattern.rows, pattern.indices
    inside = np.flatnonzero(rows // size == cols // size)
    positions = np.full((count, size, size), pattern.nnz, pattern.indptr.dtype)
    positions[rows[inside] // size, rows[inside] % size, cols[inside] % size] = inside
    return positions


def guarded_inverse(blocks: Array) -> Array:
    """The inverse of each block of shape (..., k, k), that of its diagonal where the block is singular."""
    d = jnp.diagonal(blocks, axis1=-2, axis2=-1)
    plain = jnp.where(jnp.eye(blocks.shape[-1], dtype=bool), reciprocal(d)[..., None], 0)
    # Rows are scaled first, so that the test for singularity is free of units.
    scale = jnp.max(jnp.abs(blocks), axis=-1, keepdims=True)
    scale = jnp.where(scale > 0, scale, 1).astype(blocks.dtype)
    inverse = jnp.linalg.inv(blocks / scale)
    size = jnp.max(jnp.abs(inverse), axis=(-2, -1), keepdims=True)
    usable = jnp.isfinite(size) & (size < 0.01 / jnp.finfo(blocks.dtype).eps)
    return jnp.where(usable, jnp.where(usable, inverse, 0) / jnp.swapaxes(scale, -2, -1), plain)


class Rearranged(LinearOperator):
    """An operator on more unknowns, whose vectors take x apart and hold zeros besides.

    Attributes:
        operator: Shape (m, m).
        order: The entry of x in each of m places, n for none.
        places: The place of each of n entries.
    """

    operator: LinearOperator
    order: Array
    places: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.places.shape[0], self.places.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.operator.dtype

    @property
    def traits(self) -> Traits:
        """Those of the operator, which a principal submatrix keeps."""
        return self.operator.traits

    def mv(self, x: Array) -> Array:
        """The product, between two gathers."""
        return gather(self.operator.mv(gather_or_zero(x, self.order)), self.places)

    def transpose(self) -> LinearOperator:
        """The transposed operator in the same places."""
        return Rearranged(self.operator.T, self.order, self.places)

    def conj(self) -> LinearOperator:
        """The conjugate operator in the same places."""
        return Rearranged(self.operator.conj(), self.order, self.places)


class BlockDiagonal(LinearOperator):
    """The block diagonal matrix with blocks of shape (count, size, size), cut to n rows."""

    blocks: Array
    size: int = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.size, self.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the blocks."""
        return self.blocks.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The blockwise product."""
        count, k, _ = self.blocks.shape
        dtype = common(self.blocks, x)
        padded = jnp.pad(x, (0, count * k - self.size)).reshape(count, k)
        return jnp.einsum("bij,bj->bi", typed(self.blocks, dtype), typed(padded, dtype)).reshape(-1)[
            : self.size
        ]

    def transpose(self) -> LinearOperator:
        """The transposed blocks."""
        if is_self_transposed(self):
            return self
        return BlockDiagonal(jnp.swapaxes(self.blocks, -2, -1), self.size, self.facts.T)

    def conj(self) -> LinearOperator:
        """The conjugate blocks."""
        return BlockDiagonal(jnp.conj(self.blocks), self.size, self.facts)
