"""What a FieldSplit without a Schur complement applies: corrections field by field."""

from typing import Any

import equinox as eqx
from jax import Array

from jaxsolve.core.traits import Traits
from jaxsolve.linear.field_blocks import joined, taken
from jaxsolve.linear.fields import IndexSet
from jaxsolve.operators.operator import LinearOperator

Blocks = tuple[tuple[LinearOperator | None, ...], ...]


class AbstractFields(LinearOperator):
    """An approximate inverse made of inverses of fields."""

    inverses: eqx.AbstractVar[tuple[LinearOperator, ...]]
    sets: eqx.AbstractVar[tuple[IndexSet, ...]]
    kind: eqx.AbstractVar[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        n = sum(map(len, self.sets))
        return (n, n)

    @property
    def dtype(self) -> Any:
        """The dtype of the matrix."""
        return self.kind


class Sweeps(AbstractFields):
    """Corrections z_i += M_i (r_i - Σ_j A_ij z_j) of the fields in an order, or of all at once.

    Args:
        blocks: A_ij, None where there is no entry; of a symmetric sweep those on the diagonal too.
        inverses: M_i.
        sets: The unknowns of each field.
        visits: Fields in their order; None for all at once.
        kind: The dtype.
        facts: What is known of the operator.
    """

    blocks: Blocks
    inverses: tuple[LinearOperator, ...]
    sets: tuple[IndexSet, ...] = eqx.field(static=True)
    visits: tuple[int, ...] | None = eqx.field(static=True)
    kind: Any = eqx.field(static=True)
    facts: Traits = eqx.field(static=True)

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The corrections for the right-hand side x."""
        parts = [taken(x, one) for one in self.sets]
        if self.visits is None:
            return joined([M.mv(r) for M, r in zip(self.inverses, parts, strict=True)], self.sets)
        z: list[Array | None] = [None] * len(parts)
        for i in self.visits:
            r = parts[i]
            for A, known in zip(self.blocks[i], z, strict=True):
                if A is not None and known is not None:
                    r = r - A.mv(known)
            found, before = self.inverses[i].mv(r), z[i]
            z[i] = found if before is None else before + found
        return joined([v for v in z if v is not None], self.sets)

    def transpose(self) -> "Sweeps":
        """The transposed inverses in reverse order, on the transposed blocks."""
        visits = None if self.visits is None else self.visits[::-1]
        inverses = tuple(M.T for M in self.inverses)
        return Sweeps(
            blocks=_turned(self.blocks), inverses=inverses, sets=self.sets, visits=visits, kind=self.kind,
            facts=self.facts.T,
        )  # fmt: skip


def _turned(blocks: Blocks) -> Blocks:
    return tuple(tuple(None if A is None else A.T for A in column) for column in zip(*blocks, strict=True))
