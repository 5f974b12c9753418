"""Dense coupling: the matrix of one operation without a sparse rule, of those elements alone that it couples.

The block comes from the operation's own derivative, one product a column, under an entry budget. This is exact for
anything linear; positions that are always zero are kept, unless everything is known while compiling.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.core.compat import Equation, Tracer, bind, constants_as_arguments, is_known, is_transposable
from jaxsolve.core.errors import NotLinearError
from jaxsolve.operators.linearity import Degree, degree, derivative_is_constant
from jaxsolve.tracer import complex_parts, sums
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.known_values import known_result
from jaxsolve.tracer.products import contract
from jaxsolve.tracer.refusal import TooLarge, not_linear, place, unread
from jaxsolve.tracer.rule_registry import Scope, depends
from jaxsolve.tracer.value import Linear, is_zero

#: Entries of a dense block; at 2e7 it takes 80 MB and a second.
MOST_DENSE_ENTRIES = 20_000_000
#: Entries of a whole function by its products, where it can't be read piece by piece: 1000 products with 1000 unknowns.
MOST_WHOLE_ENTRIES = 1_000_000


def dense(
    scope: Scope,
    eqn: Equation,
    inputs: Sequence[Any],
    complex_linear: bool = False,
    wanted: Sequence[bool] | None = None,
) -> list[Any]:
    """The outputs of an equation by its dense matrix.

    Args:
        scope: The reading.
        eqn: An equation that is linear (up to an offset) in those of its inputs that depend on the unknown.
        inputs: Its inputs.
        complex_linear: Whether it is known to be linear over the complex numbers, not only over the real ones.
        wanted: Which outputs depend on the unknown, by default all; the others are computed.

    Raises:
        TooLarge: If the block exceeds `MOST_DENSE_ENTRIES`.
    """
    linear = [k for k, value in enumerate(inputs) if depends(value)]
    wanted = [True] * len(eqn.outvars) if wanted is None else list(wanted)
    outputs = [v.aval for v, want in zip(eqn.outvars, wanted, strict=True) if want]
    _check_budget(scope, eqn, [inputs[k] for k in linear], outputs)
    scope.note(f"`{eqn.primitive.name}` at {place(eqn, scope.enclosing)}: a dense block of its own elements")
    affine = any(x.affine if depends(x) else _shifts(x, v) for x, v in zip(inputs, eqn.invars, strict=True))
    pieces: list[list[Linear]] = [[] for _ in outputs]
    for k in linear:
        x = inputs[k]
        halves = [(x, 1)]
        if complex_parts.is_complex(x.dtype) and not (complex_linear or _over_complex(eqn, inputs)):
            precision = np.finfo(x.dtype).dtype
            halves = [
                (complex_parts.real(scope, x, precision), 1),
                (complex_parts.imag(scope, x, precision), 1j),
            ]
        for half, direction in halves:
            blocks = [OPAQUE] * len(outputs) if scope.opaque else _blocks(eqn, inputs, k, direction, wanted)
            axes = list(range(len(x.shape)))
            for piece, block, out in zip(pieces, blocks, outputs, strict=True):
                known = [len(out.shape) + a for a in axes]
                shape = (*out.shape, *x.shape)
                piece.append(contract(half, block, shape, (axes, known, [], []), out.dtype))
    found = iter([sums.add(piece, out.dtype, affine) for piece, out in zip(pieces, outputs, strict=True)])
    others = iter([] if all(wanted) else known_outputs(scope, eqn, inputs, wanted))
    return [next(found) if want else next(others) for want in wanted]


def _over_complex(eqn: Equation, inputs: Sequence[Any]) -> bool:
    """Whether an equation of JAX's says of itself that it is linear over the complex numbers."""
    if not is_known(eqn.primitive.name):
        return False
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    program = jax.make_jaxpr(lambda *values: bind(eqn, list(values)))(*shapes)
    try:
        found = degree(program, [Degree.linear if depends(v) else Degree.constant for v in inputs], True)
    except NotLinearError:
        return False
    return max(found, default=Degree.zero) <= Degree.affine


