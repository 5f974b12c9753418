"""Incomplete factors on the pattern of the matrix itself, by fixed-point sweeps on the device."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.memo import compiled, per_object
from jaxsolve.core.memory import require_memory
from jaxsolve.core.staging import index_array
from jaxsolve.operators.ell import gather, gather_or_zero
from jaxsolve.operators.pattern import Pattern

#: Change of an entry, relative to the unit diagonal, at which the sweeps end.
TOLERANCE = 1e-3
#: Sweeps at most; diagonally dominant matrices need 5 to 15.
MOST_SWEEPS = 100
#: Additions to the unit diagonal that are tried in turn (Manteuffel 1980).
SHIFTS = (0.0, 1e-3, 1e-2, 5e-2, 0.2, 1.0, 5.0)
#: Smallest pivot of a scaled matrix.
SMALLEST_PIVOT = 1e-3
#: Candidates that are looked up at once.
_CHUNK = 4_000_000


class Factors(NamedTuple):
    """L D U with unit triangular L and U on the pattern of the matrix.

    Attributes:
        lower: Values of the strictly lower part of L.
        upper: Values of the strictly upper part of U.
        pivots: The diagonal D.
        scale: The diagonal S of S A S = L D U.
        usable: Whether the sweeps converged to usable pivots.
    """

    lower: Array
    upper: Array
    pivots: Array
    scale: Array
    usable: Array


@dataclasses.dataclass(frozen=True)
class ZeroFill:
    """What a sweep needs to know of a pattern with a full diagonal.

    Attributes:
        entries: For each entry of the pattern with full diagonal its position in the matrix, nnz where it has none.
        rows: Row of each entry.
        columns: Column of each entry.
        diagonal: Position of each diagonal entry.
        is_lower: Whether an entry is strictly below the diagonal.
        targets: The entry (i, j) of each triple (i, k), (k, j) with k < min(i, j), sorted.
        firsts: Its entry (i, k).
        seconds: Its entry (k, j).
        lower: Pattern of the strictly lower part, and its positions.
        upper: Pattern of the strictly upper part, and its positions.
    """

    entries: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    diagonal: np.ndarray
    is_lower: np.ndarray
    targets: np.ndarray
    firsts: np.ndarray
    seconds: np.ndarray
    lower: tuple[Pattern, np.ndarray]
    upper: tuple[Pattern, np.ndarray]


@per_object
def plan_zero_fill(pattern: Pattern) -> ZeroFill:
    """The plan for a square pattern; made once and remembered."""
    n = pattern.shape[0]
    missing = np.flatnonzero(pattern.diagonal_positions >= pattern.nnz)
    rows = np.concatenate([pattern.rows, missing]).astype(np.int64)
    columns = np.concatenate([pattern.indices, missing]).astype(np.int64)
    full, order, _ = Pattern.from_coo(rows, columns, pattern.shape)
    entries = np.arange(len(rows)) if order is None else order
    entries = np.minimum(entries, pattern.nnz)
    rows, columns = full.rows.astype(np.int64), full.indices.astype(np.int64)
    is_lower = columns < rows
    triples = _triples(full, rows, columns, is_lower, n)
    arrays = (entries, rows, columns, full.diagonal_positions, is_lower, *triples)
    frozen = [_compact(array) for array in arrays]
    return ZeroFill(
        *frozen, lower=_part(rows, columns, is_lower, n), upper=_part(rows, columns, columns > rows, n)
    )


def _triples(full: Pattern, rows: np.ndarray, columns: np.ndarray, is_lower: np.ndarray, n: int) -> tuple:
    """All (i, k), (k, j) with k < min(i, j) whose (i, j) is an entry, sorted by it."""
    keys = rows * n + columns
    below = np.flatnonzero(is_lower)
    # Row k beyond its diagonal: the entries (k, j) with j > k.
    start = full.diagonal_positions[columns[below]].astype(np.int64) + 1
    count = full.indptr[columns[below] + 1] - start
    _require_room(rows, columns, is_lower, count, n)
    found = []
    edges = np.searchsorted(np.cumsum(count), np.arange(0, count.sum() + _CHUNK, _CHUNK))
    for first, last in itertools.pairwise(edges):
        chosen = slice(first, last)
        length = count[chosen]
        left = np.repeat(below[chosen], length)
        offsets = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        right = np.repeat(start[chosen], length) + offsets
        target = rows[left] * n + columns[right]
        position = np.minimum(np.searchsorted(keys, target), len(keys) - 1)
        kept = keys[position] == target
        found.append(np.stack([position[kept], left[kept], right[kept]]))
    triples = np.concatenate(found, axis=1) if found else np.zeros((3, 0), np.int64)
    return tuple(triples[:, np.argsort(triples[0], kind="stable")])


def _require_room(
    rows: np.ndarray, columns: np.ndarray, is_lower: np.ndarray, count: np.ndarray, n: int
) -> None:
    """Refuses patterns with too many triples: an entry (i, j) is in as many as row i and column j can pair at most."""
    lower, upper = np.bincount(rows[is_lower], minlength=n), np.bincount(columns[~is_lower], minlength=n)
    most = min(int(count.sum()), int(np.minimum(lower[rows], upper[columns]).sum()))
    what = "the sums of incomplete factors on the pattern of A"
    require_memory(6 * 8 * most, "a preconditioner without fill", what, "Use js.ILU(), or 'jacobi'.")


def _part(rows: np.ndarray, columns: np.ndarray, chosen: np.ndarray, n: int) -> tuple[Pattern, np.ndarray]:
    positions = np.flatnonzero(chosen)
    return Pattern.from_coo(rows[positions], columns[positions], (n, n))[0], _compact(positions)


def _compact(array: np.ndarray) -> np.ndarray:
    small = array if array.dtype == bool else array.astype(np.int32)
    small.flags.writeable = False
    return small


def zero_fill_factors(data: Array, pattern: Pattern, definite: bool) -> Factors:
    """The incomplete factors without fill, by sweeps over all entries at once.

    l_ij = (a_ij - Σ_k l_ik u_kj) / u_jj,  u_ij = a_ij - Σ_k l_ik u_kj,  k < min(i, j), the values of the sweep before
    on the right. Where the sweeps do not converge (or, for definite matrices, a pivot is not positive) the diagonal is
    raised until they do.

    Args:
        data: Values in CSR order; may be traced and batched by vmap.
        pattern: A square pattern.
        definite: Whether the pivots have to be positive.

    Source: Chow and Patel, Fine-grained parallel incomplete LU factorization (2015).
    """
    plan = plan_zero_fill(pattern)
    arrays = _Indices(
        *(index_array(getattr(plan, name)) for name in _Indices._fields[:-2]),
        lower=index_array(plan.lower[1]),
        upper=index_array(plan.upper[1]),
    )
    return _factors(data, arrays, definite=definite)


class _Indices(NamedTuple):
    """The index arrays of a plan on the device, arguments of one compiled program for all matrices of a shape."""

    entries: Array
    rows: Array
    columns: Array
    diagonal: Array
    is_lower: Array
    targets: Array
    firsts: Array
    seconds: Array
    lower: Array
    upper: Array


@compiled
def _factors(data: Array, at: _Indices, definite: bool) -> Factors:
    values = gather_or_zero(data, at.entries)
    diagonal = gather(values, at.diagonal)
    magnitude = jnp.abs(diagonal)
    # A row without diagonal is scaled by its largest entry.
    largest = jax.ops.segment_max(jnp.abs(values), at.rows, at.diagonal.shape[0], True)
    magnitude = jnp.where(magnitude > SMALLEST_PIVOT * largest, magnitude, largest)
    scale = lax.rsqrt(jnp.where(magnitude > 0, magnitude, 1))
    scaled = values * gather(scale, at.rows) * gather(scale, at.columns)
    # Raised away from zero: a negative pivot of an indefinite matrix goes down.
    away = jnp.where(definite | (diagonal.real >= 0), 1.0, -1.0).astype(scale.dtype)
    shifts = jnp.asarray(SHIFTS, scale.dtype)

    def attempt(k: Any) -> tuple[Array, Array, Array]:
        shifted = scaled.at[at.diagonal].add((shifts[k] * away).astype(scaled.dtype))
        return _fixed_point(shifted, at, definite)

    def failing(carry: tuple) -> Array:
        k, _, _, usable = carry
        return ~usable & (k < len(SHIFTS) - 1)

    def again(carry: tuple) -> tuple:
        return (carry[0] + 1, *attempt(carry[0] + 1))

    _, v, pivots, usable = lax.while_loop(failing, again, (jnp.array(0), *attempt(0)))
    # Where nothing helped, the diagonal alone: finite and never worse than Jacobi.
    v = jnp.where(usable, v, 0)
    pivots = jnp.where(usable, pivots, 1)
    upper = gather_or_zero(v, at.upper) / gather_or_zero(pivots, gather(at.rows, at.upper))
    return Factors(gather_or_zero(v, at.lower), upper, pivots, scale, usable)


def _fixed_point(a: Array, at: _Indices, definite: bool) -> tuple[Array, Array, Array]:
    """Entries of L and U where the sweeps end, the pivots, and whether both can be used."""

    def guarded(v: Array) -> tuple[Array, Array]:
        pivots = gather(v, at.diagonal)
        fine = (pivots.real if definite else jnp.abs(pivots)) > SMALLEST_PIVOT
        kept = jnp.where(fine, pivots, jnp.asarray(SMALLEST_PIVOT, pivots.dtype))
        return kept, jnp.all(fine)

    def sweep(carry: tuple) -> tuple:
        k, v, _ = carry
        pivots, _ = guarded(v)
        products = gather(v, at.firsts) * gather(v, at.seconds)
        s = jax.ops.segment_sum(products, at.targets, a.shape[0], indices_are_sorted=True)
        rest = a - s
        new = jnp.where(at.is_lower, rest / gather(pivots, at.columns), rest)
        return k + 1, new, jnp.max(jnp.abs(new - v), initial=0)

    def moving(carry: tuple) -> Array:
        k, _, change = carry
        # Growth without bound ends the sweeps too; NaN compares false.
        return (change > TOLERANCE) & (change < 1e6) & (k < MOST_SWEEPS)

    big = jnp.asarray(1.0, a.real.dtype)
    _, v, change = lax.while_loop(moving, sweep, (jnp.array(0), a, big))
    pivots, fine = guarded(v)
    pivots = pivots.real.astype(a.dtype) if definite else pivots
    return v, pivots, fine & (change <= TOLERANCE)
