"""Operators made of others: identity, diagonal, blocks."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.traits import Traits, traits_for
from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul
from jaxsolve.operators.dia import full_diagonals
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern

_IDENTITY = traits_for(False, diagonal=True, positive_definite=True)


class Identity(LinearOperator):
    """The identity of size n.

    Args:
        size: n.
        kind: Its dtype.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: none, neither flops nor memory.

    >>> float((2 * Identity(3, jnp.float32) @ jnp.ones(3))[0])
    2.0
    """

    size: int = eqx.field(static=True)
    kind: Any = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.size, self.size)

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return jnp.dtype(self.kind)

    @property
    def traits(self) -> Traits:
        """Diagonal and positive definite."""
        return _IDENTITY

    def mv(self, x: Array) -> Array:
        """X itself."""
        return x

    def transpose(self) -> LinearOperator:
        """The identity."""
        return self

    def diagonal(self) -> Array:
        """Ones."""
        return jnp.ones(self.size, self.dtype)

    def stored_entries(self) -> tuple[Array, Pattern]:
        """Ones on the diagonal."""
        return self.diagonal(), full_diagonals((0,), self.shape)[0]

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        return _diagonal_on_host(np.ones(self.size, self.dtype))


class Diagonal(LinearOperator):
    """The diagonal matrix of a vector of shape (n,).

    Args:
        values: The diagonal, of shape (n,), real or complex.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: n multiplications a product; n numbers of memory.

    >>> A = Diagonal(jnp.array([1.0, 2.0]))
    >>> A.shape, (A @ jnp.ones(2)).tolist()
    ((2, 2), [1.0, 2.0])
    """

    values: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.values.shape[-1], self.values.shape[-1])

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """Diagonal; Hermitian too when real."""
        return traits_for(jnp.issubdtype(self.dtype, jnp.complexfloating), diagonal=True)

    def mv(self, x: Array) -> Array:
        """The elementwise product."""
        return mul(self.values, x)

    def transpose(self) -> LinearOperator:
        """The operator itself."""
        return self

    def conj(self) -> LinearOperator:
        """The diagonal matrix of the conjugate."""
        return Diagonal(jnp.conj(self.values))

    def diagonal(self) -> Array:
        """The vector."""
        return self.values

    def stored_entries(self) -> tuple[Array, Pattern]:
        """The vector, on the diagonal."""
        return self.values, full_diagonals((0,), self.shape)[0]

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        return _diagonal_on_host(np.asarray(self.values))

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return jnp.diag(self.values)


def _diagonal_on_host(values: np.ndarray) -> HostOperator:
    return scipy.sparse.linalg.aslinearoperator(scipy.sparse.csr_matrix(scipy.sparse.diags_array(values)))


class Block(LinearOperator):
    """A matrix of operators; None stands for a block of zeros.

    Args:
        blocks: Rows of blocks, all of equal length; the blocks of a row have equal heights, those of a column equal
            widths.

    Raises:
        StructureError: If rows differ in length, sizes do not fit, or a row or a column has no block that tells its
            size.

    Cost: that of the products with the blocks.

    >>> I = Identity(2, jnp.float32)
    >>> saddle = Block([[2 * I, I], [I, None]])
    >>> saddle.shape, (saddle @ jnp.ones(4)).tolist()
    ((4, 4), [3.0, 3.0, 1.0, 1.0])
    """

    blocks: tuple[tuple[LinearOperator | None, ...], ...]
    heights: tuple[int, ...] = eqx.field(static=True)
    widths: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, blocks: Sequence[Sequence[LinearOperator | None]]):
        self.blocks = tuple(tuple(row) for row in blocks)
        if not self.blocks or any(len(row) != len(self.blocks[0]) for row in self.blocks):
            raise StructureError("Block expects a non-empty list of rows of equal length.")
        self.heights = tuple(_common(row, 0, f"row {i}") for i, row in enumerate(self.blocks))
        columns = zip(*self.blocks, strict=True)
        self.widths = tuple(_common(column, 1, f"column {j}") for j, column in enumerate(columns))

    @property
    def shape(self) -> tuple[int, int]:
        """The sums of the heights and of the widths."""
        return (sum(self.heights), sum(self.widths))

    @property
    def dtype(self) -> Any:
        """The common dtype of the blocks."""
        return common(*[A.dtype for row in self.blocks for A in row if A is not None])

    def mv(self, x: Array) -> Array:
        """The blockwise product."""
        parts = jnp.split(x, np.cumsum(self.widths)[:-1])
        rows = []
        for row, height in zip(self.blocks, self.heights, strict=True):
            terms = [A.mv(part) for A, part in zip(row, parts, strict=True) if A is not None]
            rows.append(sum(terms[1:], terms[0]) if terms else jnp.zeros(height, x.dtype))
        return jnp.concatenate(rows)

    def transpose(self) -> LinearOperator:
        """The transposed arrangement of the transposes."""
        columns = zip(*self.blocks, strict=True)
        return Block([[None if A is None else A.T for A in column] for column in columns])

    def conj(self) -> LinearOperator:
        """The blocks conjugated."""
        return Block([[None if A is None else A.conj() for A in row] for row in self.blocks])

    def layout(self) -> LinearOperator:
        """The blocks in their fast forms."""
        return Block([[None if A is None else A.layout() for A in row] for row in self.blocks])


def _common(blocks: Sequence[LinearOperator | None], axis: int, place: str) -> int:
    sizes = {A.shape[axis] for A in blocks if A is not None}
    if len(sizes) != 1:
        what = "no block that gives its size" if not sizes else f"blocks of different sizes {sorted(sizes)}"
        raise StructureError(f"Block: {place} has {what}.")
    return sizes.pop()
