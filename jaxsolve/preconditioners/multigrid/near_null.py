"""Near-null spaces: interpolation that reproduces given vectors, for elasticity and other systems."""

import dataclasses
import functools
import hashlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import index_array, is_traced
from jaxsolve.operators.pattern import Pattern
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


class Modes:
    """Vectors on the host, compared by their digest so that they are static metadata of a recipe.

    Args:
        B: Shape (n,) or (n, k), concrete.
    """

    def __init__(self, B: Any):
        if is_traced(B):
            raise StructureError(
                "`B` needs concrete values, since the hierarchy is built on them; these are traced."
            )
        values = np.array(B)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or not 0 < values.shape[1] <= values.shape[0]:
            raise StructureError(f"`B` holds near-null vectors as columns, shape (n, k); got {np.shape(B)}.")
        if not np.isfinite(values).all():
            raise StructureError("`B` holds a number that is not finite.")
        self.values = values if np.issubdtype(values.dtype, np.inexact) else values.astype(float)
        key = f"{self.values.dtype}{self.values.shape}".encode()
        self._digest = hashlib.blake2b(key + np.ascontiguousarray(self.values).tobytes()).hexdigest()

    def like(self, dtype: Any) -> np.ndarray:
        """The vectors in the precision of a dtype."""
        return self.values.astype(_held(self.values, dtype))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Modes) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Modes({self.values.shape}, {self._digest[:16]})"


def _held(values: np.ndarray, dtype: Any) -> Any:
    """A dtype, or the complex one of its precision where values are complex."""
    return np.result_type(dtype, np.complex64) if np.iscomplexobj(values) else dtype


def as_modes(B: Any) -> Modes | None:
    """The modes in the columns of an array, None of None."""
    return B if B is None or isinstance(B, Modes) else Modes(B)


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
        entries = index_array(self.entries).astype(_held(self.entries, a.dtype))
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
