"""Interpolation from coarse to fine: where it has entries (on the host), and their values (anywhere)."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.staging import index_array
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.multigrid.sparse_products import (
    ProductPlan,
    Sums,
    find,
    host_product,
    plan_product,
)

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

    def values(self, a: Array) -> Array:
        """The entries of P for the entries of A."""
        return self.numbers(a, Sums(False))

    def numbers(self, a: Any, sums: Sums) -> Any:
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
        near: Where fine points depend strongly on coarse ones.
        near_entries: The entries of the matrix there.
        links: Where fine points depend strongly on fine ones.
        link_entries: The entries of the matrix there.
        back: The entry (k, i) of the matrix for each link (i, k), nnz where there is none.
        weak: Entries of the matrix in fine rows that are added to the diagonal, the diagonal included.
        kept: Fine points and coarse points of the weights that are kept, by rows.
        pattern: The pattern of the interpolation.
        order: For each of its entries the weight that is kept there, their number where it is a one.
    """

    source: Pattern
    near: Pattern
    near_entries: np.ndarray
    links: Pattern
    link_entries: np.ndarray
    back: np.ndarray
    weak: np.ndarray
    kept: tuple[np.ndarray, np.ndarray]
    pattern: Pattern
    order: np.ndarray

    def values(self, a: Array) -> Array:
        """The entries of P for the entries of A."""
        near, onward, share, diagonal = self.parts(a, Sums(False))
        product, direct, kept = self._slots
        n = self.source.shape[0]
        numerator = product.multiply(share, onward).at[index_array(direct)].add(near)
        left = numerator[index_array(kept)]
        whole = Sums(False).total(numerator, product.pattern.rows, n)
        weights = self.weights(left, whole, diagonal, Sums(False))
        return jnp.append(weights, jnp.ones(1, weights.dtype))[index_array(self.order)]

    def parts(self, a: Any, sums: Sums) -> tuple[Any, Any, Any, Any]:
        """Couplings to coarse points, those that pass an error on, the share of each link, and the diagonal."""
        xp, n = sums.xp, self.source.shape[0]
        padded = xp.append(a, xp.zeros(1, a.dtype))
        centre = sums.take(padded, self.source.diagonal_positions)
        near, link = sums.take(a, self.near_entries), sums.take(a, self.link_entries)
        middle = self.links.indices
        # Only couplings against the sign of the diagonal pass an error on.
        onward = _against(near, sums.take(centre, self.near.rows), xp)
        back = _against(sums.take(padded, self.back), sums.take(centre, middle), xp)
        total = sums.take(sums.total(onward, self.near.rows, n), middle) + back
        share = _ratio(link, total, xp)
        diagonal = sums.total(sums.take(a, self.weak), self.source.rows[self.weak], n)
        home = share * back + xp.where(total == 0, link, 0)
        return near, onward, share, diagonal + sums.total(home, self.links.rows, n)

    def weights(self, kept: Any, whole: Any, diagonal: Any, sums: Sums) -> Any:
        """The weights that are kept, enlarged such that those of a row sum to what they did before it was cut."""
        rows = self.kept[0]
        total = sums.total(kept, rows, self.source.shape[0])
        # Quotients of numbers of one size, whatever the units of A are.
        enlarged = sums.take(_ratio(-whole, total, sums.xp), rows)
        return enlarged * _ratio(kept, sums.take(diagonal, rows), sums.xp)

    @functools.cached_property
    def _slots(self) -> tuple[ProductPlan, np.ndarray, np.ndarray]:
        """How links and onward couplings are multiplied, and where near and kept ones are in the result."""
        product = plan_product(self.links, self.near, self.near)
        direct = find(product.pattern, self.near.rows, self.near.indices)
        return product, direct, find(product.pattern, *self.kept)


def _against(values: Any, centre: Any, xp: Any) -> Any:
    """The values against the sign (complex: the phase) of the diagonal, zero for the others."""
    return xp.where((values * xp.conj(xp.sign(centre))).real < 0, values, 0)


def _ratio(above: Any, below: Any, xp: Any) -> Any:
    """above / below, zero where below is."""
    return xp.where(below == 0, 0, above / xp.where(below == 0, 1, below))


