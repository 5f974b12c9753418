"""spy: where the entries of a matrix are."""

from typing import Any

import numpy as np

from jaxsolve.operators.conversion import as_operator
from jaxsolve.plotting.axes import axes_for, is_dark, matplotlib
from jaxsolve.tracer.explicit_matrix import explicit

#: Cells of the picture in each direction: small enough to be seen one by one.
CELLS = 250


def spy(A: Any, ax: Any = None) -> Any:
    """The axes of a picture of the entries of a matrix.

    Up to 250 rows and columns every entry is a cell; beyond, cells are shaded by how much of them is filled, so that
    millions of entries are drawn as fast as hundreds.

    Args:
        A: A matrix in any form that `solve_linear` takes, or an operator. Where only products with an operator are
            known, it is written out by as many products as it has columns. Functions become matrices by
            `js.matrix_from_function`.
        ax: Matplotlib axes to draw in; a new figure without them.

    Returns:
        The Matplotlib axes that were drawn in.

    Raises:
        MissingBackendError: If matplotlib is not installed.
        TypeError: If A is a function, or no matrix.
        StructureError: If its entries are not known and too many to be found.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.spy(jnp.eye(5)).get_xlabel()
    '5 columns, 5 entries'
    """
    if callable(A) and not hasattr(A, "mv"):
        raise TypeError("spy shows a matrix; make one of the function by js.matrix_from_function(f, x)[0].")
    (m, n), rows, columns = _entries(A)
    # First, so that a missing matplotlib is said before anything is computed.
    ax = axes_for(ax, "js.spy", (4.8, 4.8))
    height, width = min(m, CELLS), min(n, CELLS)
    cells = (rows * height // max(m, 1)) * width + columns * width // max(n, 1)
    counts = np.bincount(cells, minlength=height * width).reshape(height, width)
    # Positions in a cell; they differ by one row or column between cells.
    sizes = np.outer(_sizes(m, height), _sizes(n, width))
    filled = np.ma.masked_equal(counts / np.maximum(sizes, 1), 0)
    norm = None
    low, high = (float(filled.min()), float(filled.max())) if filled.count() else (1.0, 1.0)
    if low < high:
        # The emptiest cells get a third of the colours: what is filled at all must be seen.
        norm = matplotlib("colors", "js.spy").LogNorm(low * np.sqrt(low / high), high)
    image = ax.imshow(
        filled,
        # What is fullest stands out most: dark blue on a light page, light blue on a dark one.
        cmap="Blues_r" if is_dark(ax) else "Blues",
        norm=norm,
        vmin=None if norm else -high,
        vmax=None if norm else high,
        extent=(-0.5, n - 0.5, m - 0.5, -0.5),
        interpolation="nearest",
        aspect="equal" if 1 / 4 < (m + 1) / (n + 1) < 4 else "auto",
    )
    if norm is not None:
        ax.figure.colorbar(image, ax=ax, label="filled part of a cell", shrink=0.8)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(matplotlib("ticker", "js.spy").MaxNLocator(nbins=6, integer=True))
    ax.set_xlabel(f"{n} columns, {len(rows)} entries")
    ax.set_ylabel(f"{m} rows")
    return ax


def _entries(A: Any) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    matrix = explicit(as_operator(A))
    sparse = matrix.entries()
    if sparse is not None:
        pattern = sparse.pattern
        return matrix.shape, np.asarray(pattern.rows, np.int64), np.asarray(pattern.indices, np.int64)
    values = np.asarray(matrix.as_matrix())
    # Of a batch, what is filled anywhere.
    used = (values != 0).reshape(-1, *values.shape[-2:]).any(axis=0)
    rows, columns = np.nonzero(used)
    return matrix.shape, rows, columns


def _sizes(length: int, cells: int) -> np.ndarray:
    if not cells:
        return np.zeros(0)
    return np.bincount(np.arange(length, dtype=np.int64) * cells // length, minlength=cells)
