"""Matrices from practice, and how well a vector solves a system with one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

#: The singular one among them.
SINGULAR = "rajat01"


def matrix_folder() -> Path | None:
    """The folder named by JAXSOLVE_MATRICES, else `../shared/matrices` beside the checkout; None where it is empty."""
    default = Path(__file__).parents[3] / "shared" / "matrices"
    folder = Path(os.environ.get("JAXSOLVE_MATRICES", default))
    return folder if any(folder.glob("*.npz")) else None


def squares(folder: Path) -> Iterator[tuple[str, Any]]:
    """Names and square matrices of a folder."""
    for path in sorted(folder.glob("*.npz")):
        matrix: Any = scipy.sparse.csr_matrix(scipy.sparse.load_npz(path))
        if matrix.shape[0] == matrix.shape[1]:
            yield path.stem, matrix


def errors(matrix: Any, x: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Relative residual, and normwise backward error in the infinity norm of A (Higham 2002, theorem 7.1).

    The residual is summed in extended precision: where ‖A‖‖x‖ is 10⁹ ‖b‖ (nos7), that of a sum in double precision is
    off by 1e-8 ‖b‖.
    """
    wide = np.result_type(matrix.dtype, np.longdouble)
    products = matrix.data.astype(wide) * x.astype(wide)[matrix.indices]
    # With a zero behind, so that an empty last row has a place to start at.
    sums = np.add.reduceat(np.append(products, wide.type(0)), matrix.indptr[:-1])
    exact = b.astype(wide) - np.where(np.diff(matrix.indptr) > 0, sums, 0)
    residual = float(np.linalg.norm(exact.astype(matrix.dtype)))
    size = abs(matrix).sum(axis=1).max() * np.linalg.norm(x) + np.linalg.norm(b)
    return residual / float(np.linalg.norm(b)), residual / float(size)


def is_solved(relative: float, backward: float) -> bool:
    """Whether a system counts as solved: to 1e-8, or to rounding where conditioning forbids that."""
    return relative <= 1e-8 or backward <= 1e-14


def is_false(relative: float, backward: float) -> bool:
    """Whether it is wrong to call a system converged to 1e-8: the residual is larger, and more than rounding."""
    return relative > 1e-8 and backward > 1e-15
