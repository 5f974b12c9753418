"""Small dense pieces of a sparse matrix, cut out by tables of rows."""

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memory import require_memory
from jaxsolve.operators.pattern import Pattern

#: Entries of all pieces together at most; their positions and values are 2.4 GB at this size in double precision.
MOST_ENTRIES = 200_000_000


def piece_positions(pattern: Pattern, rows: np.ndarray, name: str) -> np.ndarray:
    """Where the entries of A[J, J] are among those of A, for each set of rows J.

    Args:
        pattern: A square pattern.
        rows: Shape (count, width): the rows of each set, n for unused slots.
        name: Of the preconditioner, for the error.

    Returns:
        Shape (count, width, width); nnz where there is no entry.

    Raises:
        StructureError: If the pieces would take gigabytes.
    """
    count, width = rows.shape
    n = pattern.shape[0]
    if count * width**2 > MOST_ENTRIES:
        raise StructureError(
            f"preconditioner {name!r} would cut {count} dense pieces of {width} x {width} out of the matrix, more than "
            f"{MOST_ENTRIES:.0e} entries: its rows (or the blocks asked for) are too long. Use 'block-jacobi' with a "
            "size, 'ilu' or 'amg'."
        )
    instead = "Use 'block-jacobi' with a smaller size, or 'jacobi'."
    # Keys, places and what they are compared with, in 64 bits.
    require_memory(4 * 8 * count * width**2, f"preconditioner {name!r}", "dense pieces of A", instead)
    rows = rows.astype(np.int64)
    # One column more than the matrix has, so that unused slots find nothing.
    keys = pattern.rows.astype(np.int64) * (n + 1) + pattern.indices
    wanted = rows[:, :, None] * (n + 1) + rows[:, None, :]
    if not len(keys):
        return np.zeros(wanted.shape, np.int32)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, found, pattern.nnz).astype(pattern.indptr.dtype)


def padded_rows(labels: np.ndarray, members: np.ndarray, count: int, width: int, absent: int) -> np.ndarray:
    """A table of shape (count, width) with the members of each label at the end of its row, `absent` before them.

    Args:
        labels: The row of the table of each member, sorted.
        members: What to write.
        count: Rows of the table.
        width: Columns of the table, at least the most members of one label.
        absent: What stands in unused slots.
    """
    sizes = np.bincount(labels, minlength=count)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = np.full((count, width), absent, np.int32)
    table[labels, width - sizes[labels] + rank] = members
    return table
