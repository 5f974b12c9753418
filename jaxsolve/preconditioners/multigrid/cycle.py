"""Cycles: smoothing, the correction from the next coarser level, smoothing."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import require_count
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import applied
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.polynomial import Chebyshev
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, is_self_transposed
from jaxsolve.preconditioners.xla_barriers import apart, runtime_one


def default_smoother() -> AbstractPreconditioner:
    """Two Chebyshev steps on the upper three quarters of the spectrum, before and after each correction."""
    return Chebyshev(1, 4.0)


class Level(eqx.Module):
    """One level of a hierarchy.

    Attributes:
        A: The matrix of the level.
        P: Interpolation from the next coarser level.
        R: Restriction to it.
        before: The smoother before the correction, an approximate inverse of A.
        after: The smoother after the correction.
    """

    A: LinearOperator
    P: LinearOperator
    R: LinearOperator
    before: LinearOperator
    after: LinearOperator

    def transpose(self) -> "Level":
        """The level of the transposed matrix."""
        same = self.after is self.before
        before = self.after.T
        return Level(self.A.T, self.R.T, self.P.T, before, before if same else self.before.T)


class MultigridCycle(LinearOperator):
    """One multigrid cycle from zero.

    Attributes:
        levels: From fine to coarse.
        bottom: Dense (generalised) inverse below the last level.
        visits: Coarse corrections a level: 1 is a V-cycle, 2 a W-cycle.
        outer: The dtype outside, where levels are kept in another one.
        title: Name of the recipe, for `repr`.
    """

    levels: tuple[Level, ...]
    bottom: Array
    visits: int = eqx.field(static=True, default=1)
    outer: Any = eqx.field(static=True, default=None)
    facts: Traits = eqx.field(static=True, default=Traits())
    title: str = eqx.field(static=True, default="MultigridCycle")

    def named(self, title: str, outer: Any) -> "MultigridCycle":
        """The same cycle with the name of its recipe and the dtype of the matrix."""
        return MultigridCycle(self.levels, self.bottom, self.visits, jnp.dtype(outer), self.facts, title)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        n = (self.levels[0].A if self.levels else self.bottom).shape[-1]
        return n, n

    @property
    def dtype(self) -> Any:
        """The dtype of the results."""
        return jnp.dtype(self.bottom.dtype if self.outer is None else self.outer)

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The cycle's approximation of the solution for the right-hand side x."""
        out = common(self.dtype, x)
        inner = common(self.bottom.dtype, jnp.float32)
        if jnp.issubdtype(out, jnp.complexfloating):
            inner = common(inner, jnp.complex64)
        return self._cycle(0, x.astype(inner), runtime_one(x)).astype(out)

    def _cycle(self, k: int, b: Array, one: Array) -> Array:
        if k == len(self.levels):
            return self._corrected(b)
        level = self.levels[k]
        x = apart(level.before.mv(b), one)
        # The coarsest level is solved exactly: a second visit would change nothing.
        for _ in range(self.visits if k + 1 < len(self.levels) else 1):
            r = apart(b - level.A.mv(x), one)
            e = apart(self._cycle(k + 1, apart(level.R.mv(r), one), one), one)
            x = apart(x + level.P.mv(e), one)
        r = apart(b - level.A.mv(x), one)
        return x + level.after.mv(r)

    def _corrected(self, b: Array) -> Array:
        """The solution below the last level."""
        return applied(self.bottom, b)

    def transpose(self) -> LinearOperator:
        """The cycle of the transposed matrix, which is the transposed cycle."""
        if is_self_transposed(self):
            return self
        levels = tuple(level.transpose() for level in self.levels)
        return type(self)(levels, self.bottom.T, self.visits, self.outer, self.facts.T, self.title)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Unknowns of each level."""
        return (*(level.A.shape[0] for level in self.levels), self.bottom.shape[-1])

    def __repr__(self) -> str:
        entries = [_entries(level.A) for level in self.levels] + [self.bottom.shape[-1] ** 2]
        complexity = sum(entries) / max(entries[0], 1)
        lines = [f"{self.title}: {len(entries)} levels, operator complexity {complexity:.2f}"]
        for size, count in zip(self.sizes, entries, strict=True):
            lines.append(f"  {size:>10} unknowns {count:>12} entries")
        return "\n".join(lines)


def require_cycle(owner: str, visits: Any, dtype: Any) -> None:
    """Refuses what no cycle can be made with.

    Args:
        owner: The recipe.
        visits: Coarse corrections a level.
        dtype: Of the levels, None for that of the matrix.
    """
    require_count(owner, "visits", visits)
    if dtype is None:
        return
    try:
        fine = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        fine = False
    if not fine:
        raise StructureError(
            f"{owner}: dtype must be None or a real floating one such as jnp.float32 (cycles of a complex matrix are "
            f"complex all the same); got {dtype!r}."
        )


def _entries(A: LinearOperator) -> int:
    return A.shape[0] if A.entry_count is None else A.entry_count
