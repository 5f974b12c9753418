"""Colourings: columns (or rows) that no row (or column) sees together share a colour and one product.

Curtis, Powell and Reid (1974); a distance-2 colouring of the bipartite graph of the pattern.
"""

import numpy as np
import scipy.sparse


def colour_columns(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A colour for every column such that the columns of one row differ; shape (columns,).

    Columns modulo p are tried first, with the smallest p that separates every row: this finds the fewest colours of
    a band matrix or a regular stencil at once. Otherwise greedy, fullest columns first.
    """
    m, n = shape
    if not len(rows):
        return np.zeros(n, int)
    fewest = int(np.bincount(rows, minlength=m).max())
    if fewest >= n:
        return np.arange(n)
    for p in range(fewest, min(4 * fewest + 16, n)):
        if len(np.unique(rows.astype(np.int64) * p + cols % p)) == len(rows):
            return np.arange(n) % p
    return _greedy(rows, cols, shape)


def _greedy(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    ones = np.ones(len(rows), bool)
    by_column = scipy.sparse.csr_array((ones, (cols, rows)), shape=shape[::-1])
    by_row = scipy.sparse.csr_array((ones, (rows, cols)), shape=shape)
    colours = np.full(shape[1], -1)
    for j in np.argsort(-np.diff(by_column.indptr), kind="stable"):
        mine = by_column.indices[by_column.indptr[j] : by_column.indptr[j + 1]]
        seen = [by_row.indices[by_row.indptr[i] : by_row.indptr[i + 1]] for i in mine]
        taken = np.unique(colours[np.concatenate(seen)]) if seen else np.empty(0, int)
        taken = taken[taken >= 0]
        gap = np.flatnonzero(taken != np.arange(len(taken)))
        colours[j] = gap[0] if len(gap) else len(taken)
    return colours
