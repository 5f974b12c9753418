"""Triangular solves on the device by substitution, level by level."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array
from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul
from jaxsolve.operators.ell import gather, gather_or_zero, spread
from jaxsolve.operators.operator import Wrapper
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix

#: What a step costs in slots of 0.9 ns, on a CPU core. XLA compiles a loop over little data into one function, in which
#: a step takes 0.07 µs; else a step is several calls, 1.3 µs (grids of 64² to 512², steps of 16 to 512 rows: the change
#: is at 1.5 MB of float64, 2 MB of float32).
STEP_COST, LARGE_STEP_COST = 80, 1400
#: Slots up to which data is little.
LITTLE = 120_000
#: What the two permutations of the vector cost, for each row.
ROW_COST = 8
#: Rows of a step at most; from 16384 on a slot costs 8 ns.
MOST_ROWS = 4096
#: Levels at most, as it takes 0.3 s to find so many.
MOST_LEVELS = 10_000


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The order of a substitution: first the rows without entries, then steps of as many rows each, none coupled.

    Rows with many entries are summed by parts: a part of the sum is one more unknown, so that all rows are short.

    Attributes:
        positions: Shape (steps, width, height): the entry in each slot; nnz for a part of a sum, nnz + 1 for nothing.
        columns: Of the same shape: the place of the unknown that it multiplies.
        starts: The place of the first row of each step.
        rows: The row at each place, n where there is none.
        places: The place of each row.
        levels: How many rows depend one on the other at most.
    """

    positions: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    levels: int

    @property
    def little(self) -> bool:
        """Whether steps are cheap."""
        return self.positions.size <= LITTLE

    @property
    def cost(self) -> int:
        """Of one solve, in slots."""
        return _cost(self.positions.size, len(self.starts)) + ROW_COST * len(self.places)