def extended_interpolation(
    pattern: Pattern, data: np.ndarray, strong: np.ndarray, coarse: np.ndarray
) -> tuple[ExtendedPlan, np.ndarray]:
    """The plan of extended+i interpolation, rows cut to their largest weights for given values, and these weights.

    With N the strong couplings of fine to coarse points, L those of fine to fine ones, β the row sums of N:
    P = -D⁻¹ (N + S N), S = L / (β + back), where back is the coupling of each link in the other direction and D the
    diagonal with all that is neither in N nor passed on.

    Args:
        pattern: Square.
        data: Shape (nnz,), representative values.
        strong: For each entry whether its row depends strongly on its column.
        coarse: Which points are coarse.

    Source: De Sterck, Falgout, Nolting, Yang, Distance-two interpolation for parallel algebraic multigrid (2008),
    equation 4.6; as products of matrices: Li, Sjögreen, Yang (2021).
    """
    n, sums = pattern.shape[0], Sums(True)
    fine, onto = ~coarse[pattern.rows], coarse[pattern.indices]
    near_entries = np.flatnonzero(strong & fine & onto)
    link_entries = np.flatnonzero(strong & fine & ~onto)
    near, links = _part(pattern, near_entries), _part(pattern, link_entries)
    nothing = np.arange(0)
    plan = ExtendedPlan(
        pattern,
        near,
        near_entries,
        links,
        link_entries,
        _reverse(pattern, link_entries),
        np.flatnonzero(fine & ~strong),
        (nothing, nothing),
        near,
        nothing,
    )
    direct, onward, share, diagonal = plan.parts(data, sums)
    numerator: Any = near.to_scipy(direct)
    if links.nnz:
        numerator = numerator + host_product(links.to_scipy(share), near.to_scipy(onward))
    numerator.sort_indices()
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(numerator.indptr))
    chosen = _largest(rows, np.abs(numerator.data), MOST_PARENTS)
    kept = (rows[chosen], numerator.indices[chosen])
    # One entry for each coarse point, in between the rows of the fine ones.
    counts = np.bincount(kept[0], minlength=n)
    indptr = np.append(0, np.cumsum(counts + coarse))
    order = np.full(indptr[-1], len(chosen))
    order[np.arange(len(chosen)) + np.append(0, np.cumsum(coarse))[kept[0]]] = np.arange(len(chosen))
    indices = np.append(kept[1], 0)[order]
    indices[indptr[:-1][coarse]] = np.flatnonzero(coarse)
    number = np.cumsum(coarse) - 1
    P = Pattern.of(indptr, number[indices], (n, int(coarse.sum())))
    plan = dataclasses.replace(plan, kept=kept, pattern=P, order=order)
    whole = sums.total(numerator.data, rows, n)
    weights = plan.weights(numerator.data[chosen], whole, diagonal, sums)
    return plan, np.append(weights, 1).astype(data.dtype)[order]


def _part(pattern: Pattern, entries: np.ndarray) -> Pattern:
    """The pattern of some of the entries."""
    counts = np.bincount(pattern.rows[entries], minlength=pattern.shape[0])
    return Pattern.of(np.append(0, np.cumsum(counts)), pattern.indices[entries], pattern.shape)


def _reverse(pattern: Pattern, entries: np.ndarray) -> np.ndarray:
    """The entry (j, i) for each of some entries (i, j), nnz where there is none."""
    if pattern.is_symmetric:
        return pattern.transpose()[1][entries]
    at = find(pattern, pattern.indices[entries], pattern.rows[entries])
    return np.where(at < 0, pattern.nnz, at)


def _largest(rows: np.ndarray, sizes: np.ndarray, most: int) -> np.ndarray:
    """The entries, sorted by rows, that are among the `most` largest of their row, and not zero."""
    lengths = np.bincount(rows)
    kept = (lengths <= most)[rows] & (sizes > 0)
    long = np.flatnonzero((lengths > most)[rows])
    left, owner = sizes[long], rows[long]
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    for _ in range(most if len(long) else 0):
        top = np.repeat(np.maximum.reduceat(left, starts), np.diff(starts, append=len(left)))
        now = np.flatnonzero((left == top) & (left > 0))
        now = now[np.diff(owner[now], prepend=-1) > 0]
        kept[long[now]] = True
        left[now] = 0
    return np.flatnonzero(kept)
