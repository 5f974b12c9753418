"""Triples: an elimination as lists of products F[i, j] -= F[i, k] F[k, j], gathered by what they change.

F holds L below the diagonal, U above it and the diagonal, level by level of the elimination tree: what one level
changes are neighbours in memory. The number after the last one is zero: what fills a step reads that.
"""

import dataclasses
from typing import Any

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.direct.sparse.ordering import Elimination, elimination
from jaxsolve.solvers.direct.sparse.steps import Steps, indices, steps
from jaxsolve.solvers.host.fill import LARGEST, predicted_fill
from jaxsolve.solvers.host.separator import ALWAYS

#: Products at most: some 14 bytes of indices each, 70 MB, and about as long to find as SuperLU takes to factorise.
MOST, BYTES = 5_000_000, 14


@dataclasses.dataclass(frozen=True, eq=False)
class Triples:
    """A factorisation of one pattern, ready to run.

    Attributes:
        below: Entries of L below the diagonal, and of U above.
        symmetric: Whether U is not in F: its entries are those of L.
        sources: Which value of A starts each number of F; the number of values where none does.
        products: Steps by level of (the number of F, the entry of U) whose product is taken from F.
        divisions: Steps by level of (what is divided, its pivot), both in F: U[k, j] = F[k, j] / F[k, k].
        lower: Where F has L, column by column; U has the same entries row by row.
        diagonal: Where F has the diagonal.
        below_columns: The column of each entry of L.
        forward: Steps of (the entry of L, the unknown) for L y = b.
        backward: Steps of (the entry of U, the unknown) for U x = y, with unknowns in the order `turned`.
        turned: The place of the unknown that is k-th on the way back, at k; and the other way round.
        groups: For rows of A and for its columns: steps of (the value), and where the sum of each ends up.
        rows: The row of A at each place of the order, and the place of each row.
        columns: The same for columns.
        updates: Products in all.
    """

    below: int
    symmetric: bool
    sources: np.ndarray
    products: Steps
    divisions: Steps
    lower: np.ndarray
    diagonal: np.ndarray
    below_columns: np.ndarray
    forward: Steps
    backward: Steps
    turned: tuple[np.ndarray, np.ndarray]
    groups: tuple[tuple[Steps, np.ndarray], tuple[Steps, np.ndarray]]
    rows: tuple[np.ndarray, np.ndarray]
    columns: tuple[np.ndarray, np.ndarray]
    updates: int

    @property
    def levels(self) -> int:
        """Levels of the elimination tree."""
        return len(self.products.bounds)


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
    # The counts of columns come in another order of hubs: what is far too much is refused before it is factorised.
    if (predicted := _predicted(pattern, rows, symmetric)) > 2 * MOST:
        raise _refusal(pattern, predicted, f"about {predicted:.2g}")
    plan = elimination(pattern, rows)
    length = np.diff(plan.starts)
    updates = int((length * (length + 1) // 2).sum()) if symmetric else plan.updates
    if updates > MOST:
        raise _refusal(pattern, updates, f"{updates:,}")
    plan = plan.by_levels()
    columns, m, levels = plan.columns, len(plan.rows), int(plan.levels.max(initial=-1)) + 1
    changed, left, right = _products(plan, symmetric)
    # Entries by number: L, then the diagonal, then U. F has them by level, and within one those first that change most.
    level = np.concatenate([plan.levels[columns], plan.levels, plan.levels[columns]])[
        : m + n + (0 if symmetric else m)
    ]
    counts = np.bincount(changed, minlength=len(level))
    order = np.lexsort((-counts, level))
    place = np.argsort(order)
    by_target = np.argsort(place[changed], kind="stable")
    lower, diagonal, upper = place[:m], place[m : m + n], place[:m] if symmetric else place[m + n :]
    at = np.arange(n) if rows is None else rows
    at, across = at[plan.order], plan.order
    row_places, column_places = np.argsort(at), np.argsort(across)
    return Triples(
        below=m,
        symmetric=symmetric,
        sources=indices(
            _sources(plan, row_places[pattern.rows], column_places[pattern.indices], symmetric)[order]
        ),
        products=steps(
            np.bincount(level, minlength=levels),
            counts[order],
            (place[left[by_target]], right[by_target]),
            (len(level), m),
        ),
        divisions=steps(
            np.bincount(plan.levels[columns], minlength=levels),
            np.ones(m, np.int64),
            (upper, diagonal[columns]),
            (len(level), len(level)),
        ),
        lower=indices(lower),
        diagonal=indices(diagonal),
        below_columns=indices(columns),
        **_substitution(plan),
        groups=(_grouped(pattern.rows, n), _grouped(pattern.indices, n)),
        rows=(indices(at), indices(row_places)),
        columns=(indices(across), indices(column_places)),
        updates=updates,
    )


def _predicted(pattern: Pattern, rows: np.ndarray | None, symmetric: bool) -> float:
    """The products from the counts of columns alone; 0 for patterns that are small or too large to be ordered."""
    if not ALWAYS < pattern.shape[0] <= LARGEST:
        return 0.0
    if rows is not None:
        pattern, _, _ = Pattern.from_coo(np.argsort(rows)[pattern.rows], pattern.indices, pattern.shape)
    fill = predicted_fill(pattern)
    # Of a wide pattern the dense block of its separator is known.
    products = fill.separator**3 / 3 if fill.order is None else fill.products
    return products / 2 if symmetric else products


def _refusal(pattern: Pattern, products: float, told: str) -> StructureError:
    return StructureError(
        f"eliminating this pattern ({pattern.shape[0]} unknowns, {pattern.nnz} entries) takes {told} products and "
        f"{BYTES * products / 1e6:.0f} MB of indices on the device; at most {MOST:,} are made. Use a backend of the "
        'host (js.SparseDirect("superlu")), or a Krylov method with a preconditioner.'
    )


def _products(plan: Elimination, symmetric: bool) -> tuple[np.ndarray, ...]:
    """What each product changes, its entry of L, and its entry of U, as numbers of entries."""
    n, m, columns, rows = len(plan.levels), len(plan.rows), plan.columns, plan.rows
    rank = np.arange(m) - plan.starts[columns]
    # Pairs of entries of one column, the one further down first.
    first = np.repeat(np.arange(m), rank)
    second = plan.starts[columns][first] + np.arange(len(first)) - np.repeat(np.cumsum(rank) - rank, rank)
    target = np.searchsorted(columns * n + rows, rows[second] * n + rows[first])
    own = np.arange(m)
    lists = [(target, first, second), (m + rows, own, own)]
    if not symmetric:
        lists.append((m + n + target, second, first))
    changed, left, right = (np.concatenate(parts) for parts in zip(*lists, strict=True))
    return changed, left, right


def _sources(plan: Elimination, i: np.ndarray, j: np.ndarray, symmetric: bool) -> np.ndarray:
    """For each number of an entry the value of A that stands there; i and j are the places of the values."""
    n, m = len(plan.levels), len(plan.rows)
    sources = np.full(m + n + (0 if symmetric else m), len(i))
    for there, first in (((i > j), 0), ((i < j), m + n))[: 1 if symmetric else 2]:
        low, high = np.minimum(i, j)[there], np.maximum(i, j)[there]
        sources[first + np.searchsorted(plan.columns * n + plan.rows, low * n + high)] = np.flatnonzero(there)
    sources[m + i[i == j]] = np.flatnonzero(i == j)
    return sources


def _substitution(plan: Elimination) -> dict[str, Any]:
    """The steps of both substitutions."""
    n, m, columns = len(plan.levels), len(plan.rows), plan.columns
    sizes = np.bincount(plan.levels, minlength=1 if n else 0)
    by_row = np.argsort(plan.rows, kind="stable")
    length = np.diff(plan.starts)
    turned = np.lexsort((-length, -plan.levels))
    place = np.argsort(turned)
    back = np.argsort(place[columns], kind="stable")
    return {
        "forward": steps(sizes, np.bincount(plan.rows, minlength=n), (by_row, columns[by_row]), (m, n)),
        "backward": steps(sizes[::-1], length[turned], (back, place[plan.rows[back]]), (m, n)),
        "turned": (indices(turned), indices(place)),
    }


def _grouped(index: np.ndarray, n: int) -> tuple[Steps, np.ndarray]:
    """The values of A of each row or column, in steps over groups of falling size, and the place of each group."""
    counts = np.bincount(index, minlength=n)
    order = np.argsort(-counts, kind="stable")
    place = np.argsort(order)
    values = np.argsort(place[index], kind="stable")
    return steps(np.array([n]), counts[order], (values,), (len(index),)), indices(place)
