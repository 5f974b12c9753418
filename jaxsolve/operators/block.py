"""Block: a matrix of operators."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.tree import common
from jaxsolve.operators.operator import LinearOperator


class Block(LinearOperator):
    """A matrix of operators; None stands for a block of zeros.

    Args:
        blocks: Rows of blocks, all of equal length; the blocks of a row have equal heights, those of a column equal
            widths.

    Raises:
        StructureError: If rows differ in length, sizes do not fit, or a row or a column has no block that tells its
            size.

    Cost: that of the products with the blocks.

    >>> import jaxsolve as js
    >>> I = js.Identity(2, jnp.float32)
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
