"""Matrices and right-hand sides in files: Matrix Market, SciPy's .npz, NumPy's .npy."""

import os
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.facts import proven_traits
from jaxsolve.operators.sparse import SparseMatrix

#: What files of each ending hold, for people.
FORMATS = {
    ".mtx": "Matrix Market file",
    ".mtx.gz": "Matrix Market file",
    ".npz": "SciPy sparse matrix",
    ".npy": "NumPy array",
}
#: Endings of the files that hold matrices.
ENDINGS = tuple(FORMATS)

# What the readers of SciPy and NumPy raise on files that are not what their name says.
_MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    EOFError,
    OSError,
    zlib.error,
    zipfile.BadZipFile,
)


def read_matrix(path: str | os.PathLike) -> SparseMatrix:
    """The matrix in a file, with what its values prove declared: symmetric, Hermitian, triangular, definite.

    Symmetric is up to rounding. Definite is what Gershgorin's circles prove so; others may be definite all the same,
    and are not declared. Integers and patterns become floats, symmetric storage is expanded, repeated entries are
    summed.

    Args:
        path: Matrix Market (`.mtx`, `.mtx.gz`), SciPy sparse (`.npz`) or a dense NumPy array (`.npy`), whose
            zeros are left out.

    Returns:
        A `SparseMatrix` of shape (m, n), real or complex.

    Raises:
        OSError: If there is no such file, or it cannot be opened.
        StructureError: If it holds no matrix; a ValueError.

    Cost: one pass over the file, and over the entries for each fact.

    >>> import tempfile, scipy.io, scipy.sparse
    >>> path = tempfile.mkdtemp() + "/A.mtx"
    >>> scipy.io.mmwrite(
    ...     path, scipy.sparse.diags_array([[-1.0] * 3, [4.0] * 4, [-1.0] * 3], offsets=[-1, 0, 1])
    ... )
    >>> A = read_matrix(path)
    >>> A.shape, A.nnz, A.traits.positive_definite
    ((4, 4), 10, True)
    """
    content = _read(path)
    if not scipy.sparse.issparse(content):
        content = np.atleast_2d(content)
        if content.ndim != 2:
            raise StructureError(f"'{path}' holds an array of shape {content.shape}; a matrix has two axes.")
    matrix: Any = scipy.sparse.csr_matrix(content)
    if not np.issubdtype(matrix.dtype, np.inexact):
        matrix = matrix.astype(np.float64)
    matrix.sum_duplicates()
    return SparseMatrix.from_scipy(matrix).declare(**proven_traits(matrix))


def read_vector(path: str | os.PathLike) -> np.ndarray:
    """The vector in a file, of shape (n,): one row or one column, dense or sparse.

    Args:
        path: As for `read_matrix`.

    Raises:
        OSError: If there is no such file, or it cannot be opened.
        StructureError: If it holds anything but one vector; a ValueError.
    """
    content = _read(path)
    dense: Any = content.toarray() if scipy.sparse.issparse(content) else content
    shape = dense.shape
    if dense.ndim == 0 or dense.ndim > 2 or (dense.ndim == 2 and 1 not in shape):
        raise StructureError(f"'{path}' holds an array of shape {shape}; a right-hand side is one column.")
    vector = dense.reshape(-1)
    return vector if np.issubdtype(vector.dtype, np.inexact) else vector.astype(np.float64)


def write_vector(path: str | os.PathLike, vector: np.ndarray) -> None:
    """Writes a vector of shape (n,) as one column of a Matrix Market file, or as `.npy`.

    Raises:
        OSError: If the file cannot be written.
        StructureError: If the name ends otherwise; a ValueError.
    """
    name = str(path)
    if name.endswith(".npy"):
        np.save(name, np.asarray(vector))
    elif name.endswith((".mtx", ".mtx.gz")):
        # 17 digits restore a double exactly.
        scipy.io.mmwrite(name, np.asarray(vector)[:, None], precision=17)
    else:
        raise StructureError(f"'{path}' ends in neither .npy nor .mtx: no such format is known.")


def _read(path: str | os.PathLike) -> Any:
    """What a file holds, as a SciPy matrix or a NumPy array."""
    name = str(path)
    if not name.endswith(ENDINGS):
        raise StructureError(f"'{path}' ends in none of {', '.join(ENDINGS)}: no such format is known.")
    # Opened here: a missing file is told from a malformed one, and a reader that fails leaves none open.
    with pathlib.Path(path).open("rb") as file:
        try:
            if name.endswith(".npz"):
                return scipy.sparse.load_npz(file)
            if name.endswith(".npy"):
                return np.load(file, allow_pickle=False)
            return scipy.io.mmread(name, spmatrix=False)
        except _MALFORMED as error:
            kind = next(kind for ending, kind in FORMATS.items() if name.endswith(ending))
            text = " ".join(str(error).split()) or type(error).__name__
            raise StructureError(f"'{path}' is no {kind} that can be read: {text}") from None
