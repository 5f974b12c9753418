"""Pattern: where the entries of a sparse matrix are, on the host, known while tracing."""

import functools
import hashlib
import weakref
from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from jaxsolve.core.errors import StructureError


class Pattern:
    """The positions of the entries of a sparse matrix in CSR form: rows sorted, columns sorted and unique in a row.

    Hashed and compared by a digest that is computed once, so that it serves as static metadata of pytrees without
    retracing. Equal patterns built by `Pattern.of` are one object and share what was found out about them.

    Attributes:
        indptr: NumPy integers of shape (m + 1,).
        indices: NumPy integers of shape (nnz,).
        shape: (m, n).

    Raises:
        StructureError: From `from_coo`, if an index lies outside the shape.

    Cost: one sort of nnz keys for `from_coo` where they are unsorted; m + nnz integers of memory.

    >>> pattern, order, _ = Pattern.from_coo(np.array([1, 0, 1]), np.array([0, 0, 1]), (2, 2))
    >>> pattern.nnz, pattern.indptr.tolist(), pattern.indices.tolist()
    (3, [0, 1, 3], [0, 0, 1])
    """

    _interned: ClassVar["weakref.WeakValueDictionary[bytes, Pattern]"] = weakref.WeakValueDictionary()

    def __init__(self, indptr: np.ndarray, indices: np.ndarray, shape: tuple[int, int]):
        self.indptr = np.ascontiguousarray(indptr, _index_dtype(len(indices)))
        self.indices = np.ascontiguousarray(indices, np.int32 if max(shape) < 2**31 else np.int64)
        self.shape = (int(shape[0]), int(shape[1]))
        for array in (self.indptr, self.indices):
            array.flags.writeable = False
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr(self.shape).encode())
        digest.update(self.indptr.data)
        digest.update(self.indices.data)
        self._digest = digest.digest()

    @classmethod
    def of(cls, indptr: np.ndarray, indices: np.ndarray, shape: tuple[int, int]) -> "Pattern":
        """The one pattern with these positions (sorted and unique: not checked)."""
        new = cls(indptr, indices, shape)
        return cls._interned.setdefault(new._digest, new)

    @classmethod
    def from_coo(
        cls, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
    ) -> tuple["Pattern", np.ndarray | None, np.ndarray | None]:
        """The pattern of coordinate pairs, which may be unsorted and repeated.

        Returns:
            The pattern; `order` such that `data[order]` is sorted, None where it is already; `slots`, the position
            in the pattern of each sorted pair, None where no pair is repeated.

        Raises:
            StructureError: If a position lies outside `shape`.
        """
        rows, cols = np.asarray(rows, np.int64), np.asarray(cols, np.int64)
        if rows.size and (
            min(rows.min(), cols.min()) < 0 or rows.max() >= shape[0] or cols.max() >= shape[1]
        ):
            raise StructureError(f"an index lies outside the matrix of shape {shape}.")
        keys = rows * max(shape[1], 1) + cols
        steps = np.diff(keys)
        order = None if (steps >= 0).all() else np.argsort(keys, kind="stable")
        if order is not None:
            keys = keys[order]
            steps = np.diff(keys)
        slots = None
        if not (steps > 0).all():
            first = np.concatenate([[True], steps > 0])
            slots = np.cumsum(first) - 1
            keys = keys[first]
        rows, cols = np.divmod(keys, max(shape[1], 1))
        indptr = np.zeros(shape[0] + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=shape[0]), out=indptr[1:])
        return cls.of(indptr, cols, shape), order, slots

    @property
    def nnz(self) -> int:
        """The number of entries."""
        return len(self.indices)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.shape[0], dtype=self.indices.dtype), np.diff(self.indptr))

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """The diagonals that hold entries, as sorted values of column - row."""
        return np.flatnonzero(self._counts) - max(self.shape[0] - 1, 0)

    @property
    def bandwidth(self) -> tuple[int, int]:
        """How far entries reach below and above the main diagonal."""
        if not self.nnz:
            return (0, 0)
        return (max(0, -int(self.offsets[0])), max(0, int(self.offsets[-1])))

    @functools.cached_property
    def most_entries(self) -> tuple[int, int]:
        """The number of entries in the fullest row, and in the fullest column."""
        rows, columns = np.diff(self.indptr), np.bincount(self.indices, minlength=1)
        return int(rows.max(initial=0)), int(columns.max(initial=0))

    @functools.cached_property
    def diagonal_positions(self) -> np.ndarray:
        """For each row of the leading square, the position of its diagonal entry, or nnz where it has none."""
        positions = np.full(min(self.shape), self.nnz, self.indptr.dtype)
        found = np.flatnonzero(self.rows == self.indices)
        positions[self.rows[found]] = found
        return positions

    @functools.cached_property
    def _transposed(self) -> tuple["Pattern", np.ndarray]:
        # The transposed matrix whose values are the entries' positions tells pattern and permutation at once.
        matrix = self.to_scipy(np.arange(self.nnz)).T.tocsr()
        matrix.sort_indices()
        other = Pattern.of(matrix.indptr, matrix.indices, (self.shape[1], self.shape[0]))
        return other, _frozen(matrix.data.astype(self.indptr.dtype))

    def transpose(self) -> tuple["Pattern", np.ndarray]:
        """The transposed pattern, and `order` such that `data[order]` are its values."""
        return self._transposed

    @functools.cached_property
    def is_symmetric(self) -> bool:
        """Whether (j, i) is a position whenever (i, j) is."""
        return self.shape[0] == self.shape[1] and self.transpose()[0] == self

    def to_scipy(self, data: Any) -> scipy.sparse.csr_matrix:
        """The SciPy matrix with these values in CSR order."""
        return scipy.sparse.csr_matrix((np.asarray(data), self.indices, self.indptr), shape=self.shape)

    @functools.cached_property
    def _counts(self) -> np.ndarray:
        shift = max(self.shape[0] - 1, 0)
        return np.bincount(self.indices.astype(np.int64) - self.rows + shift, minlength=1)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Pattern) and self._digest == other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __reduce__(self) -> tuple:
        # A copy is the same object, with what is remembered of it.
        return Pattern.of, (self.indptr, self.indices, self.shape)

    def __repr__(self) -> str:
        return f"Pattern({self.shape[0]}x{self.shape[1]}, nnz={self.nnz})"


def _index_dtype(size: int) -> type:
    return np.int32 if size < 2**31 else np.int64


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
