"""implicit: a function whose derivative is given by a rule, not found in its operations, as a primitive of JAX.

A solve hides its derivative in a loop or on the host; the rule is the implicit function theorem. `jax.custom_jvp` is no
place for such a rule: where JAX splits the body of a `scan`, `map` or `while_loop` into known and unknown parts it
drops the rule and differentiates the operations instead, which silently loses terms of second derivatives (and so do
`lax.custom_root` and whatever else is built on it). The rule of a primitive stays with its equation under every
transformation. All solves of this package, linear and nonlinear, forward, tangent and adjoint, go through this one, so
that derivatives of any order are those of the rule.

`lax.custom_linear_solve` is a primitive too, but it is square, keeps one solver for values and tangents, and asks JAX
to transpose the product with A, which fails for products that only the operator knows how to transpose.
"""

import abc
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from jaxsolve.core.memo import recent
from jaxsolve.core.precision import in_full
from jaxsolve.core.recent import PROGRAMS


class _Implicit(Primitive):
    """The primitive; its program is traced anew where it is lowered, which is when JAX 0.12 lowers what is in it."""

    multiple_results = True

    def is_high(self, *avals: Any, **params: Any) -> bool:
        return False


implicit_p = _Implicit("implicit")


class Rule(abc.ABC):
    """A function of pytrees with its derivative. Hashable, compared with `==`; all arrays come as arguments."""

    #: Whether the value is linear in the last argument, so that it can be transposed.
    linear: bool = False

    @abc.abstractmethod
    def value(self, *args: Any) -> Any:
        """The value: a pytree of arrays, whose structure follows from that of the arguments."""

    @abc.abstractmethod
    def tangent(self, args: tuple, tangents: tuple) -> tuple[Any, Any]:
        """The value, and its tangent: the same structure, None where an array does not move.

        Args:
            args: The arguments.
            tangents: The same structure, `SymbolicZero` where an array does not move.
        """

    def held_linear(self, *args: Any) -> Any:
        """Those of the arguments that may move where the first array of the value is to be linear."""
        return args[-1]

    def transposed(self, args: tuple, places: Any, cotangents: list[Any]) -> Any:
        """The cotangent of the last argument, in its structure.

        Args:
            args: The arguments before the last.
            places: The structure of the last.
            cotangents: Those of the arrays of the value, in order; None for zero.
        """
        raise NotImplementedError


class _Lanes(NamedTuple):
    """One `vmap` around a function: the batch axis of each array, their number, and the name of the axis."""

    axes: tuple[int | None, ...]
    size: int
    name: Any


def implicit(rule: Rule, *args: Any) -> Any:
    """`rule.value(*args)`, differentiated by the rule wherever it stands."""
    leaves, treedef = jax.tree.flatten(args)
    program, structure = _program(rule, treedef, (), leaves)
    return structure.unflatten(
        implicit_p.bind(*leaves, program=program, rule=rule, treedef=treedef, lanes=())
    )


def solves(eqn: Any) -> bool:
    """Whether an equation solves a linear system."""
    return eqn.primitive is implicit_p and eqn.params["rule"].linear


def is_linear_in(eqn: Any, moving: Iterable[int]) -> bool:
    """Whether the first output of such an equation is linear in these of its inputs, the others held."""
    rule, treedef = eqn.params["rule"], eqn.params["treedef"]
    return set(moving) <= set(
        jax.tree.leaves(rule.held_linear(*treedef.unflatten(range(treedef.num_leaves))))
    )


def _program(rule: Rule, treedef: Any, lanes: tuple[_Lanes, ...], leaves: Any) -> tuple[Any, Any]:
    """The jaxpr of a value, and its structure; JAX keeps both for equal rules."""
    traced = _valued(rule, treedef, lanes).trace(*leaves)
    return traced.jaxpr, jax.tree.structure(traced.out_info)


@recent(most=4 * PROGRAMS)
def _valued(rule: Rule, treedef: Any, lanes: tuple[_Lanes, ...]) -> Any:
    # Never run: its traces are what JAX keeps for as long as the function is there.
    return jax.jit(in_full(_mapped(lambda *leaves: rule.value(*treedef.unflatten(leaves)), lanes)))


def _mapped(f: Any, lanes: tuple[_Lanes, ...]) -> Any:
    for lane in lanes:
        f = jax.vmap(f, in_axes=lane.axes, axis_size=lane.size, axis_name=lane.name)
    return f


