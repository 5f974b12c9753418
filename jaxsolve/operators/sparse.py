"""SparseMatrix: values that JAX carries on a pattern that is known while tracing."""

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jax import Array
from jax.experimental.sparse import BCOO, BCSR

from jaxsolve.core.array_likes import unwrapped
from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import evaluated, index_array, is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import as_arrays
from jaxsolve.core.vector import largest
from jaxsolve.operators.coordinates import entry_positions, matrix_shape
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import gather_or_zero
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.layout import lay_out
from jaxsolve.operators.operands import check_scalar, declaration, in_precision
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern


class SparseMatrix(LinearOperator):
    """A sparse matrix: a pytree whose one leaf is the values, with the positions as static metadata.

    It passes through jit, vmap, scan and grad as an argument without retracing (patterns compare by a digest), and
    its pattern is there while tracing. Executed as diagonals or rows of fixed width, whichever its pattern suits.

    Args:
        data: Values of shape (..., nnz) in CSR order; leading axes are a batch of matrices.
        pattern: The positions.
        facts: What is known of the matrix; see `declare`.

    Raises:
        StructureError: From `from_dense` and `from_bcoo`, if the pattern cannot be known, being traced; from a
            product with a vector of another shape than (n,).
        TypeError: From `from_scipy` and `from_bcoo`, if the argument is of another kind.

    Cost: 2 nnz flops a product; nnz numbers of memory and, for rows of fixed width, as many integers.

    >>> A = SparseMatrix.from_dense(jnp.array([[2.0, 0.0], [1.0, 3.0]]))
    >>> A, (A @ jnp.ones(2)).tolist(), A.T.todense().tolist()
    (SparseMatrix(2x2, nnz=3, float64), [2.0, 4.0], [[2.0, 1.0], [0.0, 3.0]])
    """

    data: Array
    pattern: Pattern = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @classmethod
    def from_scipy(cls, matrix: Any) -> "SparseMatrix":
        """The same matrix as a SciPy sparse matrix or array; duplicates are summed, explicit zeros kept."""
        if not (scipy.sparse.issparse(matrix) or isinstance(matrix, np.ndarray)):
            raise TypeError(
                f"SparseMatrix.from_scipy takes a SciPy sparse matrix; got {type(matrix).__name__}."
            )
        csr: Any = scipy.sparse.csr_matrix(matrix, copy=False)
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        return cls(jnp.asarray(csr.data), Pattern.of(csr.indptr.copy(), csr.indices.copy(), csr.shape))

    @classmethod
    def from_dense(cls, matrix: Any) -> "SparseMatrix":
        """The non-zero entries of a dense array.

        Raises:
            StructureError: If the array is traced, so that its zeros are unknown.
        """
        if is_traced(matrix):
            raise StructureError(
                "SparseMatrix.from_dense needs concrete values: the pattern of a traced array is unknown. "
                "Build the matrix outside of jit, or with SparseMatrix(data, pattern)."
            )
        try:
            host = np.asarray(unwrapped(matrix))
        except ValueError as error:
            raise StructureError(f"SparseMatrix.from_dense takes an array of shape (m, n): {error}") from None
        if host.ndim != 2 or host.dtype.kind not in "biufc":
            given = f"an array of shape {host.shape}" if host.ndim else type(matrix).__name__
            raise StructureError(
                f"SparseMatrix.from_dense takes an array of numbers of shape (m, n); got {given}."
            )
        rows, cols = np.nonzero(host)
        pattern, _, _ = Pattern.from_coo(rows, cols, host.shape)
        return cls(jnp.asarray(host[rows, cols]), pattern)

    @classmethod
    def from_bcoo(cls, matrix: BCOO | BCSR) -> "SparseMatrix":
        """The same matrix as a BCOO or BCSR whose indices are concrete; duplicates are summed, padding dropped.

        Raises:
            StructureError: If the indices are traced, or the matrix has dense dimensions.
        """
        if not isinstance(matrix, BCOO | BCSR):
            raise TypeError(
                f"SparseMatrix.from_bcoo takes a BCOO or a BCSR of JAX; got {type(matrix).__name__}."
            )
        if isinstance(matrix, BCSR):
            matrix = matrix.to_bcoo()
        if matrix.n_dense or matrix.n_sparse != 2:
            raise StructureError(
                f"expected a BCOO of two sparse and no dense dimensions; got n_sparse={matrix.n_sparse}, "
                f"n_dense={matrix.n_dense}."
            )
        if is_traced(matrix.indices):
            raise StructureError(
                "the indices of this BCOO are traced, so its pattern is unknown while compiling. Build a "
                "js.SparseMatrix outside of jit and pass that as the argument: its pattern is static."
            )
        pattern, kept, slots = _positions(matrix)
        return cls(_merged(matrix.data, pattern, kept, slots), pattern)

    @classmethod
    def from_coo(cls, rows: Any, columns: Any, values: Any, shape: tuple[int, int]) -> "SparseMatrix":
        """The matrix with these values at these positions, in any order; values at one position are summed.

        Args:
            rows: Concrete integers of shape (nnz,), from 0.
            columns: The same.
            values: Numbers of shape (..., nnz), which may be traced; leading axes are a batch on one pattern.
            shape: Rows and columns of the matrix.

        Raises:
            StructureError: If the shapes do not fit together, a position lies outside the matrix, or is traced.
            TypeError: If positions are no integers, or values no numbers.

        Cost: one sort of nnz keys where the positions are unsorted, once for each call that is traced or eager.

        >>> A = SparseMatrix.from_coo([0, 1, 1, 1], [0, 1, 0, 1], [2.0, 3.0, 1.0, 4.0], (2, 2))
        >>> A.todense().tolist()
        [[2.0, 0.0], [1.0, 7.0]]
        """
        m, n = matrix_shape(shape)
        positions = entry_positions(rows, columns, (m, n))
        # Of concrete values the matrix is concrete, in a function that is being traced too.
        with evaluated(values):
            entries = as_arrays("values", values)
        if not (isinstance(entries, jax.Array) and entries.shape[-1:] == (len(positions[0]),)):
            given = f"shape {entries.shape}" if isinstance(entries, jax.Array) else type(values).__name__
            raise StructureError(
                f"values must be an array of shape (..., {len(positions[0])}), one for each position; got {given}."
            )
        if not jnp.issubdtype(entries.dtype, jnp.number):
            raise TypeError(f"values must be real or complex numbers; got {entries.dtype.name}.")
        pattern, order, slots = Pattern.from_coo(*positions, (m, n))
        with evaluated(values):
            return cls(_merged(entries, pattern, order, slots), pattern)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (of one matrix of a batch)."""
        return self.pattern.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the values."""
        return self.data.dtype

    @property
    def nnz(self) -> int:
        """The number of stored entries."""
        return self.pattern.nnz

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def declare(self, **traits: bool) -> "SparseMatrix":
        """The same matrix with declared traits: `symmetric`, `hermitian`, `positive_definite`, `lower`, ..."""
        return SparseMatrix(self.data, self.pattern, declaration(self, traits))

    def entries(self) -> "SparseMatrix":
        """The matrix itself."""
        return self

    def plain(self) -> "SparseMatrix":
        """The matrix by its entries alone."""
        return self

    @property
    def known_bandwidth(self) -> tuple[int, int]:
        """That of the pattern."""
        return self.pattern.bandwidth

    @property
    def entry_count(self) -> int:
        """The number of stored entries."""
        return self.pattern.nnz

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes of the values."""
        return self.data.shape[:-1]

    def astype(self, dtype: Any) -> "SparseMatrix":
        """The matrix with values in the precision of `dtype`."""
        data = in_precision(self.data, dtype)
        return self if data is self.data else eqx.tree_at(lambda A: A.data, self, data)

    def on_host(self) -> HostOperator:
        """The SciPy matrix."""
        return scipy.sparse.linalg.aslinearoperator(self.pattern.to_scipy(self.data))

    def by_diagonals(self) -> DiagonalsOperator | None:
        """The layout where that is by diagonals."""
        return self.layout().by_diagonals()

    def mv(self, x: Array) -> Array:
        """The product A x."""
        return self.layout().mv(x)

    def layout(self) -> LinearOperator:
        """The same matrix as diagonals or as rows of fixed width; made once for concrete values."""
        if is_traced(self.data) or not isinstance(self.data, jax.Array):
            return lay_out(self.data, self.pattern, self.facts)
        key = (id(self.data), self.pattern)
        found = _LAYOUTS.get(key)
        if found is None:
            # Also in jit: a constant is laid out once, while it is traced.
            with evaluated(self.data):
                made = lay_out(self.data, self.pattern, self.facts)
            # JAX arrays never change, so the layout holds while the array of values lives.
            found = _LAYOUTS[key] = (weakref.ref(self.data, lambda _: _LAYOUTS.pop(key, None)), made)
        made = found[1]
        return made if made.facts == self.facts else dataclasses.replace(made, facts=self.facts)

    def transpose(self) -> "SparseMatrix":
        """The transposed matrix; costs one permutation of the values."""
        pattern, order = self.pattern.transpose()
        if isinstance(self.data, np.ndarray):
            # Constants of a traced function are NumPy arrays, and stay constants inside jit.
            return SparseMatrix(self.data[..., order], pattern, self.facts.T)
        return SparseMatrix(gather_or_zero(self.data, index_array(order)), pattern, self.facts.T)

    def conj(self) -> "SparseMatrix":
        """The conjugate matrix."""
        return SparseMatrix(jnp.conj(self.data), self.pattern, self.facts)

    def diagonal(self) -> Array:
        """The main diagonal, zero where there is no entry."""
        return gather_or_zero(self.data, index_array(self.pattern.diagonal_positions))

    def magnitude(self) -> Array:
        """The largest absolute entry."""
        return largest(self.data, axis=-1)

    def absolute_row_sums(self) -> Array:
        """The sum of |a_ij| over j for each row."""
        rows = index_array(self.pattern.rows)
        return jax.ops.segment_sum(jnp.abs(self.data), rows, self.shape[0], indices_are_sorted=True)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row."""
        return self.layout().row_sums(term, x)

    @property
    def most_entries(self) -> tuple[int, int]:
        """At most so many entries are in a row, and in a column."""
        return self.pattern.most_entries

    def as_matrix(self) -> Array:
        """The dense matrix (of each of a batch)."""
        zeros = jnp.zeros((*self.data.shape[:-1], *self.shape), self.dtype)
        rows, cols = index_array(self.pattern.rows), index_array(self.pattern.indices)
        return zeros.at[..., rows, cols].set(self.data)

    todense = as_matrix

    def to_bcoo(self) -> BCOO:
        """The same matrix as a sorted BCOO without duplicates; the values are this matrix's leaf."""
        rows, cols = index_array(self.pattern.rows), index_array(self.pattern.indices)
        indices = jnp.stack([rows, cols], axis=-1)
        batch = self.data.shape[:-1]
        indices = jnp.broadcast_to(indices, (*batch, *indices.shape))
        return BCOO(
            (self.data, indices), shape=(*batch, *self.shape), indices_sorted=True, unique_indices=True
        )

    def to_scipy(self) -> scipy.sparse.csr_matrix:
        """The same matrix as SciPy CSR; needs concrete values."""
        return self.pattern.to_scipy(self.data)

    def __mul__(self, factor: Any) -> LinearOperator:
        check_scalar(factor)
        return SparseMatrix(factor * self.data, self.pattern, self.facts.scaled())

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> LinearOperator:
        return self * (1 / divisor)

    def __neg__(self) -> LinearOperator:
        return self * -1

    def __add__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, SparseMatrix) or other.shape != self.shape:
            return super().__add__(other)
        if other.pattern == self.pattern:
            return SparseMatrix(self.data + other.data, self.pattern, self.facts + other.facts)
        mine, theirs = self.pattern, other.pattern
        rows = np.concatenate([mine.rows, theirs.rows])
        cols = np.concatenate([mine.indices, theirs.indices])
        pattern, order, slots = Pattern.from_coo(rows, cols, self.shape)
        batch = jnp.broadcast_shapes(self.data.shape[:-1], other.data.shape[:-1])
        parts = [jnp.broadcast_to(A.data, (*batch, A.nnz)) for A in (self, other)]
        return SparseMatrix(_merged(jnp.concatenate(parts, axis=-1), pattern, order, slots), pattern)

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return self + (-other) if isinstance(other, LinearOperator) else super().__sub__(other)

    def __repr__(self) -> str:
        batch = "".join(f"{k}x" for k in self.data.shape[:-1])
        m, n = self.shape
        return f"SparseMatrix({batch}{m}x{n}, nnz={self.nnz}, {jnp.dtype(self.dtype).name})"


