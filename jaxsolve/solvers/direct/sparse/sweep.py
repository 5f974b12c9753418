"""Sweeps: elimination and substitution by steps, over many sets of values at once.

Vectors have the sets of values last, so that each index reads a row of neighbours in memory.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.tree import common, typed
from jaxsolve.core.vector import exponent, mul, power
from jaxsolve.solvers.direct.sparse.steps import Steps
from jaxsolve.solvers.direct.sparse.triples import Triples

#: Rounds of scaling; each halves the exponents of the largest entries of rows and columns.
ROUNDS = 3
#: An exponent of what is no number to compare: zero.
NEVER = -(2**28)


class Stepped(eqx.Module):
    """`Steps` as arrays of a program."""

    bounds: Array
    offsets: Array
    lists: tuple[Array, ...]

    @classmethod
    def of(cls, steps: Steps, as_array: Callable[[Any], Array]) -> "Stepped":
        """The same lists as arrays."""
        return cls(
            as_array(steps.bounds), as_array(steps.offsets), tuple(as_array(part) for part in steps.lists)
        )

    def spare(self, v: Array) -> Array:
        """v with zeros behind it: what fills steps is read and written there."""
        return jnp.concatenate([v, jnp.zeros((self.lists[0].shape[2], v.shape[1]), v.dtype)])

    def run(self, v: Array, change: Callable[..., Array], block: Array | None = None) -> Array:
        """v, with spare zeros, after the steps of one block, or of all of them.

        Args:
            v: What the steps change; shape (targets + spare ones, sets).
            change: (v, window, *indices) -> the window of v after one term of each of its targets.
            block: Which block; None for all in turn.
        """
        count, terms, width = self.lists[0].shape
        if not count:
            return v

        def step(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            # A step writes the window of the one before: XLA would read v by single numbers in a loop that also writes
            # them (0.7 ns a term and set, 0.4 this way).
            v, window, at = carry
            v = lax.dynamic_update_slice_in_dim(v, window, at, 0)
            at = lax.dynamic_index_in_dim(self.offsets, k, keepdims=False)
            window = lax.dynamic_slice_in_dim(v, at, width)
            lists = [lax.dynamic_index_in_dim(part, k, keepdims=False) for part in self.lists]
            for t in range(terms):
                window = change(v, window, *(part[t] for part in lists))
            return v, window, at

        first, last = (0, count) if block is None else (self.bounds[block, 0], self.bounds[block, 1])
        v, window, at = lax.fori_loop(first, last, step, (v, v[:width], jnp.int32(0)))
        return lax.dynamic_update_slice_in_dim(v, window, at, 0)


class Substitution(eqx.Module):
    """The lists of substitution with L and then U."""

    forward: Stepped
    backward: Stepped
    turned: tuple[Array, Array]


class Lists(eqx.Module):
    """`Triples` as arrays of a program."""

    sources: Array
    products: Stepped
    divisions: Stepped
    lower: Array
    diagonal: Array
    below_columns: Array
    substitution: Substitution
    groups: tuple[tuple[Stepped, Array], tuple[Stepped, Array]]
    rows: tuple[Array, Array]
    columns: tuple[Array, Array]
    levels: int = eqx.field(static=True)
    symmetric: bool = eqx.field(static=True)

    @classmethod
    def of(cls, plan: Triples, as_array: Callable[[Any], Array]) -> "Lists":
        """The same lists as arrays."""

        def arrays(parts: tuple[Any, Any]) -> tuple[Array, Array]:
            return as_array(parts[0]), as_array(parts[1])

        def stepped(steps: Steps) -> Stepped:
            return Stepped.of(steps, as_array)

        by_row, by_column = ((stepped(steps), as_array(place)) for steps, place in plan.groups)
        return cls(
            sources=as_array(plan.sources),
            products=stepped(plan.products),
            divisions=stepped(plan.divisions),
            lower=as_array(plan.lower),
            diagonal=as_array(plan.diagonal),
            below_columns=as_array(plan.below_columns),
            substitution=Substitution(stepped(plan.forward), stepped(plan.backward), arrays(plan.turned)),
            groups=(by_row, by_column),
            rows=arrays(plan.rows),
            columns=arrays(plan.columns),
            levels=plan.levels,
            symmetric=plan.symmetric,
        )


def scales(lists: Lists, positions: tuple[Array, Array], data: Array) -> tuple[Array, Array]:
    """Powers of two by which rows and columns are multiplied so that their largest entries come near 1 (Ruiz 2001).

    Args:
        lists: Of the pattern.
        positions: Row and column of each value.
        data: Values of shape (nnz, sets).
    """
    rows, columns = positions
    sizes = jnp.abs(data)
    # Powers of two are exponents: nothing overflows.
    own = jnp.where(sizes > 0, exponent(sizes), NEVER)
    nothing = jnp.full((1, data.shape[1]), NEVER, own.dtype)
    n = len(lists.diagonal)
    at_rows, at_columns = (jnp.zeros((n, data.shape[1]), jnp.int32) for _ in range(2))
    for _ in range(ROUNDS):
        now = jnp.concatenate([own + read(at_rows, rows) + read(at_columns, columns), nothing])
        # √(a power of two), rounded down.
        at_rows = at_rows - (_largest(lists.groups[0], now) >> 1)
        at_columns = at_rows if lists.symmetric else at_columns - (_largest(lists.groups[1], now) >> 1)
    return power(at_rows, sizes.dtype), power(at_columns, sizes.dtype)


def _largest(group: tuple[Stepped, Array], exponents: Array) -> Array:
    """The largest exponent of each row or column; 0 where all its entries are zero."""
    steps, place = group
    most = jnp.full((len(place), exponents.shape[1]), NEVER, exponents.dtype)
    most = steps.run(steps.spare(most), lambda _, window, at: jnp.maximum(window, read(exponents, at)))
    most = read(most, place)
    return jnp.where(most > NEVER // 2, most, 0)


def eliminated(lists: Lists, data: Array, hermitian: bool) -> tuple[Array, Array, Array, Array]:
    """L, U (without their diagonals of ones, with a zero behind), the pivots between, and whether any was replaced.

    A = L D U. Without exchanges: a pivot below √eps, where entries are near 1, is replaced by that, and refinement has
    to make up for it (Li and Demmel 1998).

    Args:
        lists: Of the pattern.
        data: Scaled values of shape (nnz, sets).
        hermitian: Whether U = Lᴴ, where the lists are symmetric.
    """
    data = jnp.concatenate([data, jnp.zeros_like(data[:1])])
    F = lists.products.spare(read(data, lists.sources))
    U = lists.divisions.spare(jnp.zeros((len(lists.lower), data.shape[1]), data.dtype))

    def level(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        F, U = carry

        def subtract(F: Array, window: Array, left: Array, right: Array) -> Array:
            return window - read(F, left) * read(U, right)

        F = lists.products.run(F, subtract, k)

        def divide(_: Array, __: Array, source: Array, pivot: Array) -> Array:
            value = read(F, source)
            return (jnp.conj(value) if hermitian else value) / replaced(read(F, pivot))

        return F, lists.divisions.run(U, divide, k)

    F, U = lax.fori_loop(0, lists.levels, level, (F, U))
    upper = U[: len(lists.lower) + 1]
    found = read(F, lists.diagonal)
    pivots = replaced(found)
    if lists.symmetric:
        lower = jnp.conj(upper) if hermitian else upper
    else:
        # L D = F below the diagonal.
        lower = jnp.concatenate([read(F, lists.lower) / read(pivots, lists.below_columns), upper[-1:]])
    return lower, upper, pivots, jnp.any(pivots != found, axis=0)


def replaced(pivot: Array) -> Array:
    """The pivot, or √eps in its direction where it is smaller; NaN stays."""
    size = jnp.abs(pivot)
    least = jnp.asarray(jnp.finfo(pivot.dtype).eps ** 0.5, size.dtype)
    if jnp.iscomplexobj(pivot):
        direction = jnp.where(size > 0, mul(1 / jnp.where(size > 0, size, 1), pivot), 1)
        return jnp.where(size < least, mul(least, direction), pivot)
    return jnp.where(size < least, jnp.copysign(least, pivot), pivot)


def substituted(steps: Substitution, factors: tuple[Array, Array, Array], y: Array) -> Array:
    """x of L D U x = y, for y of shape (n, sets); factors as of `eliminated`, of many sets or one."""
    lower, upper, pivots = factors
    n, dtype = len(pivots), common(lower, y)
    turned, place = steps.turned

    def by(factor: Array) -> Callable[..., Array]:
        return lambda y, window, entry, at: window - mul(read(factor, entry), read(y, at))

    y = steps.forward.run(steps.forward.spare(y.astype(dtype)), by(lower))
    y = read(y[:n] / typed(pivots, dtype), turned)
    return read(steps.backward.run(steps.backward.spare(y), by(upper)), place)


def read(values: Array, at: Array) -> Array:
    """values[at], for places that are known to exist."""
    return values.at[at].get(mode="promise_in_bounds")
