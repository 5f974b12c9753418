"""How a batch of matrices runs, each with its right-hand side, preconditioner and tolerance."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
from jax import Array

from jaxsolve.core.memo import compiled
from jaxsolve.core.precision import in_full
from jaxsolve.core.recycled import Recycled
from jaxsolve.core.results import SolveInfo
from jaxsolve.front.reporting import Judge
from jaxsolve.linear.deferred_preconditioner import Made, frozen_recipe
from jaxsolve.linear.execution import LinearSystem
from jaxsolve.linear.forward import run
from jaxsolve.linear.preparation import prepared
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.driver import Control, Outcome
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.watch import Watch


class StackedSystems(LinearSystem):
    """A batch of matrices with what was chosen for them."""

    @in_full
    def at_once(self, watch: Watch) -> Outcome | None:
        if not self.eager:
            return None
        if isinstance(self.choice.preconditioner, Made):
            return self.by_rule(None, watch)
        recipe, problem = frozen_recipe(self.choice.preconditioner), self.problem
        key = (self.choice.method, recipe, dataclasses.replace(self.structures, batch=()), watch)
        numbers = recipe.split(self.choice.preconditioner)
        return _run(key, numbers, problem.A, problem.b, problem.x0, self.control, self.nulls, self.recycled)

    @in_full
    def by_rule(self, judge: Judge | None, watch: Watch) -> Outcome:
        problem, alone = self.problem, dataclasses.replace(self.structures, batch=())

        choices = [self.choice, self.of_gradient]
        inverses = [c.preconditioner if c and isinstance(c.preconditioner, Made) else None for c in choices]

        def lane(
            A: LinearOperator, b: Array, x0: Any, control: Control, inverses: list[Any], directions: Any
        ) -> Outcome:
            one = dataclasses.replace(problem, A=A, b=b, x0=x0, structures=alone, matrices=False)
            numbers = tuple(control[:3])
            kept = None if directions is None else Recycled(directions, len(directions))
            limited = eqx.tree_at(
                lambda s: (s.rtol, s.atol, s.max_iterations, s.recycle),
                self.solve,
                (*numbers, kept),
                is_leaf=lambda v: v is None or isinstance(v, Recycled),
            )
            choice, other = (
                c._replace(preconditioner=own) if c and own else c
                for c, own in zip(choices, inverses, strict=True)
            )
            assert choice is not None
            return LinearSystem(one, limited, choice, self.nulls, other).by_rule(judge, watch)

        guess, kept = (None if v is None else 0 for v in (problem.x0, self.recycled))
        parts = (problem.A, problem.b, problem.x0, self.control, inverses, self.recycled)
        return jax.vmap(lane, in_axes=(0, 0, guess, 0, 0, kept))(*parts)

    def instead(self, outcome: Outcome | Exception) -> None:
        return None

    def ended(self, info: SolveInfo) -> None:
        pass


@functools.partial(compiled, static=1)
def _run(
    key: tuple,
    settings: list[Any],
    A: LinearOperator,
    b: Array,
    x0: Any,
    control: Control,
    nulls: NullSpace,
    recycled: Any,
) -> Outcome:
    method, recipe, structures, watch = key

    def lane(A: LinearOperator, b: Array, x0: Any, control: Control, recycled: Any) -> Outcome:
        inverse = prepared(method, recipe.join(settings), A, structures, nulls, eager=False)
        return run(method, A.layout(), inverse, b, x0, control, nulls, recycled, watch=watch)

    guess, kept = (None if v is None else 0 for v in (x0, recycled))
    return jax.vmap(lane, in_axes=(0, 0, guess, 0, kept))(A, b, x0, control, recycled)
