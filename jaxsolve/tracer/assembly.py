"""Functions to sparse matrices: one reading, a static pattern, and values that JAX carries."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from jaxsolve.core.array_likes import stands_alone, unwrapped
from jaxsolve.core.errors import NotLinearError, StructureError, TraceError
from jaxsolve.core.options import require_function
from jaxsolve.core.precision import in_full
from jaxsolve.core.tree import Packing, inexact, refuse_posing
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.function import function_operator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.program import values_held
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.arguments import Split, has_integers, split
from jaxsolve.tracer.complex_parts import is_inexact
from jaxsolve.tracer.matrix import TracedMatrix
from jaxsolve.tracer.plan import Plan, shapes_of
from jaxsolve.tracer.refusals import Refusals
from jaxsolve.tracer.rules import (  # noqa: F401  (importing them fills the table)
    contraction,
    control,
    elementwise,
    indexing,
    loops,
    movement,
    reduction,
    solves,
    sparse_contraction,
    transforms,
)


def matrix_from_function(f: Callable[..., Any], x_like: Any, *params: Any, **kwargs: Any) -> tuple[BCOO, Any]:
    """The sparse matrix and the offset of a function that is linear (or affine) in its first argument.

    Args:
        f: Called as f(x, *params, **kwargs); ordinary `jax.numpy` code on arrays or pytrees of arrays.
        x_like: Arrays or shapes like x; only shapes and dtypes matter.
        *params: Further arguments; may be traced.
        **kwargs: Further arguments by name; may be traced.

    Returns:
        The matrix of shape (output size, input size) over the raveled pytrees, sorted, without duplicates and
        structural zeros; and f(0) in the structure of f's output.

    Raises:
        TypeError: If f is no function.
        NotLinearError: If f is not linear; the text names the operation and the line.
        TraceError: If the matrix would have too many entries.

    Cost: at 10⁶ unknowns about half a second for a stencil, mostly writing the sorted indices.

    >>> import jax.numpy as jnp
    >>> A, offset = matrix_from_function(lambda x, k: k * (x[1:] - x[:-1]) + 1, jnp.zeros(3), 2.0)
    >>> A.todense().tolist(), offset.tolist()
    ([[-2.0, 2.0, 0.0], [0.0, -2.0, 2.0]], [1.0, 1.0])
    """
    require_function("js.matrix_from_function", f)
    plan, arguments = read(f, x_like, params, kwargs)
    matrix = SparseMatrix(jnp.asarray(plan.values(arguments.values)), plan.pattern)
    return matrix.to_bcoo(), offset_of(plan, f, x_like, params, kwargs)


def trace_operator(
    f: Callable[..., Any], x_like: Any, *params: Any, entries: bool = True, **kwargs: Any
) -> tuple[LinearOperator, Any]:
    """The operator that a function is, and its offset.

    Args:
        f: As in `matrix_from_function`.
        x_like: As there.
        *params: As there.
        entries: Whether single entries are needed, and not only products. Without them, matrices of few diagonals
            are read five times faster.
        **kwargs: As in `matrix_from_function`.

    Returns:
        A `SparseMatrix` on raveled vectors (without `entries` a `DiagonalsOperator` where that does, or a
        `FunctionOperator` where the matrix would be too dense), and f(0) in the structure of f's output, or None
        where f is known to have no offset.

    Raises:
        NotLinearError: If f is not linear.
        TraceError: If entries are needed and there would be too many.
    """
    try:
        plan, arguments = read(f, x_like, params, kwargs)
        operator = operator_of(plan, arguments, entries)
    except NotLinearError:
        raise
    except TraceError:
        if entries:
            raise
        return _matrix_free(f, x_like, params, kwargs)
    return operator, offset_of(plan, f, x_like, params, kwargs) if plan.affine else None


def _matrix_free(
    f: Callable[..., Any], x_like: Any, params: tuple, kwargs: dict
) -> tuple[LinearOperator, Any]:
    """The function as it is, on raveled vectors."""
    x = structure_of(x_like)
    out = jax.eval_shape(lambda x: f(x, *params, **kwargs), x)
    unknown, rhs = Packing.of(x), Packing.of(out)
    operator, offset = function_operator(f, unknown, rhs, inexact(*unknown.dtypes), params, kwargs)
    return operator, None if offset is None else rhs.unpack(offset)


def operator_of(plan: Plan, arguments: Split, entries: bool = True) -> LinearOperator:
    """The operator of a plan for these parameters."""
    if plan.bands is None:
        return SparseMatrix(plan.values(arguments.values), plan.pattern)
    diagonals = plan.diagonals(plan.constants(), arguments.values)
    bands = DiagonalsOperator(diagonals, plan.bands.offsets, plan.shape)
    if not entries:
        return bands
    return TracedMatrix(plan.values(arguments.values), plan.pattern, bands=bands)


@in_full
def offset_of(plan: Plan, f: Callable[..., Any], x_like: Any, params: Any, kwargs: Any) -> Any:
    """f(0) in the structure of f's output."""
    if not plan.affine:
        return jax.tree.map(lambda out: jnp.zeros(out.shape, out.dtype), plan.structure)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), structure_of(x_like))
    return jax.tree.map(jnp.asarray, f(zeros, *params, **kwargs))


