"""Spread: what is solved inside `jax.shard_map`, where a device sees its part of the arrays, and what is refused."""

from collections.abc import Iterator
from typing import Any

import jax

from jaxsolve.core.compat import ClosedJaxpr, Jaxpr, open_jaxpr
from jaxsolve.core.errors import StructureError
from jaxsolve.core.shards import axes_inside, axes_of, like
from jaxsolve.front.request import Solve, method_name, preconditioner_name
from jaxsolve.operators.conversion import is_function, is_operator
from jaxsolve.operators.on_mesh import OnMesh
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.jacobi import Jacobi
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS

#: What moves data between devices, by JAX's names; `axis_index` and casts move none.
COLLECTIVES = frozenset([
    "psum", "psum_invariant", "pmax", "pmin", "ppermute", "all_gather", "all_gather_invariant", "all_gather_reduced",
    "all_to_all", "ragged_all_to_all", "reduce_scatter", "psum_scatter", "unreduced_psum", "unreduced_reduce_scatter",
])  # fmt: skip

_NO_DIAGONAL = (
    "with axis_name= the entries of A are not read, and its diagonal is not known. Give the division by it as the "
    "preconditioner, lambda r: r / d, or A as a js.LinearOperator with a method `diagonal()`."
)


def check_axes(A: Any, solve: Solve) -> None:
    """Refuses a request whose axes are none of those that `shard_map` has split, or that asks for what spreads not.

    Args:
        A: What `solve_linear` takes.
        solve: The request.

    Raises:
        ValueError: In words.
    """
    axes = solve.axes
    if not axes:
        return
    inside = axes_inside()
    if not set(axes) <= set(inside):
        here = (
            f"the axes here are {', '.join(map(repr, inside))}" if inside else "this solve is not inside one"
        )
        raise ValueError(
            f"axis_name={solve.axis_name!r} is for a solve inside jax.shard_map, over an axis of its mesh; {here}. "
            "Outside, sharded arrays are solved without it."
        )
    if solve.null_space is not None:
        raise ValueError(
            "null_space= is made orthonormal on one device and can't be used with axis_name=; the constants are found "
            "by themselves, or declared by rank_deficiency=1."
        )
    if solve.gradient_solve is not None:
        if solve.gradient_solve.axes != axes:
            raise ValueError(
                f"gradient_solve has axis_name={solve.gradient_solve.axis_name!r}, and this solve "
                f"{solve.axis_name!r}: tangent and adjoint systems lie over the same axes."
            )
        check_axes(A, solve.gradient_solve)
    if not (isinstance(solve.method, AbstractMethod) and solve.method.spreads):
        able = [name for name, make in METHODS.items() if make().spreads]
        raise ValueError(
            f"`{method_name(solve.method)}` works with a whole matrix on one device; with axis_name= each has a part "
            f"of one system. Methods that sum over devices: {', '.join(able)}."
        )
    parts = solve.preconditioner if isinstance(solve.preconditioner, tuple) else (solve.preconditioner,)
    for part in parts:
        if isinstance(part, str) or (isinstance(part, AbstractPreconditioner) and not part.by_products):
            raise ValueError(
                f"the preconditioner {preconditioner_name(part)} is made of a whole matrix; with axis_name= each "
                "device has a part of one system. Use None, 'jacobi' (of an operator that knows its diagonal), a "
                "function r -> z or an operator: it gets and returns the part of its device."
            )
        if isinstance(part, Jacobi) and is_function(A):
            raise ValueError(_NO_DIAGONAL)


def check_mesh(A: OnMesh, solve: Solve) -> None:
    """Refuses a request that has no form for a matrix whose rows lie on the devices of a mesh.

    Args:
        A: The matrix.
        solve: The request.

    Raises:
        ValueError: In words.
        StructureError: If the preconditioner lies on other devices, or in other rows.
    """
    if axes_inside():
        raise ValueError(
            "a matrix of js.distribute lies on the whole mesh and is solved outside of jax.shard_map, which "
            "the call opens by itself."
        )
    if isinstance(solve.method, AbstractMethod) and not solve.method.spreads:
        able = [name for name, make in METHODS.items() if make().spreads]
        raise ValueError(
            f"`{method_name(solve.method)}` works with a whole matrix on one device, and the rows of this one lie on a "
            f"mesh. Methods that work there: auto, {', '.join(able)}."
        )
    for name in ("recycle", "inner_dtype"):
        if getattr(solve, name) is not None:
            raise ValueError(f"{name}= is not made for a matrix whose rows lie on a mesh; leave it out.")
    if solve.gradient_solve is not None:
        check_mesh(A, solve.gradient_solve)
    given = solve.preconditioner
    if (
        given is None
        or isinstance(given, str)
        or (isinstance(given, AbstractPreconditioner) and given.on_meshes)
    ):
        return
    if is_operator(given) and given.on_mesh is not None:
        if given.on_mesh.mesh == A.mesh and given.on_mesh.parts == A.parts:
            return
        raise StructureError(
            "this preconditioner lies on a mesh as a matrix of other rows or devices does; make it of this A."
        )
    able = [name for name, make in PRECONDITIONERS.items() if make().on_meshes]
    raise ValueError(
        f"the preconditioner {preconditioner_name(given)} is made of a whole matrix, and the rows of this one lie on a "
        f"mesh. Those that work there: None, 'auto', {', '.join(map(repr, able))}, or what one of them has built of A."
    )


def check_operator(A: LinearOperator, b: Any, solve: Solve) -> None:
    """Refuses an operator that moves data over axes of `shard_map` that the request does not name.

    Args:
        A: The operator.
        b: The right-hand side.
        solve: The request.

    Raises:
        ValueError: In words.
    """
    jacobi = isinstance(solve.preconditioner, Jacobi)
    if solve.axes and jacobi and A.known_diagonal() is None:
        raise ValueError(_NO_DIAGONAL)
    inside = set(axes_inside()) - set(solve.axes)
    if not inside:
        return
    x = like((A.shape[1],), A.dtype, axes_of((A, b)).union(solve.axes))
    for name, axes in _collectives(jax.make_jaxpr(A.mv)(x)):
        met = sorted(inside.intersection(axes))
        if met:
            raise ValueError(
                f"A moves data between devices over the axis {', '.join(map(repr, met))} (`{name}`), so that their "
                "parts are one system, and this solve would take the part of each device for a system of its own. "
                f"Name the axis: js.Solve('CG', axis_name={met[0] if len(met) == 1 else tuple(met)!r})."
            )


def _collectives(value: Any) -> Iterator[tuple[str, tuple]]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _collectives(part)
    elif isinstance(value, Jaxpr | ClosedJaxpr):
        for eqn in open_jaxpr(value)[0].eqns:
            if eqn.primitive.name in COLLECTIVES:
                axes = eqn.params.get("axes", eqn.params.get("axis_name", ()))
                yield eqn.primitive.name, axes if isinstance(axes, tuple) else (axes,)
            for inner in eqn.params.values():
                yield from _collectives(inner)
