"""Block elimination: the step of a fit in which one leaf of x, the points of a picture, is eliminated first.

Where no residual reads two rows of the leaf, its part P of JᵀJ = [[C, E], [Eᵀ, P]] is block-diagonal, and what is left
for the others is the small dense Schur complement C - E P⁻¹ Eᵀ (Brown 1958, Bundle adjustment). J is sparse; its
pattern and that of JᵀJ are known while tracing.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError, TraceError
from jaxsolve.core.memo import recent
from jaxsolve.core.staging import index_array
from jaxsolve.core.tree import Packing
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.sparse_products import ProductPlan, plan_product

#: Entries of E, which is made dense: 320 MB of doubles.
MOST_ENTRIES = 40_000_000


class BlockElimination(eqx.Module):
    """Which part of the flat x is eliminated.

    Attributes:
        leaf: The name of the leaf, for people.
        start: Where it begins.
        count: Its rows.
        width: Their length.
    """

    leaf: str = eqx.field(static=True)
    start: int = eqx.field(static=True)
    count: int = eqx.field(static=True)
    width: int = eqx.field(static=True)

    @classmethod
    def of(cls, leaf: str | int, unknown: Packing) -> "BlockElimination":
        """That of a leaf.

        Raises:
            StructureError: If it is no array with rows among the top-level leaves of x.
        """
        tree = jax.tree.unflatten(unknown.treedef, range(len(unknown.shapes)))
        found: dict[str, list[int]] = {}
        for path, k in jax.tree_util.tree_flatten_with_path(tree)[0]:
            if path:
                found.setdefault(jax.tree_util.keystr(path[:1], simple=True), []).append(k)
        places = found.get(str(leaf), [])
        if len(places) != 1 or len(found) < 2:
            have = f"it has {', '.join(found)}" if found else f"it is one array of shape {unknown.shapes[0]}"
            raise StructureError(
                f"LevenbergMarquardt: eliminate={leaf!r} names one array among the top-level leaves of x0, beside "
                f"others; {have}."
            )
        (k,) = places
        shape, length = unknown.shapes[k], unknown.lengths[k]
        if (
            not shape
            or not length
            or (unknown.split and jnp.issubdtype(unknown.dtypes[k], jnp.complexfloating))
        ):
            raise StructureError(
                f"LevenbergMarquardt: the leaf {leaf!r} to eliminate is a real array with a row for each block; got "
                f"shape {shape} and dtype {unknown.dtypes[k].name}."
            )
        return cls(str(leaf), sum(unknown.lengths[:k]), shape[0], length // shape[0])

    def jacobian(self, read: Callable[[], SparseMatrix]) -> SparseMatrix:
        """The sparse derivative of the residuals, which `read` returns.

        Raises:
            StructureError: If it cannot be read, or if a residual reads two rows of the leaf.
        """
        try:
            J = read()
        except TraceError as error:
            raise StructureError(
                f"LevenbergMarquardt: eliminate={self.leaf!r} needs the sparse derivative of the residuals, which "
                f"can't be read: {error}"
            ) from None
        blocks_of(J.pattern, self)
        return J

    def step(self, J: SparseMatrix, gradient: Array, damping: Array, metric: Array) -> Array:
        """The d with (JᵀJ + damping D²) d = -gradient, D the metric; NaN where that is not definite."""
        blocks, eps = blocks_of(J.pattern, self), jnp.finfo(gradient.dtype).eps
        n, width = metric.shape[0], self.width
        kept, gone = index_array(blocks.kept), slice(self.start, self.start + self.count * width)
        data = J.data / metric[index_array(J.pattern.indices)]
        normal = blocks.product.multiply(data[index_array(blocks.turned)], data)
        ridge = (damping + n * eps).astype(data.dtype)
        P = blocks.part(normal, "P", (self.count, width, width)) + ridge * jnp.eye(width, dtype=data.dtype)
        E = blocks.part(normal, "E", (self.count, width, len(blocks.kept)))
        C = blocks.part(normal, "C", (len(blocks.kept),) * 2) + ridge * jnp.eye(
            len(blocks.kept), dtype=data.dtype
        )
        slope = gradient / metric
        # With P = L Lᵀ: all of the leaf's rows at once.
        L = jnp.linalg.cholesky(P)
        right = jnp.concatenate([E, slope[gone].reshape(self.count, width, 1)], axis=-1)
        right = jax.lax.linalg.triangular_solve(L, right, left_side=True, lower=True)
        Y, y = right[..., :-1].reshape(self.count * width, -1), right[..., -1].reshape(-1)
        complement = C - jnp.matmul(Y.T, Y, precision="highest")
        rest = jsl.cho_solve(jsl.cho_factor(complement), -(slope[kept] - Y.T @ y))
        back = -(y + Y @ rest).reshape(self.count, width, 1)
        leaf = jax.lax.linalg.triangular_solve(L, back, left_side=True, lower=True, transpose_a=True)
        return jnp.zeros_like(gradient).at[kept].set(rest).at[gone].set(leaf.reshape(-1)) / metric


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """Where the entries of JᵀJ lie in its blocks.

    Attributes:
        product: How JᵀJ is formed.
        turned: The entries of Jᵀ among those of J.
        kept: The unknowns that are not eliminated.
        places: For each block the entries of JᵀJ in it, and their positions.
    """

    product: ProductPlan
    turned: np.ndarray
    kept: np.ndarray
    places: dict[str, tuple[np.ndarray, ...]]

    def part(self, normal: Array, name: str, shape: tuple[int, ...]) -> Array:
        """A block of JᵀJ as an array."""
        entries, *at = map(index_array, self.places[name])
        return jnp.zeros(shape, normal.dtype).at[tuple(at)].set(normal[entries])


@recent(most=16, each=0)
def blocks_of(pattern: Pattern, leaf: BlockElimination) -> Blocks:
    """The blocks of JᵀJ for a pattern of J.

    Raises:
        StructureError: If the rows of the leaf couple, or the others are too many.
    """
    n, stop = pattern.shape[1], leaf.start + leaf.count * leaf.width
    gone = np.zeros(n, bool)
    gone[leaf.start : stop] = True
    row = np.where(gone, (np.arange(n) - leaf.start) // leaf.width, -1)
    _refuse_coupling(pattern, row, leaf)
    kept = np.flatnonzero(~gone)
    if len(kept) * (stop - leaf.start) > MOST_ENTRIES:
        raise StructureError(
            f"LevenbergMarquardt: eliminating {leaf.leaf!r} leaves {len(kept)} parameters, coupled to its "
            f"{stop - leaf.start} by a dense array of {len(kept) * (stop - leaf.start):.1e} entries; it is made up to "
            f"{MOST_ENTRIES:.0e}."
        )
    other, turned = pattern.transpose()
    product = plan_product(other, pattern)
    i, j = product.pattern.rows.astype(np.int64), product.pattern.indices.astype(np.int64)
    inside = np.cumsum(~gone) - 1
    places = {}
    for name, chosen in (("P", gone[i] & gone[j]), ("E", gone[i] & ~gone[j]), ("C", ~gone[i] & ~gone[j])):
        at = np.flatnonzero(chosen)
        column = (j[at] - leaf.start) % leaf.width if name == "P" else inside[j[at]]
        across = (inside[i[at]],) if name == "C" else (row[i[at]], (i[at] - leaf.start) % leaf.width)
        places[name] = tuple(v.astype(np.int32) for v in (at, *across, column))
    return Blocks(product, turned, kept.astype(np.int32), places)


def _refuse_coupling(pattern: Pattern, row: np.ndarray, leaf: BlockElimination) -> None:
    at = row[pattern.indices]
    read, residual = at[at >= 0], pattern.rows[at >= 0]
    # Columns are sorted, so that rows of the leaf in one residual follow one another.
    coupled = np.flatnonzero((np.diff(residual) == 0) & (np.diff(read) != 0))
    if coupled.size:
        k = int(coupled[0])
        raise StructureError(
            f"LevenbergMarquardt: the rows of {leaf.leaf!r} couple: residual {residual[k]} reads rows {read[k]} and "
            f"{read[k + 1]} of it, as far as its operations tell. A leaf is eliminated whose rows no residual joins; "
            "indices that say which row a residual reads have to be concrete arrays, not traced."
        )
