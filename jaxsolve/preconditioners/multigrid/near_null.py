"""Near-null spaces: interpolation that reproduces given vectors, for elasticity and other systems."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array

from jaxsolve.core.staging import index_array
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.multigrid.modes import held
from jaxsolve.preconditioners.multigrid.sparse_products import (
    ProductPlan,
    Sums,
    find,
    host_product,
    plan_product,
)
from jaxsolve.preconditioners.multigrid.strength import host_diagonal

#: A mode that is this much smaller than the others of its aggregate is left out there.
DEPENDENT = 1e-10


@dataclasses.dataclass(frozen=True)
class ModesPlan:
    """P = (I - ω/λ D⁻¹A) T with ω = 4/3, where T reproduces the modes on aggregates.

    Attributes:
        source: The pattern of the matrix.
        tentative: The pattern of T.
        entries: The entries of T.
        modes: The modes on the coarse level.
    """

    source: Pattern
    tentative: Pattern
    entries: np.ndarray
    modes: np.ndarray

    @property
    def pattern(self) -> Pattern:
        """Where P has entries."""
        return self._product.pattern

    def values(self, a: Array) -> Array:
        """The entries of P for the entries of A."""
        sums, n = Sums(False), self.source.shape[0]
        d = jnp.append(a, jnp.zeros(1, a.dtype))[index_array(self.source.diagonal_positions)]
        d = jnp.where(d == 0, 1, d)
        radius = jnp.max(sums.total(abs(a), self.source.rows, n) / abs(d), initial=1)
        # Not a literal of the program, however many there are.
        entries = index_array(self.entries).astype(held(self.entries, a.dtype))
        smooth = self._product.multiply(a, entries) / d[index_array(self.pattern.rows)]
        return (-4 / 3 / radius * smooth).at[index_array(self._base)].add(entries)

    def numbers(self, a: np.ndarray) -> np.ndarray:
        """The same on the host."""
        d = host_diagonal(self.source, a)
        d = np.where(d == 0, 1, d)
        matrix, T = self.source.to_scipy(a), self.tentative.to_scipy(self.entries)
        radius = max(1, float(np.max((abs(matrix) @ np.ones(len(d))) / abs(d), initial=1)))
        smooth = host_product(matrix, T).tocoo()
        out = np.zeros(self.pattern.nnz, np.result_type(a, self.entries))
        out[find(self.pattern, smooth.row, smooth.col)] = -4 / 3 / radius * smooth.data / d[smooth.row]
        out[self._base] += self.entries
        return out

    @functools.cached_property
    def _product(self) -> ProductPlan:
        return plan_product(self.source, self.tentative, self.tentative)

    @functools.cached_property
    def _base(self) -> np.ndarray:
        return find(self.pattern, self.tentative.rows, self.tentative.indices)


def modes_interpolation(pattern: Pattern, label: np.ndarray, modes: np.ndarray) -> ModesPlan:
    """The plan for aggregates: T holds orthonormal bases of the modes on each of them.

    Args:
        pattern: Square, of size n.
        label: The aggregate of each unknown.
        modes: Shape (n, k).

    Source: Vaněk, Mandel, Brezina (1996), section 3.1.
    """
    n, k = modes.shape
    sizes = np.bincount(label)
    order = np.argsort(label, kind="stable")
    rank = np.empty(n, int)
    rank[order] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    parts = np.zeros((len(sizes), max(k, sizes.max()), k), modes.dtype)
    parts[label, rank] = modes
    q, r = np.linalg.qr(parts)
    size = np.abs(np.diagonal(r, axis1=1, axis2=2))
    present = size > DEPENDENT * np.linalg.norm(parts, axis=(1, 2))[:, None]
    entries = np.where(present[:, None], q, 0)[label, rank]
    columns = label[:, None] * k + np.arange(k)
    T = Pattern.of(np.arange(n + 1) * k, columns.reshape(-1), (n, len(sizes) * k))
    coarse = np.where(present[:, :, None], r, 0).reshape(-1, k)
    return ModesPlan(pattern, T, entries.reshape(-1), coarse)


def nodal_graph(pattern: Pattern, data: np.ndarray, block: int, threshold: float) -> Any:
    """The strong couplings of points with `block` unknowns each: blocks measured by their Frobenius norms."""
    points = pattern.shape[0] // block
    places = (pattern.rows // block, pattern.indices // block)
    largest = np.abs(data).max(initial=0) or 1
    norms = scipy.sparse.csr_matrix((np.abs(data / largest) ** 2, places), shape=(points, points))
    norms = norms.maximum(norms.T).tocoo()
    size, own = np.sqrt(norms.data), np.zeros(points)
    loop = norms.row == norms.col
    own[norms.row[loop]] = np.sqrt(size[loop])
    strong = ~loop & (size > threshold * own[norms.row] * own[norms.col])
    return scipy.sparse.csr_matrix((size[strong], (norms.row[strong], norms.col[strong])), norms.shape)
