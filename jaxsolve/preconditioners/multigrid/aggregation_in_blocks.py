"""Smoothed aggregation inside the blocks of a partition: each device makes its own coarse rows."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import numpy as np
import scipy.sparse
from jax import Array

from jaxsolve.operators.partition import Partition
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.aggregation import aggregates, grid_blocks
from jaxsolve.preconditioners.multigrid.hierarchy import Interpolation, Planned
from jaxsolve.preconditioners.multigrid.interpolation import SmoothedPlan, smoothed_interpolation
from jaxsolve.preconditioners.multigrid.sparse_products import Sums
from jaxsolve.preconditioners.multigrid.strength import symmetric_strength


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """An interpolation with the partition of the coarse rows.

    Attributes:
        plan: The interpolation.
        part: Which coarse rows belong to which block.
    """

    plan: SmoothedPlan
    part: Partition

    @property
    def pattern(self) -> Pattern:
        """Where P has entries."""
        return self.plan.pattern

    def values(self, a: Array) -> Array:
        """The entries of P for the entries of A."""
        return self.plan.values(a)


class AggregationInBlocks(eqx.Module):
    """How levels are coarsened: aggregates of strong couplings inside of blocks, smoothed over all strong couplings.

    Attributes:
        threshold: That of the finest level; half of it on each next one.
        part: The blocks of the finest level.

    Source: Vaněk, Mandel, Brezina (1996); aggregates that do not cross processes are the uncoupled ones of Tuminaro,
        Tong, Parallel smoothed aggregation multigrid (2000), section 3.
    """

    threshold: float
    part: Partition

    def interpolation(
        self, pattern: Pattern, data: np.ndarray, above: Sequence[Interpolation]
    ) -> Planned | None:
        """The plan of a level."""
        finer = above[-1] if above else self
        part = finer.part if isinstance(finer, BlockPlan | AggregationInBlocks) else self.part
        strong = symmetric_strength(pattern, data, self.threshold * 0.5 ** len(above))
        owner = part.owner(np.arange(part.size))
        label = grid_blocks(pattern, strong)
        if label is None:
            inside = strong & (owner[pattern.rows] == owner[pattern.indices])
            places = (pattern.rows[inside], pattern.indices[inside])
            graph = scipy.sparse.csr_matrix((np.abs(data[inside]), places), shape=pattern.shape)
            label = aggregates(graph.maximum(graph.T).tocsr())
        # Numbered block by block; an aggregate over two blocks becomes two.
        count = int(label.max(initial=-1)) + 1
        keys, label = np.unique(owner * count + label, return_inverse=True)
        starts = np.searchsorted(keys, np.arange(part.shards + 1) * count)
        plan = smoothed_interpolation(pattern, strong, label)
        coarse = Partition(tuple(int(s) for s in starts))
        return BlockPlan(plan, coarse), plan.numbers(data, Sums(True))
