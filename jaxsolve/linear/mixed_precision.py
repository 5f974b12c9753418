"""Mixed precision: what `Solve(inner_dtype=...)` makes of a choice, and of its matrix."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import compiled
from jaxsolve.core.staging import detached, made_once
from jaxsolve.core.vector import exponent
from jaxsolve.front.request import Solve, is_recipe, preconditioner_name
from jaxsolve.front.structures import Structures
from jaxsolve.linear.auto import Choice
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.narrowing import narrowed
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.host.backends import DEVICE
from jaxsolve.solvers.host.direct import AbstractHostDirect
from jaxsolve.solvers.host.scipy_krylov import SciPyKrylov
from jaxsolve.solvers.inner_precision import InnerPrecision
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.pinning import pinned
from jaxsolve.solvers.split import Split
from jaxsolve.solvers.units import unit_of
from jaxsolve.tracer.explicit_matrix import with_known_entries


class Mixed(eqx.Module):
    """A preconditioner that is asked for, to be made and applied in a lower precision together with the iterations.

    Attributes:
        recipe: What was asked for, None for nothing.
        real: The precision.
    """

    recipe: Any
    real: Any = eqx.field(static=True)

    @property
    def name(self) -> str:
        """Its name for people."""
        return preconditioner_name(self.recipe)


def mixed(choice: Choice, solve: Solve, A: LinearOperator, dtype: Any = None) -> Choice:
    """A choice with the inner precision that is asked for.

    Args:
        choice: The choice.
        solve: The request.
        A: The operator.
        dtype: The dtype of the system, where it is not that of A.

    Raises:
        ValueError: If it is wider than the system, or the method has none.
        StructureError: If A is not square.
    """
    if solve.inner_dtype is None:
        return choice
    dtype = jnp.dtype(A.dtype if dtype is None else dtype)
    real, own = solve.inner_dtype, jnp.finfo(dtype).dtype
    if real == own:
        return choice
    if real.itemsize > own.itemsize:
        raise ValueError(
            f"inner_dtype={real.name} is wider than the {dtype.name} of this system. Leave it out; for more digits "
            "give A and b in double precision."
        )
    why = _refused(choice.method, A)
    if not why:
        told = f"iterations, preconditioner and factors in {real.name}, refined to {own.name} (inner_dtype)"
        return choice._replace(
            preconditioner=Mixed(choice.preconditioner, real), reasons=(*choice.reasons, told)
        )
    if choice.rule is None and not isinstance(choice.method, AbstractHostDirect):
        error = StructureError if A.shape[0] != A.shape[1] else ValueError
        raise error(f"inner_dtype={real.name}: {why}. Leave it out, or use another method.")
    return choice._replace(reasons=(*choice.reasons, f"in {own.name} throughout: {why}"))


def _refused(method: AbstractMethod, A: LinearOperator) -> str:
    """Why there is no inner precision, "" where there is."""
    if method.least_norm or A.shape[0] != A.shape[1]:
        return (
            f"refinement by residuals does not lead to least squares (`{method.name}`, A of shape {A.shape})"
        )
    if isinstance(method, SciPyKrylov):
        return f"`{method.name}` iterates on the host, in SciPy's precision"
    if isinstance(method, AbstractHostDirect) and method.backend != DEVICE:
        return f"`{method.name}` has factors on the host, in double precision always"
    return ""


def mixed_inverse(
    prepared: Callable[..., Any],
    method: AbstractMethod,
    asked: Mixed,
    A: LinearOperator,
    structures: Structures,
    nulls: NullSpace,
    eager: bool,
) -> InnerPrecision:
    """The factors or the preconditioner of A in a lower precision; `prepared` and its arguments are those there."""
    recipe, real = asked.recipe, asked.real
    recipes = recipe if isinstance(recipe, tuple) else (recipe,)
    A = A if eager else detached(A)
    if method.entries or any(map(is_recipe, recipes)):
        A = with_known_entries(A)
    # Factors are of a matrix that is made regular, which is not A.
    own = _regular(method, A, nulls) if not method.preconditioned else A
    low, layout, unit = detached(made_once(lambda: _lowered(real, own, own.layout()), own))

    def made(part: Any) -> Any:
        if part is None:
            return None
        if is_recipe(part):
            return prepared(method, part, low, structures, nulls, eager)
        # What is given is an inverse of A itself; the parts of a pair have any unit.
        M = prepared(method, part, A, structures, nulls, eager)
        k = -exponent(unit_of(M, jnp.zeros(0, structures.dtype))[0]) if len(recipes) > 1 else exponent(unit)
        return narrowed(M, k, real)

    if not method.preconditioned:
        inverse = detached(made_once(lambda: method.prepare(low), low, method))
    elif isinstance(recipe, tuple):
        inverse = Split(*map(made, recipe))
    else:
        inverse = made(recipe)
    return InnerPrecision(inverse, unit, layout if method.preconditioned else None, real)


def _regular(method: AbstractMethod, A: LinearOperator, nulls: NullSpace) -> LinearOperator:
    """A with what makes it invertible on its null space, for factors."""
    if not isinstance(method, AbstractDense):
        return pinned(A, nulls)
    return made_once(lambda: _dense(A, nulls), A, nulls)


@compiled
def _dense(A: LinearOperator, nulls: NullSpace) -> LinearOperator:
    return DenseMatrix(nulls.regularized(A).as_matrix())


@functools.partial(compiled, static=1)
def _lowered(
    real: Any, A: LinearOperator, layout: LinearOperator
) -> tuple[LinearOperator, LinearOperator, Array]:
    """A and its layout in their unit and in a lower precision, and the unit."""
    unit, _ = unit_of(layout, jnp.zeros(0, A.dtype))
    k = -exponent(unit)
    return narrowed(A, k, real), narrowed(layout, k, real), unit
