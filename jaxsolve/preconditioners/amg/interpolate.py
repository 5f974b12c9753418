"""Interpolation from coarse to fine: where it has entries (on the host), and their values (anywhere)."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.amg.products import Sums, expand, find

#: Entries kept in a row of the interpolation; more make coarse levels dense.
MOST_PARENTS = 4


@dataclasses.dataclass(frozen=True)
class SmoothedPlan:
    """Piecewise-constant interpolation over aggregates, smoothed by one damped Jacobi step.

    Attributes:
        source: The pattern of the matrix.
        pattern: The pattern of the interpolation.
        kept: The entries of the matrix that take part: the diagonal and the strong ones.
        slot: The entry of the interpolation that each kept entry adds to.
        base: The entry of each row that holds its own aggregate, where it has one.
    """

    source: Pattern
    pattern: Pattern
    kept: np.ndarray
    slot: np.ndarray
    base: np.ndarray

    def values(self, a: Any, sums: Sums) -> Any:
        """The entries of P = (I - ω/λ D⁻¹A) P₀ with ω = 4/3, where weak entries of A are added to its diagonal."""
        rows = self.source.rows
        n = self.source.shape[0]
        # Filtered entries, and the diagonal that keeps the row sums of A.
        strong = sums.take(a, self.kept)
        own = self.kept[self.source.indices[self.kept] == rows[self.kept]]
        lumped = sums.total(a, rows, n) - sums.total(strong, rows[self.kept], n)
        d = sums.total(sums.take(a, own), rows[own], n) + lumped
        d = sums.xp.where(d == 0, 1, d)
        scaled = strong / sums.take(d, rows[self.kept])
        on_diagonal = np.asarray(self.source.indices[self.kept] == rows[self.kept])
        scaled = sums.xp.where(sums.take_mask(on_diagonal), 1, scaled)
        radius = sums.xp.max(sums.total(abs(scaled), rows[self.kept], n), initial=1)
        smooth = sums.total(scaled, self.slot, self.pattern.nnz)
        piecewise = sums.mask(self.base, self.pattern.nnz, a.dtype)
        return piecewise - (4 / 3 / radius) * smooth


def smoothed_interpolation(pattern: Pattern, strong: np.ndarray, label: np.ndarray) -> SmoothedPlan:
    """The plan for aggregates given by a label for each point, -1 for points that are left to the smoother."""
    kept = np.flatnonzero(strong | (pattern.rows == pattern.indices))
    kept = kept[label[pattern.indices[kept]] >= 0]
    rows, cols = pattern.rows[kept], label[pattern.indices[kept]]
    shape = (pattern.shape[0], int(label.max(initial=-1)) + 1)
    P, order, slots = Pattern.from_coo(rows, cols, shape)
    slot = np.arange(len(kept)) if slots is None else slots
    if order is not None:
        slot[order] = slot.copy()
    inside = np.flatnonzero(label >= 0)
    base = find(P, inside, label[inside])
    return SmoothedPlan(pattern, P, kept, slot, base[base >= 0])


@dataclasses.dataclass(frozen=True)
class ExtendedPlan:
    """Interpolation of fine points from coarse ones at distance one and two.

    Attributes:
        source: The pattern of the matrix.
        full: The interpolation before long rows are cut (fine rows only).
        direct: Entries of the matrix from fine points to their interpolating points, and their slots in `full`.
        weak: Entries of the matrix that are added to the diagonal, the diagonal included.
        links: Entries (i, k) from fine points to strong fine neighbours.
        chains: Link, entry (k, j), and slot of (i, j) in `full` (-1 for j = i), one row each.
        kept: Slots of `full` that are kept.
        order: Kept weights, then a one for each coarse point, into CSR order.
        pattern: The pattern of the interpolation.
    """

    source: Pattern
    full: Pattern
    direct: tuple[np.ndarray, np.ndarray]
    weak: np.ndarray
    links: np.ndarray
    chains: tuple[np.ndarray, np.ndarray, np.ndarray]
    kept: np.ndarray
    order: np.ndarray
    pattern: Pattern

    def values(self, a: Any, sums: Sums) -> Any:
        """The entries of the interpolation."""
        weights = self.weights(a, sums)
        n = self.source.shape[0]
        kept = sums.take(weights, self.kept)
        whole = sums.total(weights, self.full.rows, n)
        left = sums.total(kept, self.full.rows[self.kept], n)
        # What is cut is made up for, so that constants stay interpolated as they were.
        factor = sums.xp.where(left == 0, 1, whole / sums.xp.where(left == 0, 1, left))
        kept = kept * sums.take(factor, self.full.rows[self.kept])
        ones = sums.xp.ones(self.pattern.nnz - len(self.kept), kept.dtype)
        return sums.take(sums.xp.concatenate([kept, ones]), self.order)

    def weights(self, a: Any, sums: Sums) -> Any:
        """The weights before rows are cut (De Sterck et al. 2008, equation 4.6: extended+i)."""
        xp, n, rows = sums.xp, self.source.shape[0], self.source.rows
        link, entry, slot = self.chains
        centre = sums.take(xp.concatenate([a, xp.zeros(1, a.dtype)]), self.source.diagonal_positions)
        through = sums.take(a, entry)
        # Only couplings against the sign of the diagonal pass an error on.
        against = (through * xp.conj(sums.take(centre, rows[entry]))).real < 0
        through = xp.where(against, through, 0)
        total = sums.total(through, link, len(self.links))
        strength = sums.take(a, self.links)
        share = xp.where(total == 0, 0, strength / xp.where(total == 0, 1, total))
        passed = sums.take(share, link) * through
        home = slot < 0
        at = rows[self.links]
        diagonal = sums.total(sums.take(a, self.weak), rows[self.weak], n)
        diagonal = diagonal + sums.total(sums.take(passed, np.flatnonzero(home)), at[link[home]], n)
        diagonal = diagonal + sums.total(xp.where(total == 0, strength, 0), at, n)
        away = np.flatnonzero(~home)
        numerator = sums.total(sums.take(a, self.direct[0]), self.direct[1], self.full.nnz)
        numerator = numerator + sums.total(sums.take(passed, away), slot[away], self.full.nnz)
        below = sums.take(diagonal, self.full.rows)
        return xp.where(below == 0, 0, -numerator / xp.where(below == 0, 1, below))


def extended_interpolation(
    pattern: Pattern, data: np.ndarray, strong: np.ndarray, coarse: np.ndarray
) -> ExtendedPlan:
    """The plan of extended+i interpolation, rows cut to their largest weights at representative values.

    Args:
        pattern: Square.
        data: Shape (nnz,), representative values.
        strong: For each entry whether its row depends strongly on its column.
        coarse: Which points are coarse.

    Source: De Sterck, Falgout, Nolting, Yang, Distance-two interpolation for parallel algebraic multigrid (2008).
    """
    n = pattern.shape[0]
    rows, cols = pattern.rows, pattern.indices
    fine = ~coarse
    to_coarse = strong & fine[rows] & coarse[cols]
    links = np.flatnonzero(strong & fine[rows] & fine[cols])
    near = _selected(pattern, to_coarse)
    reach = (near + _selected(pattern, np.isin(np.arange(pattern.nnz), links)) @ near).tocsr()
    reach.sort_indices()
    full = Pattern.of(reach.indptr, reach.indices, (n, n))
    slot = find(full, rows, cols)
    direct = np.flatnonzero(slot >= 0)
    weak = fine[rows] & (slot < 0)
    weak[links] = False
    link, entry = expand(cols[links], pattern.indptr)
    start, end = rows[links][link], cols[entry]
    at = find(full, start, end)
    used = ((at >= 0) | (start == end)) & (cols[links][link] != end)
    chains = (link[used], entry[used], at[used])
    number = np.cumsum(coarse) - 1
    plan = ExtendedPlan(
        pattern,
        full,
        (direct, slot[direct]),
        np.flatnonzero(weak),
        links,
        chains,
        np.arange(0),
        np.arange(0),
        full,
    )
    weights = np.abs(plan.weights(data, Sums(True)))
    kept = _largest(full, weights, MOST_PARENTS)
    points = np.flatnonzero(coarse)
    p_rows = np.concatenate([full.rows[kept], points])
    p_cols = np.concatenate([number[full.indices[kept]], number[points]])
    P, order, _ = Pattern.from_coo(p_rows, p_cols, (n, len(points)))
    order = np.arange(len(p_rows)) if order is None else order
    return dataclasses.replace(plan, kept=kept, order=order, pattern=P)


def _selected(pattern: Pattern, which: np.ndarray) -> Any:
    ones = np.ones(int(which.sum()), np.float32)
    return scipy.sparse.csr_matrix((ones, (pattern.rows[which], pattern.indices[which])), shape=pattern.shape)


def _largest(pattern: Pattern, sizes: np.ndarray, most: int) -> np.ndarray:
    """The entries that are among the `most` largest of their row, and not zero."""
    order = np.lexsort((-sizes, pattern.rows))
    rank = np.arange(len(order)) - pattern.indptr[pattern.rows[order]]
    kept = np.zeros(len(order), bool)
    kept[order[rank < most]] = True
    return np.flatnonzero(kept & (sizes > 0))