@implicit_p.def_impl
@in_full
def _evaluate(*leaves, program, rule, treedef, lanes):
    # Not the compiled program: what fails in eager mode keeps its class.
    return jax.tree.leaves(_mapped(lambda *leaves: rule.value(*treedef.unflatten(leaves)), lanes)(*leaves))


@implicit_p.def_effectful_abstract_eval
def _shapes(*leaves, program, rule, treedef, lanes):
    return program.out_avals, program.effects


def _compiled(*leaves, program, rule, treedef, lanes):
    return jaxpr_as_fun(program)(*leaves)


def _batch(axis, leaves, axes, *, program, rule, treedef, lanes):
    if all(a is None for a in axes):
        values = implicit_p.bind(*leaves, program=program, rule=rule, treedef=treedef, lanes=lanes)
        return values, [None] * len(values)
    name = axis.name if isinstance(axis.name, str) else None
    lanes = (*lanes, _Lanes(tuple(axes), axis.size, name))
    program, _ = _program(rule, treedef, lanes, leaves)
    values = implicit_p.bind(*leaves, program=program, rule=rule, treedef=treedef, lanes=lanes)
    return values, [0] * len(values)


@in_full
def _push(primals, tangents, *, program, rule, treedef, lanes):
    moving = [k for k, t in enumerate(tangents) if type(t) is not ad.Zero and t.dtype != jax.dtypes.float0]
    still: list[bool] = []

    def pushed(leaves, directions):
        along: list[Any] = [SymbolicZero(jax.typeof(leaf).to_tangent_aval()) for leaf in leaves]
        for k, direction in zip(moving, directions, strict=True):
            along[k] = direction
        value, tangent = rule.tangent(treedef.unflatten(leaves), treedef.unflatten(along))
        values, structure = jax.tree.flatten(value)
        parts = structure.flatten_up_to(tangent)
        still[:] = [part is None for part in parts]
        return values, [part for part in parts if part is not None]

    for lane in lanes:
        axes = list(lane.axes), [lane.axes[k] for k in moving]
        pushed = jax.vmap(pushed, in_axes=axes, axis_size=lane.size, axis_name=lane.name)
    values, moved = pushed(list(primals), [tangents[k] for k in moving])
    moved = iter(moved)
    return values, [
        ad.Zero(jax.typeof(value).to_tangent_aval()) if zero else next(moved)
        for value, zero in zip(values, still, strict=True)
    ]


@in_full
def _pull(cotangents, *leaves, program, rule, treedef, lanes):
    unknown = [k for k, leaf in enumerate(leaves) if ad.is_undefined_primal(leaf)]
    places = treedef.unflatten(range(len(leaves)))
    last = jax.tree.leaves(places[-1])
    if not rule.linear or not set(unknown) <= set(last):
        raise NotImplementedError(
            "a solve is linear in its right-hand side alone: it cannot be transposed in A or in its other arguments. "
            "Take jax.vjp or jax.grad instead of jax.linear_transpose."
        )
    given = [ct for ct in cotangents if type(ct) is not ad.Zero]

    def pulled(leaves, cotangents):
        ones = iter(cotangents)
        cotangents = [None if zero else next(ones) for zero in zeros]
        args = treedef.unflatten(leaves)[:-1]
        return jax.tree.leaves(rule.transposed(args, places[-1], cotangents))

    zeros = [type(ct) is ad.Zero for ct in cotangents]
    known = [None if k in last else leaf for k, leaf in enumerate(leaves)]
    for lane in lanes:
        axes = [None if k in last else axis for k, axis in enumerate(lane.axes)], 0
        pulled = _summed(
            jax.vmap(pulled, in_axes=axes, axis_size=lane.size, axis_name=lane.name),
            [lane.axes[k] for k in last],
        )
    found = dict(zip(last, pulled(known, given), strict=True))
    return [found[k] if k in unknown else None for k in range(len(leaves))]


def _summed(pulled: Any, axes: list[int | None]) -> Any:
    """What all lanes share gets the sum of their cotangents; other batch axes go where they were."""

    def pulled_and_summed(*args):
        return [
            ct.sum(0) if axis is None else jax.numpy.moveaxis(ct, 0, axis)
            for ct, axis in zip(pulled(*args), axes, strict=True)
        ]

    return pulled_and_summed


mlir.register_lowering(implicit_p, mlir.lower_fun(_compiled, multiple_results=True))
batching.fancy_primitive_batchers[implicit_p] = _batch
ad.primitive_jvps[implicit_p] = _push
ad.primitive_transposes[implicit_p] = _pull