class LevelInverse(Wrapper):
    """(I + N)⁻¹ for strictly triangular N (or one that an order of the rows makes so), by substitution.

    Args:
        operator: N.
        values: Of the slots of its schedule.
        columns: The same.
        starts: The place of the first row of each step.
        rows: The row at each place.
        places: The place of each row.
        levels: How many rows depend one on the other at most.

    Source: Saad (2003), section 11.6.3.
    """

    operator: SparseMatrix
    values: Array
    columns: Array
    starts: Array
    rows: Array
    places: Array
    levels: int = eqx.field(static=True)

    @property
    def description(self) -> str:
        """How it solves."""
        return f"substitution in {self.levels} levels"

    def mv(self, x: Array) -> Array:
        """The solution y of y + N y = x."""
        x = x.astype(common(x, self.values))
        if self.levels <= 1:
            return x
        height = self.values.shape[-1]

        def step(y: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
            start, values, columns = at
            own = lax.dynamic_slice(y, (start,), (height,))
            own = own - jnp.sum(mul(values, gather(y, columns)), axis=0)
            return lax.dynamic_update_slice(y, own, (start,)), None

        y, _ = lax.scan(step, gather_or_zero(x, self.rows), (self.starts, self.values, self.columns))
        return gather(y, self.places)

    def transpose(self) -> "LevelInverse":
        """Substitution with the transpose, from the last level to the first."""
        return level_inverse(self.operator.transpose())

    def conj(self) -> "LevelInverse":
        """Substitution with the conjugate."""
        return dataclasses.replace(self, operator=self.operator.conj(), values=jnp.conj(self.values))


def level_inverse(strict: SparseMatrix) -> LevelInverse:
    """(I + N)⁻¹ by substitution.

    Args:
        strict: N; its values may be traced.

    Raises:
        ValueError: If N has more than `MOST_LEVELS` levels, or is not triangular in any order.
    """
    plan = schedule(strict.pattern)
    if plan is None:
        raise ValueError(f"substitution needs a triangular matrix with {MOST_LEVELS} levels at most.")
    # A part of a sum, y_k = -Σ n_kj y_j, is subtracted with the factor -1.
    entries = jnp.concatenate([strict.data, -jnp.ones(1, strict.dtype)])
    columns, starts, rows, places = map(index_array, (plan.columns, plan.starts, plan.rows, plan.places))
    values = spread(entries, index_array(plan.positions))
    return LevelInverse(strict, values, columns, starts, rows, places, plan.levels)


@per_object
def schedule(pattern: Pattern) -> Schedule | None:
    """The schedule for a strictly triangular pattern, made once; None for more than `MOST_LEVELS` levels."""
    n, width = pattern.shape[0], _width(np.diff(pattern.indptr))
    rows, columns, positions, size = _narrowed(pattern, width)
    level = _levels(rows, columns, size)
    if level is None:
        return None
    sizes = np.bincount(level)
    height = _height(sizes[1:], width)
    steps = -(-sizes[1:] // height)
    # Places: the rows of level 0 as they come, those of a level l > 0 in steps of their own.
    first = sizes[:1].sum() + height * np.concatenate([[0], np.cumsum(steps)])
    begin = np.concatenate([[0], first[:-1]])[: len(sizes)]
    order = np.argsort(level, kind="stable")
    place = np.empty(size, np.int64)
    place[order] = np.arange(size) + np.repeat(begin - (np.cumsum(sizes) - sizes), sizes)
    end, offset = int(first[-1]), int(first[0])
    at = np.full(end, n, np.int32)
    at[place[:n]] = np.arange(n)
    # An unused slot reads its own row, so that it stays close in memory and spoils no other.
    own = np.arange(offset, end, dtype=np.int32).reshape(-1, 1, height)
    slots = np.full((len(own), width, height), pattern.nnz + 1, np.int32)
    sources = np.repeat(own, width, axis=1)
    step, lane = np.divmod(place[rows] - offset, height)
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    slots[step, rank, lane] = positions
    sources[step, rank, lane] = place[columns]
    arrays = (slots, sources, own[:, 0, 0].copy(), at, place[:n].astype(np.int32))
    for array in arrays:
        array.flags.writeable = False
    return Schedule(*arrays, levels=len(sizes))


def _width(lengths: np.ndarray) -> int:
    """Entries a row at most that make slots fewest."""
    longest = int(lengths.max(initial=0))
    if longest <= 2:
        return longest
    used = lengths[lengths > 0]
    candidates = [*(2**k for k in range(1, longest.bit_length()) if 2**k < longest), longest]
    parts = [len(used) + np.ceil(np.maximum(used - k, 0) / (k - 1)).sum() for k in candidates]
    return candidates[int(np.argmin(np.multiply(parts, candidates)))]


def _height(sizes: np.ndarray, width: int) -> int:
    """Rows a step that make the levels of these sizes cheapest."""
    most = min(int(sizes.max(initial=1)), MOST_ROWS)
    candidates = np.unique([most, *(2**k for k in range(most.bit_length()))])
    steps = [int((-(-sizes // height)).sum()) for height in candidates]
    costs = [_cost(width * int(h) * count, count) for h, count in zip(candidates, steps, strict=True)]
    return int(candidates[np.argmin(costs)])


def _cost(slots: int, steps: int) -> int:
    return slots + steps * (STEP_COST if slots <= LITTLE else LARGE_STEP_COST)


def _narrowed(pattern: Pattern, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Rows, columns and positions (nnz for parts of sums) of entries, at most `width` a row, and how many rows."""
    rows, columns = pattern.rows.astype(np.int64), pattern.indices.astype(np.int64)
    positions, size = np.arange(pattern.nnz), pattern.shape[0]
    while True:
        lengths = np.bincount(rows, minlength=size)
        if not len(rows) or lengths.max() <= width:
            return rows, columns, positions, size
        # q parts leave width - q entries in the row itself.
        parts = np.maximum(-(-(lengths - width) // max(width - 1, 1)), 0)
        kept = np.where(lengths > width, np.maximum(width - parts, 0), lengths)
        parts = -(-(lengths - kept) // width)
        rank = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        moved = rank >= kept[rows]
        first = size + np.cumsum(parts) - parts
        new = np.arange(size, size + parts.sum())
        rows = np.where(moved, first[rows] + (rank - kept[rows]) // width, rows)
        rows = np.concatenate([rows, np.repeat(np.arange(size), parts)])
        columns = np.concatenate([columns, new])
        positions = np.concatenate([positions, np.full(len(new), pattern.nnz)])
        size += len(new)
        order = np.argsort(rows, kind="stable")
        rows, columns, positions = rows[order], columns[order], positions[order]


def _levels(rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray | None:
    """For each row the length of the longest chain that it ends; None where one is longer than `MOST_LEVELS`."""
    followers = rows[np.argsort(columns, kind="stable")]
    count = np.bincount(columns, minlength=size)
    start = np.cumsum(count) - count
    waiting = np.bincount(rows, minlength=size)
    level = np.zeros(size, np.int64)
    front = np.flatnonzero(waiting == 0)
    done = len(front)
    for depth in range(1, MOST_LEVELS + 1):
        length = count[front]
        inside = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        reached, times = np.unique(followers[np.repeat(start[front], length) + inside], return_counts=True)
        waiting[reached] -= times
        front = reached[waiting[reached] == 0]
        if not len(front):
            break
        level[front] = depth
        done += len(front)
    # What is not done lies deeper, or on a cycle.
    return level if done == size else None
