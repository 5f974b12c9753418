"""Inverses: preconditioners or factors of a system, made once and held, or made anew for new values."""

import functools
from typing import Any

import equinox as eqx
import jax
from jax import Array, lax

from jaxsolve.core.memo import compiled
from jaxsolve.core.staging import detached, is_traced
from jaxsolve.front.request import is_recipe
from jaxsolve.front.structures import Structures
from jaxsolve.linear.deferred_preconditioner import built, frozen_recipe
from jaxsolve.linear.lagging import Lagged, Refresh, Renewal
from jaxsolve.linear.mixed_precision import Mixed
from jaxsolve.linear.preparation import prepared
from jaxsolve.linear.problem import Problem
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.inner_precision import InnerPrecision
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace


class Inverses(eqx.Module):
    """Preconditioners or factors; of a batch of matrices with its leading axes.

    Attributes:
        own: That of the method; None for none.
        of_gradient: That of tangent and adjoint systems, where they have a request of their own.
    """

    own: Any
    of_gradient: Any

    @classmethod
    def of(
        cls,
        choices: list[tuple[AbstractMethod, Any] | None],
        problem: Problem,
        nulls: NullSpace,
        refresh: Refresh | None,
        held: "Inverses | None" = None,
        due: Any = True,
    ) -> "Inverses":
        """The inverses that two choices make of a matrix.

        Args:
            choices: Method and recipe, and those for gradients.
            problem: The matrix.
            nulls: Its null space.
            refresh: Whether their form may follow from the values of this matrix (None), and whether they may lag.
            held: Those of earlier values.
            due: Whether these are made anew, perhaps traced.
        """
        before = (None, None) if held is None else (held.own, held.of_gradient)
        return cls(
            *(
                None if choice is None else _inverse(*choice, problem, nulls, refresh, old, due)
                for choice, old in zip(choices, before, strict=True)
            )
        )


def _inverse(
    method: AbstractMethod,
    recipe: Any,
    problem: Problem,
    nulls: NullSpace,
    refresh: Refresh | None,
    held: Any,
    due: Any,
) -> Any:
    if method.preconditioned and recipe is None:
        return None
    structures = Structures(problem.structures.unknown, problem.structures.rhs, problem.structures.dtype)
    if refresh is None and not problem.matrices:
        eager = not is_traced(problem.A)
        return detached(built(prepared(method, recipe, problem.A, structures, nulls, eager)))
    frozen = frozen_recipe((method, recipe))
    A, nulls, settings = detached((problem.A, nulls, frozen.split((method, recipe))))
    key = (frozen, structures, problem.matrices)

    def make() -> Any:
        return _by_lanes(_in_program(key, settings, A, nulls), problem)

    if refresh is None or not refresh.lags or not _follows(method, recipe):
        return make()

    def made() -> Any:
        inverse = make()
        # A matrix that is rounded for the passes is that of the present.
        return inverse.without_matrix() if isinstance(inverse, InnerPrecision) else inverse

    if held is None:
        old = made()
    elif is_traced(due):
        old = lax.cond(due, made, lambda: held.old)
    else:
        old = made() if due else held.old

    def lagged(A: LinearOperator, old: Any) -> Lagged:
        return Lagged(old, Renewal(A, nulls, settings, frozen, structures, _made))

    if not problem.matrices:
        return lagged(A, old)
    lanes = problem.b.shape[0]
    flat = jax.tree.map(lambda v: v.reshape(lanes, *v.shape[len(problem.structures.batch) :]), old)
    return _by_lanes(jax.vmap(lagged)(A, flat), problem)


def _by_lanes(tree: Any, problem: Problem) -> Any:
    """A tree with the axes of a batch in place of that of its lanes."""
    if not problem.matrices:
        return tree
    return jax.tree.map(lambda v: v.reshape(*problem.structures.batch, *v.shape[1:]), tree)


def _follows(method: AbstractMethod, recipe: Any) -> bool:
    """Whether something is made of the matrix, and not given as it is."""
    recipe = recipe.recipe if isinstance(recipe, Mixed) else recipe
    parts = recipe if isinstance(recipe, tuple) else (recipe,)
    return not method.preconditioned or any(map(is_recipe, parts))


def _made(
    method: AbstractMethod, recipe: Any, A: LinearOperator, structures: Structures, nulls: NullSpace
) -> Any:
    return built(prepared(method, recipe, A, structures, nulls, eager=False))


@functools.partial(compiled, static=1)
def _in_program(key: tuple, settings: list[Array], A: LinearOperator, nulls: NullSpace) -> Any:
    """The inverse in the form that it has for values that are not known beforehand."""
    frozen, structures, matrices = key
    method, recipe = frozen.join(settings)

    def one(A: LinearOperator) -> Any:
        return _made(method, recipe, A, structures, nulls)

    return jax.vmap(one)(A) if matrices else one(A)
