"""Lagging: inverses that are kept while the values of their matrix change, and when they are made anew."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.names import normalized
from jaxsolve.core.options import is_count
from jaxsolve.core.results import Frozen, is_any_of
from jaxsolve.core.shards import while_loop
from jaxsolve.core.status import CONVERGED, Status
from jaxsolve.front.structures import Structures
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.driver import Outcome
from jaxsolve.solvers.nullspace import NullSpace

#: "growth": by this factor iterations may grow.
GROWTH = 2.0


@dataclasses.dataclass(frozen=True)
class Refresh:
    """When an update makes the inverse anew.

    Attributes:
        every: At each so manieth update; None for none.
        growth: Once a solve took so many times the iterations of the first one; None for never.
    """

    every: int | None = None
    growth: float | None = None

    @classmethod
    def of(cls, asked: Any) -> "Refresh | None":
        """The policy of a word or a number; None for None.

        Raises:
            ValueError: If it is no policy.
        """
        if asked is None:
            return None
        if is_count(asked) and asked > 0:
            return cls(every=int(asked))
        form = normalized(asked) if isinstance(asked, str) else ""
        if form in ("always", "never"):
            return cls(every=1 if form == "always" else None)
        match = re.fullmatch(r"growth(?:\(([0-9.]+)\))?", form)
        factor = float(match[1] or GROWTH) if match else 0.0
        if factor > 1:
            return cls(growth=factor)
        raise ValueError(
            f"refresh expects 'always', 'never', a number k (at every k-th update), 'growth' (when iterations have "
            f"doubled) or 'growth(1.5)'; got {asked!r}."
        )

    @property
    def lags(self) -> bool:
        """Whether an update may keep the inverse."""
        return self.every != 1

    def __str__(self) -> str:
        if self.growth is not None:
            return f"growth({self.growth:g})"
        return {None: "never", 1: "always"}.get(self.every, str(self.every))


class Renewal(eqx.Module):
    """How the inverse of the present values is made, where one of earlier values does not do.

    Attributes:
        A: The matrix by its entries, without its gradients.
        nulls: Its null space.
        settings: The arrays of method and recipe.
        recipe: The other parts of method and recipe.
        structures: Those of one system.
        make: Makes it of a method, a recipe, a matrix, structures and a null space.
        turned: Whether the transpose is meant.
    """

    A: LinearOperator
    nulls: NullSpace
    settings: list[Any]
    recipe: Frozen = eqx.field(static=True)
    structures: Structures = eqx.field(static=True)
    make: Callable[..., Any] = eqx.field(static=True)
    turned: bool = eqx.field(static=True, default=False)

    def made(self) -> Any:
        """The inverse."""
        inverse = self.make(*self.recipe.join(self.settings), self.A, self.structures, self.nulls)
        return inverse.transpose() if self.turned else inverse


class Lagged(eqx.Module):
    """An inverse of earlier values of a matrix, and how that of the present ones is made."""

    old: Any
    renewal: Renewal

    def transpose(self) -> "Lagged":
        """That of the transposed matrix."""
        turned = dataclasses.replace(self.renewal, turned=not self.renewal.turned)
        return Lagged(self.old.transpose(), turned)


def attempted(solve: Callable[[Any], Outcome], inverse: Any) -> Outcome:
    """The outcome of a solve; where it fails with an inverse of earlier values, with one of the present values.

    So what lags costs iterations and never the solution.
    """
    if not isinstance(inverse, Lagged):
        return solve(inverse)
    first = solve(inverse.old)
    failed = ~is_any_of(first.status, (*CONVERGED, Status.invalid_input))

    def again(carry: tuple[Array, Outcome]) -> tuple[Array, Outcome]:
        found = solve(inverse.renewal.made())
        return jnp.array(False), found._replace(evaluations=found.evaluations + carry[1].evaluations)

    # Not `cond`, of which `vmap` runs both branches for all lanes.
    return while_loop(lambda carry: carry[0], again, (failed, first))[1]
