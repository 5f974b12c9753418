"""DiagonalsOperator: a matrix stored by diagonals, the fastest layout for stencils on grids."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax import Array, lax

from jaxsolve.core.memo import recent
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import largest, mul
from jaxsolve.operators.ell import gather_or_zero
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern


class DiagonalsOperator(LinearOperator):
    """The matrix with entries A[i, i + offsets[k]] = values[k, i].

    Applied as one padding of x and a slice a diagonal: no index array anywhere. On one CPU core a product with a
    5-point stencil costs a third of SciPy's CSR product, on a GPU it runs at the speed of the memory.

    Args:
        values: Shape (number of diagonals, m); slots that fall outside the matrix or its pattern hold 0.
        offsets: Column minus row of each diagonal.
        size: (m, n).
        facts: What is known of the matrix.
    """

    values: Array
    offsets: tuple[int, ...] = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.values.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The product A x."""
        if not self.offsets:
            return jnp.zeros(self.size[0], common(self.values, x))
        shifted = self._shifted(x)
        y = mul(self.values[0], shifted[0])
        for k in range(1, len(self.offsets)):
            y = y + mul(self.values[k], shifted[k])
        return y

    def _shifted(self, x: Array) -> list[Array]:
        """For each diagonal, the entry of x that each row meets there, 0 outside of x."""
        m, n = self.size
        before = max(0, -min(self.offsets))
        after = max(0, m + max(self.offsets) - n)
        padded = jnp.pad(x, (before, after))
        starts = [before + offset for offset in self.offsets]
        return [lax.slice(padded, (start,), (start + m,)) for start in starts]

    def by_diagonals(self) -> "DiagonalsOperator":
        """The operator itself."""
        return self

    def stored_entries(self) -> tuple[Array, Pattern]:
        """The slots inside of the matrix, of which all count as entries."""
        pattern, positions = full_diagonals(self.offsets, self.shape)
        return gather_or_zero(self.values.reshape(-1), index_array(positions)), pattern

    @property
    def known_bandwidth(self) -> tuple[int, int]:
        """How far the diagonals are from the main one."""
        return max(0, -min(self.offsets, default=0)), max(0, *self.offsets, 0)

    @property
    def entry_count(self) -> int:
        """The number of slots."""
        return len(self.offsets) * self.size[0]

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        m, n = self.size
        values = np.asarray(self.values)
        # SciPy stores diagonal k by columns: entry [k, j] is A[j - offset, j].
        shifted = np.zeros((len(self.offsets), n), values.dtype)
        for k, offset in enumerate(self.offsets):
            first, last = max(0, -offset), min(m, n - offset)
            if last > first:
                shifted[k, first + offset : last + offset] = values[k, first:last]
        matrix = scipy.sparse.dia_matrix((shifted, self.offsets), shape=(m, n)).tocsr()
        return scipy.sparse.linalg.aslinearoperator(matrix)

    def transpose(self) -> "DiagonalsOperator":
        """The transposed matrix: the diagonals shifted along themselves."""
        m, n = self.size
        # Aᵀ[j, j - d] = A[j - d, j]: row k of the transposed storage is row k shifted by d and cut to n.
        rows = []
        for k, offset in enumerate(self.offsets):
            rows.append(_window(self.values[k], -offset, n))
        values = jnp.stack(rows) if rows else jnp.zeros((0, n), self.dtype)
        return DiagonalsOperator(values, tuple(-d for d in self.offsets), (n, m), self.facts.T)

    def conj(self) -> "DiagonalsOperator":
        """The conjugate matrix."""
        return DiagonalsOperator(jnp.conj(self.values), self.offsets, self.size, self.facts)

    def diagonal(self) -> Array:
        """The main diagonal."""
        k = min(self.size)
        if 0 not in self.offsets:
            return jnp.zeros(k, self.dtype)
        return self.values[self.offsets.index(0)][:k]

    def magnitude(self) -> Array:
        """The largest absolute entry."""
        return largest(self.values)

    def leading_row_sums(self, count: int) -> Array:
        """The sums of the first rows."""
        return jnp.sum(self.values[:, :count], axis=0)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row."""
        shifted = jnp.stack(self._shifted(x)) if self.offsets else jnp.zeros(self.values.shape, x.dtype)
        return jax.tree.map(lambda part: jnp.sum(part, axis=0), term(self.values, shifted))

    @property
    def most_entries(self) -> tuple[int, int]:
        """No row and no column has more than one on each diagonal."""
        return len(self.offsets), len(self.offsets)


def _window(v: Array, start: int, length: int) -> Array:
    """The entries v[start : start + length], zero where that reaches beyond v."""
    before = max(0, -start)
    after = max(0, start + length - v.shape[0])
    return lax.slice(jnp.pad(v, (before, after)), (start + before,), (start + before + length,))


@recent(each=0)
def full_diagonals(offsets: tuple[int, ...], shape: tuple[int, int]) -> tuple[Pattern, np.ndarray]:
    """The pattern of full diagonals, and where its values are in the storage by diagonals."""
    m, n = shape
    rows = np.tile(np.arange(m), len(offsets))
    columns = rows + np.repeat(np.asarray(offsets, np.int64), m)
    inside = np.flatnonzero((columns >= 0) & (columns < n))
    pattern, order, _ = Pattern.from_coo(rows[inside], columns[inside], shape)
    return pattern, inside if order is None else inside[order]
