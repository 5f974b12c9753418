"""Preconditioners of a system: built beforehand, or by the program that solves it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.memo import compiled
from jaxsolve.core.results import Frozen
from jaxsolve.core.staging import detached, made_once
from jaxsolve.linear.lagging import Lagged
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.solvers.inner_precision import InnerPrecision
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.split import Split


class Unbuilt(eqx.Module):
    """A preconditioner that is left to the program of a solve, which then may build it lane by lane.

    Attributes:
        A: The matrix, without its gradients.
        settings: The arrays of the recipe.
        recipe: Its other parts.
        method: What it is for.
    """

    A: LinearOperator
    settings: list[Any]
    recipe: Frozen = eqx.field(static=True)
    method: AbstractMethod = eqx.field(static=True)

    @classmethod
    def of(cls, method: AbstractMethod, recipe: AbstractPreconditioner, A: LinearOperator) -> "Unbuilt":
        """The recipe for a method and a matrix."""
        frozen = frozen_recipe(recipe)
        return cls(detached(A), frozen.split(recipe), frozen, method)


class Made(eqx.Module):
    """What stands in the place of a recipe where the factorisation or the preconditioner is made already.

    Attributes:
        inverse: An operator, a `Split` or a `Lagged`; None for no preconditioner.
    """

    inverse: Any


def frozen_recipe(recipe: Any) -> Frozen:
    """The recipe beside its arrays. Its numbers stay with it, since they may steer what is built: degrees, flags."""
    return Frozen(recipe, lambda leaf: isinstance(leaf, jax.Array | np.ndarray))


def built(inverse: Any) -> Any:
    """The inverse with nothing in it that is unbuilt."""
    if isinstance(inverse, Split):
        return Split(built(inverse.left), built(inverse.right))
    if isinstance(inverse, InnerPrecision):
        return InnerPrecision(built(inverse.inverse), inverse.unit, inverse.low, inverse.real)
    if isinstance(inverse, Lagged):
        return Lagged(built(inverse.old), inverse.renewal)
    if not isinstance(inverse, Unbuilt):
        return inverse
    return build(inverse.method, inverse.recipe.join(inverse.settings), inverse.A)


def build(method: AbstractMethod, recipe: AbstractPreconditioner, A: LinearOperator) -> LinearOperator:
    """The preconditioner that a recipe makes of A for a method; it has no gradient."""
    recipe = recipe.suited(method.definite_preconditioner)
    if (spread := A.on_mesh) is not None:
        return detached(made_once(lambda: recipe.build_on_mesh(spread), spread, recipe))
    real = not jnp.issubdtype(A.dtype, jnp.complexfloating)
    if method.definite_preconditioner and real and not A.traits.hermitian:
        # These methods ask for A = Aᵀ, which halves the set-up of some preconditioners.
        A = A.declare(hermitian=True)

    def make() -> LinearOperator:
        if recipe.eager:
            return recipe.build(A)
        frozen = frozen_recipe(recipe)
        return _compiled(frozen, frozen.split(recipe), A)

    return detached(made_once(make, A, recipe))


def _build(recipe: Frozen, settings: list[Any], A: LinearOperator) -> LinearOperator:
    return recipe.join(settings).build(A)


_compiled = compiled(_build, static=1)
