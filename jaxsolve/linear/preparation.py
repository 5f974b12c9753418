"""What is made once for a matrix: the method that suits it, its factorisation or its preconditioner, and the limits."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import NotLinearError, StructureError
from jaxsolve.core.memory import require_memory
from jaxsolve.core.shards import axes_inside, joined_axes
from jaxsolve.core.staging import detached, is_traced, made_once
from jaxsolve.front.request import PRECONDITIONS, Solve, is_recipe, preconditioner_name, refuse_axes
from jaxsolve.front.structures import Structures
from jaxsolve.linear.auto import Choice, choose
from jaxsolve.linear.deferred_preconditioner import Made, Unbuilt, build
from jaxsolve.linear.forward import MOST_STEPS, factorised
from jaxsolve.linear.mixed_precision import Mixed, mixed, mixed_inverse
from jaxsolve.linear.spread import check_mesh
from jaxsolve.operators.conversion import as_operator, is_function, is_operator
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.direct.refinement import AbstractDirect
from jaxsolve.solvers.driver import Control
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nonlinear_methods import AbstractNonlinearMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.pinning import pinned
from jaxsolve.solvers.split import Split
from jaxsolve.tracer.explicit_matrix import with_known_entries


def chosen(solve: Solve, A: LinearOperator, dtype: Any = None) -> Choice:
    """The method and the preconditioner asked for, or those that suit A.

    Args:
        solve: The request.
        A: The operator.
        dtype: The dtype of the system, where it is not that of A.

    Raises:
        StructureError: If the method cannot solve a system of this shape.
        ValueError: If it is for nonlinear problems, or if it takes no preconditioner and is given one.
    """
    if A.on_mesh is not None:
        check_mesh(A.on_mesh, solve)
    if solve.axes != joined_axes():
        refuse_axes(solve, "what is set up or chosen beforehand")
    if isinstance(solve.method, AbstractNonlinearMethod):
        raise ValueError(
            f"`{solve.method.name}` is for {' and '.join(solve.method.solves)}, not for linear systems; use 'auto', a "
            "method of js.methods(), or js.solve_nonlinear, js.least_squares or js.minimize."
        )
    named = isinstance(solve.method, AbstractMethod)
    if named and solve.preconditioner is not None and not solve.method.preconditioned:
        raise ValueError(
            f"`{solve.method.name}` factorises A and takes no preconditioner; got "
            f"{preconditioner_name(solve.preconditioner)}. Leave it out, or use a Krylov method such as 'GMres'."
        )
    m, n = A.shape
    if named and m != n and not solve.method.rectangular:
        raise StructureError(
            f"`{solve.method.name}` solves square systems; A has shape {A.shape}. Use 'lsqr', 'lsmr' or 'QR'."
        )
    return mixed(choose(A, solve), solve, A, dtype)


def limits(solve: Solve, structures: Structures) -> Control:
    """Tolerances and iteration limit, one for each system of a batch."""
    real, batch = jnp.finfo(structures.dtype).dtype, structures.batch
    values = []
    for name, dtype in (("rtol", real), ("atol", real), ("max_iterations", jnp.int32)):
        value = getattr(solve, name)
        if isinstance(value, int | float):
            number = np.asarray(min(value, MOST_STEPS) if dtype == jnp.int32 else value, dtype)
            values.append(jax.device_put(np.full(math.prod(batch), number)) if batch else number)
            continue
        value = jnp.asarray(value).astype(dtype)
        try:
            value = jnp.broadcast_to(value, batch)
        except ValueError:
            raise StructureError(
                f"{name} must be a number or have the batch's shape {batch}; got shape {value.shape}."
            ) from None
        values.append(value.reshape(-1) if batch else value)
    return Control(*values)


def recycled_directions(solve: Solve, structures: Structures) -> Array | None:
    """The directions that a request brings, one set for each system of a batch; None where it keeps none."""
    if solve.recycle is None:
        return None
    return solve.recycle.over(structures.unknown.size, structures.dtype, structures.batch)


def prepared(
    method: AbstractMethod,
    recipe: Any,
    A: LinearOperator,
    structures: Structures,
    nulls: NullSpace,
    eager: bool,
) -> Any:
    """The factorisation or the preconditioner of A, from which no gradient is taken.

    A preconditioner of traced values is `Unbuilt`: `built` makes it, and so does the program of a solve.
    """
    _require_room_for_basis(method, A, structures)
    if method.preconditioned and recipe is None:
        return None
    if isinstance(recipe, Made):
        return detached(recipe.inverse)
    if isinstance(recipe, Mixed):
        return mixed_inverse(prepared, method, recipe, A, structures, nulls, eager)
    A = A if eager else detached(A)
    if method.entries:
        A = with_known_entries(A)
    if not method.preconditioned:
        if is_operator(recipe):
            return detached(recipe)  # factors that were made beforehand

        def factors() -> Any:
            if isinstance(method, AbstractDense):
                return factorised(method, A, nulls)
            regular = pinned(A, nulls)
            return method.judged(regular) if isinstance(method, AbstractDirect) else method.prepare(regular)

        return detached(made_once(factors, A, nulls, method))
    if isinstance(recipe, tuple):
        return Split(*(prepared(method, part, A, structures, nulls, eager) for part in recipe))
    if A.on_mesh is not None and is_operator(recipe):
        return detached(recipe)
    if isinstance(recipe, AbstractPreconditioner):
        recipe = recipe.placed(structures.unknown)
        if recipe.varies and not method.flexible:
            raise ValueError(
                f"`{recipe.name}` solves for a field by iteration, which is no linear map; `{method.name}` needs one. "
                "Use 'fGMres', or a recipe or a factorisation for that field, js.Solve('sparse-direct')."
            )
        return Unbuilt.of(method, recipe, A) if is_traced(A) else build(method, recipe, A)
    M = detached(given(recipe, A, structures))
    m, n = A.shape
    # Of least squares it turns the unknowns, of shortest solutions the equations: neither is another problem then.
    return M if M.shape == (n, m) else Split(None, M) if m > n else Split(M, None)


def _require_room_for_basis(method: AbstractMethod, A: LinearOperator, structures: Structures) -> None:
    if not method.basis or A.on_mesh is not None:
        return
    n = A.shape[1]
    vectors = min(method.basis, 2 * n + 5) * math.prod(structures.batch)
    needed = vectors * n * np.dtype(structures.dtype).itemsize
    instead = "Use a smaller restart, fewer right-hand sides at once, or 'biCG-stab' ('CG' for a definite A)."
    require_memory(needed, f"`{method.name}`", f"a basis of {vectors} vectors", instead, on_device=True)


def described(method: AbstractMethod, recipe: Any, A: LinearOperator) -> str | None:
    """How the preconditioner is made of A and applied, for people; None where its name says so."""
    recipe = recipe.recipe if isinstance(recipe, Mixed) else recipe
    parts = [
        p
        for p in (recipe if isinstance(recipe, tuple) else (recipe,))
        if isinstance(p, AbstractPreconditioner)
    ]
    told = [part.suited(method.definite_preconditioner).describe(A) for part in parts]
    return "; ".join(filter(None, told)) or None


def given(recipe: Any, A: LinearOperator, structures: Structures) -> LinearOperator:
    """A function, an operator or what a user's recipe builds, as a preconditioner of A."""
    m, n = A.shape
    if is_recipe(recipe):
        M = as_operator(recipe.build(A), f"what {type(recipe).__name__}.build returns").layout()
    elif is_function(recipe):
        try:
            M, _ = function_operator(
                recipe, structures.rhs, structures.unknown, structures.dtype, (), {}, frozenset(axes_inside())
            )
        except NotLinearError as error:
            raise NotLinearError(f"as a preconditioner, {error}") from None
    else:
        M = as_operator(recipe, "preconditioner", PRECONDITIONS).layout()
    square = (min(m, n),) * 2
    if M.shape not in ((n, m), square):
        kinds = f"{square}, or {(n, m)} of an approximate inverse" if m != n else square
        raise StructureError(f"the preconditioner of A {A.shape} has shape {kinds}; got {M.shape}.")
    if jnp.issubdtype(M.dtype, jnp.complexfloating) and not jnp.issubdtype(
        structures.dtype, jnp.complexfloating
    ):
        raise TypeError(
            f"the preconditioner is {M.dtype.name}, but A and b are real, and so is x; use a real one, or a complex b."
        )
    return M