@in_full
def read(
    f: Callable[..., Any], x_like: Any, params: tuple, kwargs: dict, refusals: Refusals | None = None
) -> tuple[Plan, Split]:
    """The plan of a function for these arguments, and the arguments split as the plan takes them.

    Integers are taken as values first. Where the reading fails or finds too many positions because it does not know
    them, it is repeated with those that are concrete.

    Args:
        f: As in `matrix_from_function`.
        x_like: As there.
        params: As there.
        kwargs: As there.
        refusals: What is known to have no sparse matrix, and is refused at once.

    Raises:
        TraceError: If there is no sparse matrix. Whatever else comes out of the reading is a fault.
    """
    x = structure_of(x_like)
    if has_integers((params, kwargs)):
        try:
            # An error of the user's own code is raised again by the second reading.
            traced = _traced(f, x, split((params, kwargs), False))
        except (TypeError, IndexError, ValueError):
            traced = None
        if traced is not None:
            try:
                plan, arguments = _read(x, traced, refusals)
                if not plan.needs_integers:
                    return plan, arguments
            except TraceError:
                pass
    return _read(x, _traced(f, x, split((params, kwargs), True)), refusals)


def readable(f: Callable[..., Any], x_like: Any, params: tuple, kwargs: dict) -> tuple[Plan, Split] | None:
    """What `read` finds, None where there is no sparse matrix; what was refused is not tried again."""
    try:
        return read(f, x_like, params, kwargs, _REFUSALS)
    except TraceError:
        return None


_REFUSALS = Refusals()


class _Traced(NamedTuple):
    jaxpr: Any
    structure: Any
    arguments: Split


def _traced(f: Callable[..., Any], x: Any, arguments: Split) -> _Traced:
    def function(x: Any, values: list[Any]) -> Any:
        args, named = arguments.joined(values)
        return f(x, *args, **named)

    shapes = shapes_of(arguments.values)
    with values_held():
        return _Traced(*jax.make_jaxpr(function, return_shape=True)(x, shapes), arguments)


def _read(x: Any, traced: _Traced, refusals: Refusals | None) -> tuple[Plan, Split]:
    jaxpr, structure, arguments = traced
    if refusals is None:
        return Plan(jaxpr, structure, x, arguments.values), arguments
    if refusals.holds(jaxpr):
        raise TraceError("this program has no sparse matrix.")
    try:
        plan = Plan(jaxpr, structure, x, arguments.values)
        # The entries are counted when they are ordered.
        _ = plan.pattern
    except TraceError:
        refusals.add(jaxpr)
        raise
    return plan, arguments


def structure_of(x_like: Any) -> Any:
    """Shapes and dtypes of a pytree of arrays.

    Raises:
        StructureError: If a leaf is not a floating array.
    """

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            refuse_posing("x_like", leaf)
            try:
                leaf = jax.typeof(jnp.asarray(unwrapped(leaf)))
            except (TypeError, ValueError):
                raise TypeError(
                    f"x_like is a pytree of arrays or shapes; got a {type(leaf).__name__} in it."
                ) from None
        if not is_inexact(leaf.dtype):
            raise StructureError(
                f"the unknown of a linear function is real or complex; x_like has dtype {leaf.dtype.name}. "
                "Convert it with astype(float)."
            )
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    structure = jax.tree.map(shape, x_like, is_leaf=stands_alone)
    if not jax.tree.leaves(structure):
        raise StructureError("x_like holds no arrays; pass arrays or shapes like the unknown.")
    return structure
