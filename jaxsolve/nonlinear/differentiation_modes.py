"""Modes: functions that JAX differentiates one way only, made differentiable both ways.

A `custom_vjp` has no forward mode, a `while_loop` no reverse mode; searches and their gradients need both. What exists
gives the other: products with J are those with Jᵀ transposed, and Jᵀ is the transpose of J made by as many products as
there are unknowns. As rules of `core.implicit` both hold for derivatives of any order.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.compat import ClosedJaxpr, Jaxpr, is_known, open_jaxpr
from jaxsolve.core.implicit import Rule, implicit
from jaxsolve.core.memo import recent
from jaxsolve.operators.program import Program, trace_program

#: The operations of JAX that lack a mode, and those that have both whatever they hold. Of kernels and callbacks, and of
#: primitives that JAX does not know, it has to be tried.
ONE_WAY = {"custom_vjp_call", "custom_vjp_call_jaxpr", "while"}
BOTH_WAYS = {"custom_jvp_call", "custom_linear_solve", "implicit"}
#: What JAX raises where a mode is missing.
MISSING = (TypeError, ValueError, NotImplementedError)


def differentiable(program: Program, inputs: Sequence[Any]) -> Program:
    """The program, differentiable both ways if there is one way.

    Args:
        program: The program.
        inputs: Arrays or shapes of its inputs.
    """
    if not _suspects(program):
        return program
    return _differentiable(program, tuple((tuple(v.shape), jnp.dtype(v.dtype)) for v in inputs))


@recent(most=256, each=0)
def _differentiable(program: Program, inputs: tuple[tuple[tuple[int, ...], Any], ...]) -> Program:
    shapes = [jax.ShapeDtypeStruct(*one) for one in inputs]
    moving = [k for k, v in enumerate(shapes) if jnp.issubdtype(v.dtype, jnp.inexact)]

    def of(values: list[Array], full: list[Array]) -> list[Array]:
        return program(*_placed(full, moving, values))

    values = [shapes[k] for k in moving]
    forward = _works(lambda v, full: jax.jvp(lambda v: of(v, full), (v,), (v,)), values, shapes)
    reverse = _works(lambda v, full: jax.vjp(lambda v: of(v, full), v)[1](of(v, full)), values, shapes)
    if forward and reverse:
        return program
    rule = Forward(program) if forward else Reverse(program) if reverse else Neither(program)
    return trace_program(lambda *inputs: implicit(rule, *inputs), *shapes)[0]


def _works(f: Any, *args: Any) -> bool:
    try:
        jaxpr = jax.make_jaxpr(f)(*args)
    except MISSING:
        return False
    # What JAX leaves of the tangent of a `custom_vjp`; it raises when that is to run.
    return "custom_lin" not in _names(jaxpr)


def _suspects(program: Program) -> list[str]:
    """The operations that may lack a mode."""
    names = dict.fromkeys(_names(program.jaxpr))
    return [name for name in names if name in ONE_WAY or not (name in BOTH_WAYS or is_known(name))]


def _names(jaxpr: Any) -> Iterator[str]:
    for eqn in open_jaxpr(jaxpr)[0].eqns:
        name = eqn.primitive.name
        yield name
        if name not in BOTH_WAYS:
            for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_jaxpr):
                if _is_jaxpr(value):
                    yield from _names(value)


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)


def _placed(full: Sequence[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    placed = list(full)
    for k, value in zip(places, values, strict=True):
        placed[k] = value
    return placed


def _moving(tangents: Sequence[Any]) -> list[int]:
    return [k for k, t in enumerate(tangents) if not isinstance(t, SymbolicZero)]


@dataclasses.dataclass(frozen=True)
class Reverse(Rule):
    """A program that has a reverse mode."""

    program: Program

    def value(self, *args: Array) -> list[Array]:
        return self.program(*args)

    def tangent(self, args: tuple, tangents: tuple) -> tuple[list[Array], list[Array]]:
        # By all inputs: what is held still here may be moving in a derivative of this one, which goes forward.
        places = [k for k, v in enumerate(args) if jnp.issubdtype(v.dtype, jnp.inexact)]
        values, pull = jax.vjp(
            lambda *moved: self.program(*_placed(args, places, moved)), *(args[k] for k in places)
        )
        directions = tuple(
            jnp.zeros_like(args[k]) if isinstance(tangents[k], SymbolicZero) else tangents[k] for k in places
        )
        along = jax.linear_transpose(pull, values)(directions)[0]
        return implicit(self, *args), along


@dataclasses.dataclass(frozen=True)
class Forward(Rule):
    """A derivative of a program that has a forward mode.

    Attributes:
        program: The program.
        by: The inputs by which it is differentiated, one after the other; each puts its axes last, and parts of complex
            numbers on one more axis.
    """

    program: Program
    by: tuple[int, ...] = ()

    def value(self, *args: Array) -> list[Array]:
        f = self.program
        for k in self.by:
            f = functools.partial(_jacobians, f, k)
        return f(*args)

    def tangent(self, args: tuple, tangents: tuple) -> tuple[list[Array], list[Array]]:
        values = implicit(self, *args)
        along = [jnp.zeros_like(value) for value in values]
        for k in _moving(tangents):
            parts = _parts(tangents[k])
            jacobians = implicit(Forward(self.program, (*self.by, k)), *args)
            along = [a + jnp.tensordot(J, parts, parts.ndim) for a, J in zip(along, jacobians, strict=True)]
        return values, along


def _jacobians(f: Any, k: int, *args: Array) -> list[Array]:
    """The derivatives of f by its input k."""
    x = args[k]
    real = jnp.zeros((*x.shape, 2) if jnp.iscomplexobj(x) else x.shape, jnp.finfo(x.dtype).dtype)

    def of(parts: Array) -> list[Array]:
        moved = x + (parts[..., 0] + 1j * parts[..., 1] if jnp.iscomplexobj(x) else parts).astype(x.dtype)
        return f(*_placed(args, [k], [moved]))

    return jacobian(of, real)


def jacobian(f: Any, x: Array) -> Any:
    """The derivatives of the outputs of f at a real or complex x, whose axes come last.

    jax.jacfwd fails on kernels, whose values become batched with their tangents.
    """
    seeds = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    along = jax.vmap(lambda v: jax.jvp(f, (x,), (v,))[1], out_axes=-1)(seeds)
    return jax.tree.map(lambda J: J.reshape(*J.shape[:-1], *x.shape), along)


def _parts(v: Array) -> Array:
    return jnp.stack([v.real, v.imag], -1) if jnp.iscomplexobj(v) else v


@dataclasses.dataclass(frozen=True)
class Neither(Rule):
    """A program without derivatives, which searches that need none can use."""

    program: Program

    def value(self, *args: Array) -> list[Array]:
        return self.program(*args)

    def tangent(self, args: tuple, tangents: tuple) -> tuple[list[Array], list[Array]]:
        raise TypeError(
            "this function can be differentiated neither forward nor in reverse, and this method needs a derivative. "
            f"It holds {', '.join(f'`{name}`' for name in _suspects(self.program))}: give operations of your own "
            "(kernels, callbacks, custom_vjp) a derivative by jax.custom_jvp, and write loops (while) with lax.scan. "
            "Of the methods for equations and fixed points anderson and picard take no derivatives."
        )