def known_outputs(scope: Scope, eqn: Equation, inputs: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
    """The outputs that do not depend on the unknown, computed with any numbers in its place."""
    values = [
        np.zeros(v.aval.shape, v.aval.dtype) if depends(x) else x
        for x, v in zip(inputs, eqn.invars, strict=True)
    ]
    return [y for y, want in zip(known_result(eqn, values), wanted, strict=True) if not want]


def _shifts(known: Any, variable: Any) -> bool:
    return complex_parts.is_inexact(variable.aval.dtype) and not is_zero(known)


def _check_budget(scope: Scope, eqn: Equation, xs: Sequence[Linear], outputs: Sequence[Any]) -> None:
    rows = sum(math.prod(out.shape) for out in outputs)
    entries = rows * sum(x.entries for x in xs)
    if entries > MOST_DENSE_ENTRIES:
        raise TooLarge(
            f"`{eqn.primitive.name}` at {place(eqn, scope.enclosing)} couples all its elements: its matrix would "
            f"have {entries:.1e} entries (limit {MOST_DENSE_ENTRIES:.0e}). Keep this operator matrix-free: pass "
            "the function without a preconditioner that needs entries."
        )


def _blocks(
    eqn: Equation, inputs: Sequence[Any], k: int, direction: complex, wanted: list[bool]
) -> list[Any]:
    """For each wanted output, its derivative by input k: shape (*output, *input)."""
    aval = eqn.invars[k].aval
    size = math.prod(aval.shape)

    def basis() -> list[Any]:
        seeds = jnp.eye(size, dtype=aval.dtype) * direction
        return [seeds.astype(aval.dtype).reshape(size, *aval.shape)]

    products = derivatives(eqn, inputs, [k], basis, wanted)
    return [p.transpose([*range(1, p.ndim), 0]).reshape(*p.shape[1:], *aval.shape) for p in products]


def derivatives(
    eqn: Equation,
    inputs: Sequence[Any],
    along: Sequence[int],
    directions: Callable[[], list[Any]],
    wanted: Sequence[bool],
) -> list[Any]:
    """Derivatives of the wanted outputs along many directions at once, on the host where all inputs are.

    Args:
        eqn: The equation.
        inputs: Its inputs.
        along: The inputs that move.
        directions: Computes, for each of these, an array of shape (directions, *input).
        wanted: Which outputs.

    Returns:
        Arrays of shape (directions, *output).
    """
    avals = [v.aval for v in eqn.invars]

    def compute() -> list[Any]:
        values = [
            jnp.zeros(a.shape, a.dtype) if depends(v) else jnp.asarray(v, a.dtype) if is_host(v) else v
            for v, a in zip(inputs, avals, strict=True)
        ]

        def applied(*moving: Any) -> list[Any]:
            every = list(values)
            for k, value in zip(along, moving, strict=True):
                every[k] = value
            return [y for y, want in zip(bind(eqn, every), wanted, strict=True) if want]

        def product(*tangents: Any) -> list[Any]:
            return jax.jvp(applied, tuple(values[k] for k in along), tangents)[1]

        try:
            return jax.vmap(product)(*directions())
        except NotImplementedError:
            # A primitive that cannot be batched: one product after another.
            return lax.map(lambda tangents: product(*tangents), tuple(directions()))

    if not all(depends(v) or is_host(v) for v in inputs):
        return compute()
    with jax.ensure_compile_time_eval():
        return [np.asarray(p) for p in compute()]


def whole(
    jaxpr: Any, unknowns: Sequence[Linear], values: Sequence[Any], complex_input: bool
) -> list[Any] | None:
    """The outputs of a jaxpr of (*unknowns, *values) by one dense block, a product for each unknown.

    None where that would be more than a reading is worth, or where nothing says that the jaxpr is linear.
    """
    degrees = [Degree.linear] * len(unknowns) + [Degree.constant] * len(values)
    function, constants = constants_as_arguments(jaxpr)
    inputs = [*map(_on_host, constants), *unknowns, *values]
    shapes = [jax.ShapeDtypeStruct(np.shape(v), v.dtype) for v in (*constants, *unknowns, *values)]
    try:
        found = degree(jaxpr, degrees, complex_input)
    except NotLinearError:
        return None
    wanted = [d.depends for d in found]
    outputs = jax.eval_shape(function, *shapes)
    rows = sum(math.prod(out.shape) for out, want in zip(outputs, wanted, strict=True) if want)
    if max(found) > Degree.affine or rows * sum(x.size for x in unknowns) > MOST_WHOLE_ENTRIES:
        return None
    (eqn,) = jax.make_jaxpr(jax.jit(function))(*shapes).jaxpr.eqns
    scope = Scope(not complex_input)
    results = dense(scope, eqn, inputs, complex_linear=complex_input, wanted=wanted)
    return [
        dataclasses.replace(y, affine=d > Degree.linear) if want else y
        for y, d, want in zip(results, found, wanted, strict=True)
    ]


def _on_host(constant: Any) -> Any:
    """A constant on the host, unless it is traced or a random key."""
    stays = isinstance(constant, Tracer) or jnp.issubdtype(constant.dtype, jax.dtypes.extended)
    return constant if stays else np.asarray(constant)


def dense_if_linear(scope: Scope, eqn: Equation, inputs: Sequence[Any]) -> list[Linear]:
    """The outputs of an operation without a rule, if JAX itself knows that it is linear.

    Raises:
        NotLinearError: If JAX cannot transpose it, or its derivative depends on the point.
        TraceError: If it is nothing of JAX.
    """
    linear = [k for k, value in enumerate(inputs) if depends(value)]
    # round, floor and sign have a constant derivative (zero) too: only what can be transposed is linear.
    if not is_transposable(eqn.primitive) or not derivative_is_constant(eqn, linear):
        if not is_known(eqn.primitive.name):
            unread(eqn, scope.enclosing)
        not_linear(eqn, scope.enclosing, "is not a linear operation, and its input depends on that argument")
    return dense(scope, eqn, inputs)
