"""Matrices and right-hand sides in files: Matrix Market, MATLAB, Harwell-Boeing, SciPy's .npz, NumPy's .npy."""

import io
import os
import pathlib
import warnings
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
    ".mat": "MATLAB file",
    ".rb": "Harwell-Boeing file",
    ".rua": "Harwell-Boeing file",
    ".rsa": "Harwell-Boeing file",
    ".hb": "Harwell-Boeing file",
}
#: Endings of the files that hold matrices.
ENDINGS = tuple(FORMATS)

# What the readers of SciPy and NumPy raise on files that are not what their name says.
_MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    NotImplementedError,
    Warning,
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
        path: Matrix Market (`.mtx`, `.mtx.gz`), MATLAB (`.mat` up to version 7: the matrix `A`, that of `Problem`, or
            the only one), Harwell-Boeing (`.rb`, `.rua`, `.rsa`, `.hb`; real), SciPy sparse (`.npz`) or a dense NumPy
            array (`.npy`), whose zeros are left out.

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
    content = _read(path, "A")
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
    content = _read(path, "b")
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


def _read(path: str | os.PathLike, wanted: str) -> Any:
    """What a file holds, as a SciPy matrix or a NumPy array; of several the one of the name `wanted`."""
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
            if name.endswith(".mat"):
                return _variable(scipy.io.loadmat(file), wanted)
            if name.endswith((".mtx", ".mtx.gz")):
                return scipy.io.mmread(name, spmatrix=False)
            # Of a number that it can't read NumPy warns, and gives what came before.
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return _harwell_boeing(pathlib.Path(path).read_text())
        except _MALFORMED as error:
            kind = next(kind for ending, kind in FORMATS.items() if name.endswith(ending))
            text = " ".join(str(error).split()) or type(error).__name__
            raise StructureError(f"'{path}' is no {kind} that can be read: {text}") from None


def _harwell_boeing(text: str) -> Any:
    """The matrix of a file in SciPy's reading, which knows no symmetric storage: that is expanded here."""
    lines = text.splitlines(keepends=True)
    kind = lines[2][1:2].upper() if len(lines) > 2 else ""
    if kind in ("S", "Z", "R"):
        lines[2] = f"{lines[2][0]}U{lines[2][2:]}"
    matrix: Any = scipy.io.hb_read(io.StringIO("".join(lines)), spmatrix=False)
    if kind in ("S", "Z"):
        # One triangle is stored; of a skew one, A = -Aᵀ.
        matrix = (
            matrix + (1 if kind == "S" else -1) * (matrix - scipy.sparse.diags_array(matrix.diagonal())).T
        )
    return matrix


def _variable(variables: dict[str, Any], wanted: str) -> Any:
    """The matrix (or vector) among the variables of a MATLAB file, or in its structure `Problem`."""
    if "Problem" in variables and variables["Problem"].dtype.names:
        # SuiteSparse's collection: a structure of one element.
        record = variables["Problem"].reshape(-1)[0]
        variables = {name: record[name] for name in record.dtype.names}
    numbers = {
        name: value
        for name, value in variables.items()
        if not name.startswith("__")
        and (scipy.sparse.issparse(value) or np.asarray(value).dtype.kind in "buifc")
    }
    if wanted in numbers:
        return numbers[wanted]
    if len(numbers) != 1:
        raise ValueError(f"it holds no variable {wanted}, but {', '.join(numbers) or 'no numbers at all'}.")
    return next(iter(numbers.values()))
