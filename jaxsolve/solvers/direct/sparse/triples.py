"""Triples: an elimination as lists of products F[i, j] -= F[i, k] F[k, j], level by level, in steps of equal length.

F holds the entries of L below the diagonal column by column, those of U the same way by rows, the diagonal, and one
more number that stays zero: what fills the last step of a level reads and writes that.
"""

import dataclasses

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.direct.sparse.ordering import elimination

#: Products at most: twelve bytes of indices each, 60 MB, and about as long to find as SuperLU takes to factorise.
MOST = 5_000_000
#: Entries of a step that are tried. What a step costs beside its entries, in entries: 1 µs.
LENGTHS, STEP_COST = (32, 64, 128, 256, 512, 1024), 60


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """A list in steps: first those of level 0, then those of level 1, and so on.

    Attributes:
        bounds: The first step of each level, and the one after its last; shape (levels, 2).
        lists: Index lists of shape (steps, length).
    """

    bounds: np.ndarray
    lists: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Triples:
    """A factorisation of one pattern, ready to run.

    Attributes:
        n: Rows.
        below: Entries of L below the diagonal, and of U above.
        symmetric: Whether U is not computed: its entries are those of L.
        entries: Where each value of A goes in F; the last place where it is not read.
        divisions: Steps of (the entry of U, where it comes from, its pivot): U[k, j] = F[k, j] / F[k, k].
        products: Steps of (the target, the entry of L, the entry of U).
        substitution: Steps of (the row, the column, the entry): y[row] -= L[entry] y[column].
        below_columns: The column of each entry of L.
        rows: The row of A at each place of the order.
        columns: The column of A at each place.
        row_places: The place of each row of A.
        column_places: The place of each column.
        updates: Products in all.
    """

    n: int
    below: int
    symmetric: bool
    entries: np.ndarray
    divisions: Steps
    products: Steps
    substitution: Steps
    below_columns: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    row_places: np.ndarray
    column_places: np.ndarray
    updates: int

    @property
    def levels(self) -> int:
        """Levels of the elimination tree."""
        return len(self.products.bounds)

    @property
    def size(self) -> int:
        """Numbers in F but for the last one."""
        return 2 * self.below + self.n


def triples(pattern: Pattern, rows: np.ndarray | None, symmetric: bool) -> Triples:
    """The lists of one pattern.

    Args:
        pattern: Square, with entries on the diagonal once rows are moved.
        rows: The row that stands at each column, None for all where they are.
        symmetric: Whether A is symmetric or Hermitian, so that half the products are spared.

    Raises:
        StructureError: If there are more than `MOST` products.
    """
    n = pattern.shape[0]
    plan = elimination(pattern, rows)
    columns = plan.columns
    m = len(columns)
    length = np.diff(plan.starts)
    updates = int((length * (length + 1) // 2).sum()) if symmetric else plan.updates
    if updates > MOST:
        raise StructureError(
            f"eliminating this pattern ({n} unknowns, {pattern.nnz} entries) takes {updates:,} products and "
            f"{12 * updates / 1e6:.0f} MB of indices on the device; at most {MOST:,} are made. Use a backend of the "
            'host (js.SparseDirect("superlu")), or a Krylov method with a preconditioner.'
        )
    keys = columns * n + plan.rows
    rank = np.arange(m) - plan.starts[columns]
    # Pairs of entries of one column, the lower one first.
    first = np.repeat(np.arange(m), rank)
    second = plan.starts[columns][first] + np.arange(len(first)) - np.repeat(np.cumsum(rank) - rank, rank)
    target = np.searchsorted(keys, plan.rows[second] * n + plan.rows[first])
    own, diagonal, nothing = np.arange(m), 2 * m, 2 * m + n
    lists = [(target, first, m + second), (diagonal + plan.rows, own, m + own)]
    if not symmetric:
        lists.append((m + target, second, m + first))
    goes, left, right = (np.concatenate(parts) for parts in zip(*lists, strict=True))
    levels = int(plan.levels.max(initial=-1)) + 1
    source = own if symmetric else m + own
    level = plan.levels[columns]
    at = np.arange(n) if rows is None else rows
    at, across = at[plan.order], plan.order
    row_places, column_places = np.argsort(at), np.argsort(across)
    i, j = row_places[pattern.rows], column_places[pattern.indices]
    low, high = np.minimum(i, j), np.maximum(i, j)
    place = np.searchsorted(keys, low * n + high) if m else np.zeros(len(i), np.int64)
    place = np.where(i == j, diagonal + i, np.where(i > j, place, nothing if symmetric else m + place))
    return Triples(
        n=n,
        below=m,
        symmetric=symmetric,
        entries=_indices(place),
        divisions=_steps(level, levels, (m + own, source, diagonal + columns), (nothing, nothing, diagonal)),
        products=_steps(plan.levels[columns[left]], levels, (goes, left, right), (nothing,) * 3),
        substitution=_steps(level, levels, (plan.rows, columns, own), (n, n, m)),
        below_columns=_indices(columns),
        rows=_indices(at),
        columns=_indices(across),
        row_places=_indices(row_places),
        column_places=_indices(column_places),
        updates=updates,
    )


def _steps(level: np.ndarray, levels: int, lists: tuple[np.ndarray, ...], fill: tuple[int, ...]) -> Steps:
    """Lists sorted by level and cut into steps."""
    order = np.argsort(level.astype(np.uint16 if levels < 2**16 else np.int64), kind="stable")
    count = np.bincount(level, minlength=levels)
    length = min(LENGTHS, key=lambda T: int((-(-count // T)).sum()) * (T + STEP_COST))
    steps = -(-count // length)
    end = np.cumsum(steps)
    begins = np.cumsum(count) - count
    level = level[order]
    slot = (end - steps)[level] * length + np.arange(len(order)) - begins[level]
    total = int(end[-1]) if len(end) else 0
    cut = []
    for values, nothing in zip(lists, fill, strict=True):
        whole = np.full(total * length, nothing, np.int32)
        whole[slot] = values[order]
        cut.append(_indices(whole.reshape(total, length)))
    return Steps(_indices(np.stack([end - steps, end], axis=1).reshape(levels, 2)), tuple(cut))


def _indices(values: np.ndarray) -> np.ndarray:
    values = np.ascontiguousarray(values, np.int32)
    values.flags.writeable = False
    return values
