"""Galerkin products along one axis of a grid: what halves and thirds of grids share."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax import Array

from jaxsolve.core.staging import namespace
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.stencil import (
    CACHED,
    StencilOperator,
    Step,
    cut,
    neighbours_on,
    shifted,
)
from jaxsolve.preconditioners.xla_barriers import whole


class Restriction(LinearOperator):
    """The transpose of an interpolation.

    Args:
        prolongation: The interpolation; its `restricted` multiplies with the transpose.
    """

    prolongation: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Coarse and fine points."""
        fine, coarse = self.prolongation.shape
        return (coarse, fine)

    @property
    def dtype(self) -> Any:
        """The dtype of the weights."""
        return self.prolongation.dtype

    def mv(self, x: Array) -> Array:
        """The restricted vector."""
        return self.prolongation.restricted(x)

    def transpose(self) -> LinearOperator:
        """The interpolation."""
        return self.prolongation

    def conj(self) -> LinearOperator:
        """The restriction with conjugate weights."""
        return Restriction(self.prolongation.conj())


#: From weights of R, the values of A for steps of -1, 0 and 1 along the axis, and weights of P around: those of Rᵀ A P.
Product = Callable[[Array, list[Any], Array, tuple[bool, ...], int], list[Array | None]]


def galerkin(
    product: Product, R: Array, A: StencilOperator, P: Array, axis: int, factor: int
) -> StencilOperator:
    """The stencil of Rᵀ A P for two interpolations along an axis, given by weights of shape (count, *coarse grid).

    Couplings along the other axes do not mix, so that they are worked on together as a leading axis of the
    arrays; about twenty array operations for a grid of any dimension.
    """
    others = sorted({tuple(0 if a == axis else d for a, d in enumerate(step)) for step in A.steps})
    periodic, steps = A.grid.periodic, []
    # A column further along the other axes is interpolated with the weights there.
    around = neighbours_on(P, [(0, *o) for o in others], (False, *periodic))

    def work(values: Array, r: Array, *around: Array) -> Array:
        found = {}
        for group, parts in along_axis(values, A.steps, others, axis):
            p = stacked([around[others.index(o)] for o in group], axis=1)
            found.update(by_step(group, axis, product(r, parts, p, periodic, axis)))
        # Sorted, since groups, and with them the order of what is found, depend on the width of a slab.
        steps[:] = sorted(found)
        return stacked([found[step] for step in steps])

    values = in_slabs(work, axis, A.values, R, *around)
    return StencilOperator(whole(values), tuple(steps), A.grid.coarser(axis, factor), A.facts)


def in_slabs(work: Callable[..., Array], axis: int, *arrays: Array) -> Array:
    """work(*arrays), on the host for one slab of the grid after the other, so that it stays in the cache.

    Args:
        work: Makes an array of shape (count, *grid) of arrays of such shapes; looks along one axis alone.
        axis: That axis.
        arrays: What it is made of.
    """
    other = 1 if axis == 0 else 0
    first = arrays[0]
    if namespace(first) is not np or other + 1 >= first.ndim:
        return work(*arrays)
    length = first.shape[other + 1]
    width = max(1, CACHED * length // max(first[0].size, 1))
    parts = [
        work(*(cut(a, other + 1, k, k + width) for a in arrays)) for k in range(0, max(length, 1), width)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=other + 1)  # pyright: ignore


def line_sums(values: Array, steps: tuple[Step, ...], axis: int) -> tuple[Array, Array, Array]:
    """For each point its couplings summed over the other axes: to the line before it, to its own, to the one after."""
    sums: list[Any] = [None, None, None]
    for value, step in zip(values, steps, strict=True):
        sums[step[axis] + 1] = added(sums[step[axis] + 1], value)
    zero = namespace(values).zeros(values.shape[1:], values.dtype)
    before, own, after = (zero if v is None else v for v in sums)
    return before, own, after


def along_axis(
    values: Array, steps: tuple[Step, ...], others: list[Step], axis: int
) -> Iterator[tuple[list[Step], list[Any]]]:
    """The steps along the other axes in groups, and their values for steps of -1, 0 and 1 along this one.

    Steps with the same neighbours are a group; on the host it is divided as the cache asks for.

    Yields:
        k steps with 0 along the axis; values of shape (k, *grid), None where there are none.
    """
    kinds: dict[tuple[bool, ...], list[Step]] = {}
    xp = namespace(values)
    for other in others:
        present = tuple(step in steps for step in with_steps([other], axis))
        kinds.setdefault(present, []).append(other)
    zero = xp.zeros(values.shape[1:], values.dtype)
    for present, kind in kinds.items():
        count = max(1, CACHED // max(zero.size, 1)) if xp is np else len(kind)
        for k in range(0, len(kind), count):
            group = kind[k : k + count]
            wanted = with_steps(group, axis)
            fields = [values[steps.index(step)] if step in steps else zero for step in wanted]
            parts = [fields[t * len(group) : (t + 1) * len(group)] for t in range(3)]
            yield (
                group,
                [stacked(part) if there else None for part, there in zip(parts, present, strict=True)],
            )


def stacked(fields: list[Array], axis: int = 0) -> Array:
    """The fields along a new axis; a view of one that is alone."""
    xp = namespace(fields[0])
    parts = [xp.expand_dims(field, axis) for field in fields]
    # Not `stack`: of that, vmap puts the batch behind the new axis, and all that follows is transposed.
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis)


def times(value: Array | None, weight: Array) -> Array | None:
    """The product, None where there is no value."""
    return None if value is None else value * weight


def added(*terms: Array | None) -> Array | None:
    """The sum of the terms that are there."""
    there = [term for term in terms if term is not None]
    return functools.reduce(operator.add, there) if there else None


def with_steps(others: list[Step], axis: int) -> tuple[Step, ...]:
    """The steps with -1, 0 and 1 along an axis, in this order, and `others` along the other ones."""
    return tuple(tuple(t if a == axis else d for a, d in enumerate(o)) for t in (-1, 0, 1) for o in others)


def moved(fields: list[Array | None], periodic: tuple[bool, ...], axis: int, distance: int) -> list[Any]:
    """The fields, of shape (k, ...), at a distance along an axis; None stays None."""
    there = [f for f in fields if f is not None]
    if all(namespace(f) is np for f in there):
        out = [shifted(f, axis + 1, distance, (False, *periodic)) for f in there]
    else:
        out = shifted(stacked(there), axis + 2, distance, (False, False, *periodic))
    rest = iter(out)
    return [None if f is None else next(rest) for f in fields]


def by_step(others: list[Step], axis: int, parts: list[Array | None]) -> dict[Step, Array]:
    """The fields of each step from those for -1, 0 and 1 along an axis, without those that are None."""
    found = {}
    for t, part in zip((-1, 0, 1), parts, strict=True):
        if part is not None:
            steps = [tuple(t if a == axis else d for a, d in enumerate(o)) for o in others]
            found |= dict(zip(steps, part, strict=True))
    return found
