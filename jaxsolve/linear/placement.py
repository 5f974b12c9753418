"""Placement: x lies on the devices of a mesh as b does."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxsolve.core.compat import placed_as
from jaxsolve.core.results import SolveInfo
from jaxsolve.core.shards import axes_inside
from jaxsolve.core.staging import is_traced, staged


def placed(
    answer: Callable[..., SolveInfo], A: Any, b: Any, solve: Any, args: tuple, kwargs: dict, of_x: Any = None
) -> SolveInfo:
    """How a solve went, with x on the devices of b.

    Args:
        answer: Solves a system of the further arguments.
        A: What `solve_linear` takes.
        b: The same.
        solve: The request.
        args: Further arguments of a function A.
        kwargs: The same by name.
        of_x: What x lies as, None for b.
    """
    of_x = b if of_x is None else of_x
    given = (A, b, solve, args, kwargs)
    if axes_inside():
        return answer(*given)
    arrays, others = eqx.partition(given, eqx.is_array)
    explicit = [v for v in jax.tree.leaves(arrays) if _explicit(v)]
    if not explicit:
        return _as_b(answer(*given), b, of_x)
    if is_traced(explicit):
        return _in_automatic_axes(answer, arrays, others, jax.typeof(explicit[0]).sharding.mesh)
    return _as_b(answer(*eqx.combine(jax.tree.map(_automatic, arrays), others)), b, of_x)


def _explicit(v: Any) -> bool:
    """Whether the type of an array says how it lies on a mesh."""
    return AxisType.Explicit in (jax.typeof(v).sharding.mesh.axis_types or ())


def _automatic(v: Any) -> Any:
    """The same array on a mesh of which types say nothing."""
    if not _explicit(v):
        return v
    mesh = v.sharding.mesh
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    return jax.device_put(
        v, NamedSharding(Mesh(mesh.devices, mesh.axis_names, axis_types=kinds), v.sharding.spec)
    )


def _in_automatic_axes(answer: Callable[..., SolveInfo], arrays: Any, others: Any, mesh: Any) -> SolveInfo:
    """The answer of a traced system where the compiler places what lies between b and x."""
    parts: list[Any] = []

    def solved(arrays: Any) -> Any:
        info = answer(*eqx.combine(arrays, others))
        bare = eqx.tree_at(lambda i: (i.x, i.residual), info, (None, None), is_leaf=lambda v: v is None)
        numbers, rest = eqx.partition(bare, eqx.is_array)
        parts[:] = [rest]
        return info.x, info.residual, numbers

    everywhere = NamedSharding(mesh, PartitionSpec())
    b, x0 = arrays[1], getattr(arrays[2], "x0", None)
    of_b, of_x = (
        jax.tree.map(
            lambda v: NamedSharding(mesh, jax.typeof(v).sharding.spec if _explicit(v) else PartitionSpec()), t
        )
        for t in (b, b if x0 is None else x0)
    )
    shapes = getattr(arrays[0], "shape", None)
    if shapes is not None and len(shapes) > 1 and shapes[-1] != shapes[-2]:
        of_x = everywhere
    run: Any = jax.sharding.auto_axes(solved, axes=mesh.axis_names, out_sharding=(of_x, of_b, everywhere))
    x, residual, numbers = run(arrays)
    info = eqx.combine(numbers, parts[0])
    return eqx.tree_at(lambda i: (i.x, i.residual), info, (x, residual), is_leaf=lambda v: v is None)


def _as_b(info: SolveInfo, b: Any, of_x: Any) -> SolveInfo:
    """The result with the solution, if it is of the shape of `of_x`, placed as that, and the residual as b."""
    x = _alike(info.x, of_x)
    residual = _alike(info.residual, b)
    return eqx.tree_at(lambda i: (i.x, i.residual), info, (x, residual))


def _alike(tree: Any, b: Any) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    models = jax.tree.leaves(b)
    if len(leaves) != len(models):
        return tree
    return treedef.unflatten(_leaf_alike(v, model) for v, model in zip(leaves, models, strict=True))


def _leaf_alike(v: Any, model: Any) -> Any:
    if not isinstance(model, jax.Array) or jax.numpy.shape(v) != model.shape:
        return v
    if not is_traced((v, model)):
        return v if v.sharding == model.sharding else jax.device_put(v, model.sharding)
    return placed_as(v, model) if staged() and is_traced(v) and is_traced(model) else v
