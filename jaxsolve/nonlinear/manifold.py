"""Manifolds: unknowns that are moved by a retraction, x <- retract(x, step), and fits over such steps.

At each x the fit is one over steps, s -> r(retract(x, s)), taken at s = 0: its Jacobian, its units, its elimination are
those of any other fit (Absil, Mahony and Sepulchre 2008, Optimization Algorithms on Matrix Manifolds, section 8.4).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing
from jaxsolve.nonlinear.nonlinear_problem import Given, Statement, arrays, positions
from jaxsolve.nonlinear.rotations import (
    along_pose,
    along_quaternion,
    along_rotation,
    moved_pose,
    moved_quaternion,
    moved_rotation,
    off_pose,
    off_quaternion,
    off_rotation,
)
from jaxsolve.operators.program import Program, trace_program

Tree = Any


class Known(NamedTuple):
    """A manifold by name.

    Attributes:
        move: The retraction, with leading axes for many points.
        along: Its derivative at the step 0, applied to a step.
        off: How far points are from the manifold.
        point: The shape of one point.
        step: The length of its steps.
        told: What a point is, for people.
    """

    move: Callable[[Array, Array], Array]
    along: Callable[[Array, Array], Array]
    off: Callable[[Array], Array]
    point: tuple[int, ...]
    step: int
    told: str


KNOWN = {
    "quaternion": Known(
        moved_quaternion,
        along_quaternion,
        off_quaternion,
        (4,),
        3,
        "unit quaternions (w, x, y, z), q / norm(q)",
    ),
    "SO3": Known(
        moved_rotation, along_rotation, off_rotation, (3, 3), 3, "rotation matrices, of determinant one"
    ),
    "SE3": Known(moved_pose, along_pose, off_pose, (4, 4), 6, "poses [R t; 0 1] with rotation matrices R"),
}


class Part(NamedTuple):
    """A part of x that is moved by itself.

    Attributes:
        move: The retraction, of the part and its step.
        along: Its derivative at the step 0, applied to a step.
        off: How far the part is from the manifold, relative to 1 or to its own size.
        step: The structure of its steps.
        must: What the part has to be, for people.
    """

    move: Callable[[Tree, Tree], Tree]
    along: Callable[[Tree, Tree], Tree]
    off: Callable[[Tree], Array]
    step: Tree
    must: str


def on_manifold(
    statement: Statement, given: Given, x0: Array, retract: Any
) -> tuple[Statement, Given, Array]:
    """The problem with steps along a retraction.

    Args:
        statement: The problem.
        given: What it depends on.
        x0: The flat first guess.
        retract: What the user says of it.

    Raises:
        TypeError: If it is no retraction.
        ValueError: If there is no manifold of a name, or x0 is off the manifold.
        StructureError: If a retraction does not keep the structure of x.
    """
    unknown = statement.unknown
    split, joined = _pieces(retract, unknown)
    parts = _parts(retract, split(jax.eval_shape(unknown.unpack, x0)), unknown)
    steps = Packing.of(joined([part.step for part in parts]), split=unknown.split)

    def read(name: str) -> tuple[Program, list[Any]]:
        def moved(x: Array, step: Array) -> Array:
            pairs = zip(parts, split(unknown.unpack(x)), split(steps.unpack(step)), strict=True)
            return unknown.pack(
                joined([getattr(part, name)(*pair) for part, *pair in pairs]), statement.dtype
            )

        step = jax.ShapeDtypeStruct((steps.size,), statement.dtype)
        return trace_program(moved, jax.ShapeDtypeStruct(x0.shape, x0.dtype), step)[:2]

    (motion, numbers), (slope, slopes) = read("move"), read("along")
    given = given._replace(
        motion=tuple(jnp.asarray(v) for v in numbers), slopes=tuple(jnp.asarray(v) for v in slopes)
    )
    x0 = _checked(parts, split(unknown.unpack(x0)), x0)
    chart = _chart(statement, given, motion, numbers, steps, x0)
    return dataclasses.replace(statement, motion=motion, slope=slope, chart=chart), given, x0


def _chart(
    statement: Statement, given: Given, motion: Program, numbers: list[Any], steps: Packing, x0: Array
) -> Statement:
    """The problem over steps s from x: of (*motion, *parameters, x, s) what the function returns at retract(x, s)."""
    held = len(given.motion)

    def near(values: list[Array], step: Array) -> Array:
        *values, x = values
        (end,) = motion(*values[:held], x, step)
        return statement.program(*values[held:], end)[0]

    # Under jit the numbers that are known are those of the program.
    known = [statement.program.held.get(k, value) for k, value in enumerate(given.parameters)]
    inputs = (*numbers, *known, x0)
    shapes = [jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)) for v in inputs]
    program = Program(jax.make_jaxpr(near)(shapes, jax.ShapeDtypeStruct((steps.size,), statement.dtype)))
    return dataclasses.replace(
        statement, program=Program(program.jaxpr, positions(program, inputs)), unknown=steps
    )


def _pieces(
    retract: Any, unknown: Packing
) -> tuple[Callable[[Tree], list[Tree]], Callable[[list[Tree]], Tree]]:
    """How a tree like x falls into parts, and how it is made of them: one part, or the top-level leaves of x."""
    if not isinstance(retract, dict):
        return (lambda tree: [tree]), (lambda parts: parts[0])
    x = jax.tree.unflatten(unknown.treedef, range(len(unknown.shapes)))
    top = jax.tree.structure(x, is_leaf=lambda t: t is not x)
    return top.flatten_up_to, top.unflatten


def _parts(retract: Any, pieces: list[Tree], unknown: Packing) -> list[Part]:
    if not isinstance(retract, dict):
        return [_part("x", retract, pieces[0])]
    x = jax.tree.unflatten(unknown.treedef, range(len(unknown.shapes)))
    names = [
        jax.tree_util.keystr(path, simple=True)
        for path, _ in jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda t: t is not x)[0]
    ]
    rules = {str(name): rule for name, rule in retract.items()}
    strange = [name for name in rules if name not in names or names == [""]]
    if strange:
        have = ", ".join(names) if names != [""] else "it is one array"
        raise StructureError(
            f"retract names top-level leaves of x0 (positions of a tuple); there is no {strange[0]!r}: {have}."
        )
    return [_part(name, rules.get(name), piece) for name, piece in zip(names, pieces, strict=True)]


def _part(name: str, rule: Any, piece: Tree) -> Part:
    if rule is None:
        return Part(
            lambda x, step: jax.tree.map(jnp.add, x, step),
            lambda x, step: step,
            lambda x: jnp.zeros(()),
            piece,
            "numbers",
        )
    if isinstance(rule, str):
        return _named(name, rule, piece)
    step = piece
    if isinstance(rule, tuple) and len(rule) == 2:
        rule, like = rule
        step = jax.eval_shape(lambda: arrays(f"the step of retract for {name}", like))
    if not callable(rule):
        raise TypeError(
            f"retract is the name of a manifold ({', '.join(KNOWN)}), a function (x, step) -> x, a pair (function, "
            f"an example of its step), or a dictionary of these by leaves of x; got {told(rule)}."
        )
    _refuse_structure(name, rule, piece, step)

    def off(x: Tree) -> Array:
        still = rule(x, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), step))
        pairs = zip(jax.tree.leaves(still), jax.tree.leaves(x), strict=True)
        far = [jnp.max(jnp.abs(a - b), initial=0) / jnp.max(jnp.abs(b), initial=1e-30) for a, b in pairs]
        return jnp.max(jnp.stack(far))

    def along(x: Tree, change: Tree) -> Tree:
        still = jax.tree.map(jnp.zeros_like, change)
        return jax.jvp(lambda s: rule(x, s), (still,), (change,))[1]

    return Part(rule, along, off, step, "a point that the step 0 leaves where it is, retract(x0, 0) = x0")


def _named(name: str, rule: str, piece: Tree) -> Part:
    known = {key.casefold(): value for key, value in KNOWN.items()}.get(rule.casefold())
    if known is None:
        raise ValueError(
            f"retract: no manifold is named {rule!r}; there are {', '.join(KNOWN)}, or a function."
        )
    depth = len(known.point)
    for leaf in jax.tree.leaves(piece):
        if leaf.shape[len(leaf.shape) - depth :] != known.point or len(leaf.shape) < depth or not _real(leaf):
            raise StructureError(
                f"retract: {rule!r} moves {known.told}, real arrays of shape (..., "
                f"{', '.join(map(str, known.point))}); {name} holds {leaf.dtype.name} of shape {leaf.shape}."
            )
    step = jax.tree.map(
        lambda v: jax.ShapeDtypeStruct((*v.shape[: len(v.shape) - depth], known.step), v.dtype), piece
    )

    def off(x: Tree) -> Array:
        return jnp.max(jnp.stack([known.off(leaf) for leaf in jax.tree.leaves(x)]))

    return Part(
        lambda x, step: jax.tree.map(known.move, x, step),
        lambda x, step: jax.tree.map(known.along, x, step),
        off,
        step,
        known.told,
    )


def _real(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _refuse_structure(name: str, rule: Any, piece: Tree, step: Tree) -> None:
    """Raises unless what a retraction returns is like what it is given."""
    out = jax.eval_shape(
        lambda x, step: arrays(f"what retract returns for {name}", rule(x, step)), piece, step
    )
    before, after = Packing.of(piece), Packing.of(out)
    grown = any(
        jnp.issubdtype(b, jnp.complexfloating) and not jnp.issubdtype(a, jnp.complexfloating)
        for a, b in zip(before.dtypes, after.dtypes, strict=False)
    )
    if not after.fits(before) or grown:
        raise StructureError(
            f"retract moves {name} to another point of the same structure; it was given {before} and returned {after}"
            f"{' with complex numbers' if grown else ''}. If steps have another shape than x, say so by a pair: "
            "retract=(function, jnp.zeros(shape of a step))."
        )


def _checked(parts: list[Part], pieces: list[Tree], x0: Array) -> Array:
    """x0, or NaN where it shows only when the program runs that it is no point of the manifold.

    Raises:
        ValueError: If that shows here.
    """
    real = jnp.finfo(x0.dtype).dtype
    # As far from it as half of the digits: x0 may have been read from a file that has not all of them.
    most = jnp.finfo(real).eps ** 0.5
    for part, piece in zip(parts, pieces, strict=True):
        off = part.off(piece).astype(real)
        astray = ~(off <= most) & jnp.all(jnp.isfinite(x0))
        if not is_traced(astray) and bool(astray):
            raise ValueError(f"retract: x0 is off its manifold by {float(off):.2g}. Expected {part.must}.")
        x0 = jnp.where(astray, jnp.nan, x0)
    return x0
