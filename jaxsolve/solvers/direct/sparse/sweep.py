"""Sweeps: elimination and substitution by lists of triples, over many sets of values at once.

Vectors have the sets of values last, so that each index moves a row of neighbours in memory: 1 to 3 ns a number on a
CPU, where a scatter of single numbers takes 28.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.tree import common
from jaxsolve.core.vector import exponent, mul, power
from jaxsolve.solvers.direct.sparse.triples import Steps, Triples

#: Rounds of scaling; each halves the exponents of the largest entries of rows and columns.
ROUNDS = 3


class Stepped(eqx.Module):
    """`Steps` as arrays of a program."""

    bounds: Array
    lists: tuple[Array, ...]

    @classmethod
    def of(cls, steps: Steps, as_array: Callable[[Any], Array]) -> "Stepped":
        """The same lists as arrays."""
        return cls(as_array(steps.bounds), tuple(as_array(part) for part in steps.lists))

    def run(self, level: Array, carry: Array, body: Callable[[tuple[Array, ...], Array], Array]) -> Array:
        """The carry after the steps of one level."""

        def step(at: Array, carry: Array) -> Array:
            return body(
                tuple(lax.dynamic_index_in_dim(part, at, keepdims=False) for part in self.lists), carry
            )

        return lax.fori_loop(self.bounds[level, 0], self.bounds[level, 1], step, carry)


class Lists(eqx.Module):
    """`Triples` as arrays of a program."""

    entries: Array
    divisions: Stepped
    products: Stepped
    substitution: Stepped
    below_columns: Array
    rows: Array
    columns: Array
    row_places: Array
    column_places: Array
    n: int = eqx.field(static=True)
    below: int = eqx.field(static=True)
    levels: int = eqx.field(static=True)
    symmetric: bool = eqx.field(static=True)

    @classmethod
    def of(cls, plan: Triples, as_array: Callable[[Any], Array]) -> "Lists":
        """The same lists as arrays."""
        return cls(
            entries=as_array(plan.entries),
            divisions=Stepped.of(plan.divisions, as_array),
            products=Stepped.of(plan.products, as_array),
            substitution=Stepped.of(plan.substitution, as_array),
            below_columns=as_array(plan.below_columns),
            rows=as_array(plan.rows),
            columns=as_array(plan.columns),
            row_places=as_array(plan.row_places),
            column_places=as_array(plan.column_places),
            n=plan.n,
            below=plan.below,
            levels=plan.levels,
            symmetric=plan.symmetric,
        )


def scales(pattern: tuple[Array, Array], n: int, data: Array, symmetric: bool) -> tuple[Array, Array]:
    """Powers of two by which rows and columns are multiplied so that their largest entries come near 1 (Ruiz 2001).

    Args:
        pattern: Row and column of each entry.
        n: Rows.
        data: Values of shape (nnz, sets).
        symmetric: Whether both are to be the same.
    """
    rows, columns = pattern
    sizes = jnp.abs(data)
    real = sizes.dtype
    at_rows, at_columns = (jnp.zeros((n, data.shape[1]), jnp.int32) for _ in range(2))
    for _ in range(ROUNDS):
        now = mul(power(_read(at_rows, rows) + _read(at_columns, columns), real), sizes)
        by_row = jnp.zeros((n, data.shape[1]), real).at[rows].max(now, mode="promise_in_bounds")
        by_column = by_row
        if not symmetric:
            by_column = jnp.zeros_like(by_row).at[columns].max(now, mode="promise_in_bounds")
        # √(a power of two), rounded down.
        at_rows = at_rows - (exponent(by_row) >> 1)
        at_columns = at_rows if symmetric else at_columns - (exponent(by_column) >> 1)
    return power(at_rows, real), power(at_columns, real)


def eliminated(lists: Lists, data: Array, hermitian: bool) -> tuple[Array, Array, Array, Array]:
    """L, U (both without their diagonals of ones), the pivots between, and whether any was replaced; A = L D U.

    Without exchanges: a pivot below √eps, where entries are near 1, is replaced by that, and refinement has to make up
    for it (Li and Demmel 1998).

    Args:
        lists: Of the pattern.
        data: Scaled values of shape (nnz, sets).
        hermitian: Whether U = Lᴴ, where the lists are symmetric.
    """
    m, n = lists.below, lists.n
    F = jnp.zeros((2 * m + n + 1, data.shape[1]), data.dtype)
    F = F.at[lists.entries].add(data, mode="promise_in_bounds").at[-1].set(0)

    def divide(at: tuple[Array, ...], F: Array) -> Array:
        target, source, pivot = at
        value = _read(F, source)
        value = jnp.conj(value) if hermitian else value
        return F.at[target].set(value / replaced(_read(F, pivot)), mode="promise_in_bounds")

    def multiply(at: tuple[Array, ...], F: Array) -> Array:
        target, left, right = at
        return F.at[target].add(-_read(F, left) * _read(F, right), mode="promise_in_bounds")

    def level(k: Array, F: Array) -> Array:
        return lists.products.run(k, lists.divisions.run(k, F, divide), multiply)

    F = lax.fori_loop(0, lists.levels, level, F) if m else F
    found = F[2 * m : 2 * m + n]
    pivots = replaced(found)
    upper = F[m : 2 * m]
    if lists.symmetric:
        return (jnp.conj(upper) if hermitian else upper), upper, pivots, jnp.any(pivots != found, axis=0)
    # L D = F below the diagonal.
    lower = F[:m] / _read(pivots, lists.below_columns)
    return lower, upper, pivots, jnp.any(pivots != found, axis=0)


def replaced(pivot: Array) -> Array:
    """The pivot, or √eps in its direction where it is smaller; NaN stays."""
    size = jnp.abs(pivot)
    least = jnp.asarray(jnp.finfo(pivot.dtype).eps ** 0.5, size.dtype)
    direction = jnp.where(size > 0, pivot / jnp.where(size > 0, size, 1), 1)
    return jnp.where(size < least, (least * direction).astype(pivot.dtype), pivot)


def substituted(substitution: Stepped, factors: tuple[Array, Array, Array], y: Array) -> Array:
    """x of L D U x = y, for y of shape (n, sets); factors of shape (entries, sets) or (entries, 1)."""
    lower, upper, pivots = factors
    levels = len(substitution.bounds)
    dtype = common(lower, y)
    lower, upper = (jnp.concatenate([part, jnp.zeros_like(pivots[:1])]) for part in (lower, upper))
    y = jnp.concatenate([y.astype(dtype), jnp.zeros((1, y.shape[1]), dtype)])

    def down(at: tuple[Array, ...], y: Array) -> Array:
        row, column, entry = at
        return y.at[row].add(-mul(_read(lower, entry), _read(y, column)), mode="promise_in_bounds")

    def up(at: tuple[Array, ...], y: Array) -> Array:
        row, column, entry = at
        return y.at[column].add(-mul(_read(upper, entry), _read(y, row)), mode="promise_in_bounds")

    if lower.shape[0] > 1:
        y = lax.fori_loop(0, levels, lambda k, y: substitution.run(k, y, down), y)
    y = jnp.concatenate([y[:-1] / pivots, jnp.zeros((1, y.shape[1]), dtype)])
    if lower.shape[0] > 1:
        y = lax.fori_loop(0, levels, lambda k, y: substitution.run(levels - 1 - k, y, up), y)
    return y[:-1]


def _read(values: Array, at: Array) -> Array:
    return values.at[at].get(mode="promise_in_bounds")
