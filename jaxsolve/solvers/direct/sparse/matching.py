"""Matching: rows moved so that entries, large ones where values are known, stand on the diagonal."""

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.bipartite import paired_rows
from jaxsolve.operators.pattern import Pattern

#: A diagonal whose smallest entry, after scaling, is so large stays where it is.
AMPLE = 0.1
#: Rounds of scaling and of bisection: both halve an exponent in each.
ROUNDS = 12


def matched_rows(pattern: Pattern, data: np.ndarray | None) -> np.ndarray | None:
    """The row that comes to stand at each column, None where all rows stay.

    With values, the smallest entry on the new diagonal is as large as can be, within a factor of two, after rows and
    columns are scaled to a largest entry of 1 (the bottleneck matching; Duff and Koster 2001). Without, the positions
    alone decide. Costs some matchings, each (entries) √n operations at worst.

    Args:
        pattern: Square.
        data: Values in CSR order, finite; None where they are traced.

    Raises:
        StructureError: If no order of the rows has a full diagonal.
    """
    n, present = pattern.shape[0], pattern.diagonal_positions < pattern.nnz
    if data is None:
        return None if present.all() else _matching(pattern, np.ones(pattern.nnz, bool), required=True)
    sizes = _scaled(pattern, np.abs(data))
    stays = np.where(present, np.append(sizes, 0)[pattern.diagonal_positions], 0).min(initial=1)
    if stays >= AMPLE:
        return None
    best = _matching(pattern, sizes > 0)
    if best is None:
        # Zeros among the values leave no full diagonal: the positions alone decide, and a pivot will vanish.
        return None if present.all() else _matching(pattern, np.ones(pattern.nnz, bool), required=True)
    # Bisection over the exponent of the smallest entry.
    low, high = float(np.log2(_smallest(pattern, sizes, best))), 0.0
    for _ in range(ROUNDS):
        if high - low < 1:
            break
        middle = (low + high) / 2
        found = _matching(pattern, sizes >= 2.0**middle)
        if found is None:
            high = middle
        else:
            best, low = found, middle
    if stays > 0 and stays >= 2.0 ** (low - 1):
        return None
    return None if np.array_equal(best, np.arange(n)) else best


def _matching(pattern: Pattern, kept: np.ndarray, required: bool = False) -> np.ndarray | None:
    """The row matched to each column by the entries that are kept; None where some column gets none."""
    n = pattern.shape[0]
    rows = paired_rows(pattern.rows[kept], pattern.indices[kept], pattern.shape)
    if (rows >= 0).all():
        return rows
    if required:
        missing = np.setdiff1d(np.arange(n), rows)
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        raise StructureError(
            f"A is singular whatever its values: by the positions of its entries at most {(rows >= 0).sum()} of {n} "
            f"rows are independent; row(s) {shown} found no column. Elimination on the device needs a full diagonal in "
            'some order of the rows; use "lsmr", or "sparse-direct" with a backend of the host.'
        )
    return None


def _smallest(pattern: Pattern, sizes: np.ndarray, rows: np.ndarray) -> float:
    """The smallest entry that a matching puts on the diagonal."""
    column_of = np.empty_like(rows)
    column_of[rows] = np.arange(len(rows))
    return float(sizes[pattern.indices == column_of[pattern.rows]].min(initial=1))


def _scaled(pattern: Pattern, sizes: np.ndarray) -> np.ndarray:
    """|A| after rows and columns are scaled to a largest entry near 1 (Ruiz 2001)."""
    sizes = sizes.astype(np.float64)
    rows, columns, n = pattern.rows, pattern.indices, pattern.shape[0]
    with np.errstate(all="ignore"):
        for _ in range(ROUNDS):
            by_row, by_column = np.zeros(n), np.zeros(n)
            np.maximum.at(by_row, rows, sizes)
            np.maximum.at(by_column, columns, sizes)
            factor = np.sqrt(np.where(by_row > 0, by_row, 1))[rows]
            factor = factor * np.sqrt(np.where(by_column > 0, by_column, 1))[columns]
            sizes = sizes / factor
            if np.abs(factor - 1).max(initial=0) < 0.1:
                break
    return sizes