def _merged(data: Array, pattern: Pattern, order: np.ndarray | None, slots: np.ndarray | None) -> Array:
    """Values of shape (..., nse) in the order of a pattern, repeated positions summed."""
    if order is not None:
        data = data[..., index_array(order)]
    if slots is None:
        return data
    zeros = jnp.zeros((*data.shape[:-1], pattern.nnz), data.dtype)
    return zeros.at[..., index_array(slots)].add(data, indices_are_sorted=True)


# By the identity of arrays, which have no room for what is remembered (`memo.per_object`). Not `memo.by_identity`: what
# is traced is not kept.
_LAYOUTS: dict[Any, tuple[Any, Any]] = {}


_Found = tuple[Pattern, np.ndarray | None, np.ndarray | None]
_FOUND: dict[int, tuple[Any, tuple[int, int], _Found]] = {}


def _positions(matrix: BCOO) -> _Found:
    """The pattern of a BCOO, the order of its values there (None: as stored), and the slots of repeated ones."""
    shape = (matrix.shape[-2], matrix.shape[-1])
    key = id(matrix.indices)
    if key in _FOUND and _FOUND[key][1] == shape:
        return _FOUND[key][2]
    indices = np.asarray(matrix.indices)
    if indices.ndim > 2:
        flat = indices.reshape(-1, *indices.shape[-2:])
        if not (flat == flat[:1]).all():
            raise StructureError(
                "the matrices of this batched BCOO have different positions; jaxsolve batches matrices of one "
                "pattern. Use jax.vmap over the solve, or store explicit zeros."
            )
        indices = flat[0]
    rows, cols = indices[:, 0], indices[:, 1]
    inside = (rows < shape[0]) & (cols < shape[1])
    kept = None if inside.all() else np.flatnonzero(inside)
    if kept is not None:
        rows, cols = rows[kept], cols[kept]
    pattern, order, slots = Pattern.from_coo(rows, cols, shape)
    if order is not None:
        kept = order if kept is None else kept[order]
    found = (pattern, kept, slots)
    if isinstance(matrix.indices, jax.Array):
        # JAX arrays never change, so what was found holds while the array lives.
        _FOUND[key] = (weakref.ref(matrix.indices, lambda _: _FOUND.pop(key, None)), shape, found)
    return found
