"""FunctionOperator: a Python function that is linear or affine in its first argument."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.compat import is_known
from jaxsolve.core.errors import NotLinearError, StructureError
from jaxsolve.core.memo import compiled
from jaxsolve.core.shards import axes_of, joined_axes, like, varying
from jaxsolve.core.staging import is_traced, staged
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import Packing, common, typed
from jaxsolve.core.vector import scattered
from jaxsolve.operators.linearity import Degree, degree
from jaxsolve.operators.operands import on_parts
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.program import Program, separated, trace_program

#: Functions of these alone read each number once for each vector, however many there are.
STREAMING = frozenset([
    "jit", "pjit", "add", "add_any", "sub", "neg", "mul", "div", "integer_pow", "reshape", "broadcast_in_dim",
    "transpose", "squeeze", "rev", "slice", "concatenate", "pad", "convert_element_type", "copy", "select_n", "iota",
    "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "real", "imag", "conj", "complex", "abs", "max", "min",
    "sign", "square", "pow", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "tanh", "gather", "scatter", "scatter-add",
    "dynamic_slice", "dynamic_update_slice", "reduce_sum", "reduce_max", "cumsum",
])  # fmt: skip


class FunctionOperator(LinearOperator):
    """The linear part of a traced function of a flat vector.

    Args:
        program: The function as a program of (*parameters, x).
        parameters: What the function closes over and its further arguments; gradients reach them.
        offset: The function's value at zero where only subtraction of it gives the linear part, else None.
        affine: Whether the linear part is taken as the function's derivative.
        size: (m, n).
        kind: Dtype of vectors.
    """

    program: Program = eqx.field(static=True)
    parameters: tuple[Array | np.ndarray, ...]
    offset: Array | None
    affine: bool = eqx.field(static=True)
    size: tuple[int, int] = eqx.field(static=True)
    kind: Any = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size

    @property
    def dtype(self) -> Any:
        """The dtype of vectors."""
        return jnp.dtype(self.kind)

    @property
    def traits(self) -> Traits:
        """Nothing is known."""
        return Traits()

    def mv(self, x: Array) -> Array:
        """The linear part of the function at x."""
        if jnp.iscomplexobj(x) and not jnp.issubdtype(self.kind, jnp.complexfloating):
            # The program was traced with real vectors.
            return on_parts(self.mv, x)
        if self.offset is not None:
            return self.value(x) - self.offset
        if not self.affine:
            return self.value(x)
        # For an affine f the derivative is the linear part, and the value at zero drops out of the program.
        x = varying(x, self._axes)
        return jax.jvp(self.value, (varying(jnp.zeros_like(x), axes_of(x)),), (x,))[1]

    @property
    def lanes_share_nothing(self) -> bool:
        """Whether the function does nothing but what streams."""
        return self.program.primitives <= STREAMING

    def value(self, x: Array) -> Array:
        """The function itself at x, its constant included."""
        (y,) = self.program(*self.parameters, typed(varying(x, self._axes), self.kind))
        return y

    @property
    def _axes(self) -> frozenset[str]:
        """The axes of a mesh over which the program takes x to vary, inside `shard_map`."""
        return axes_of(self.program.jaxpr.in_avals[-1])


def function_operator(
    f: Callable[..., Any],
    unknown: Packing,
    rhs: Packing,
    dtype: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    axes: frozenset[str] = frozenset(),
) -> tuple[FunctionOperator, Array | None]:
    """A function as an operator on flat vectors, and its constant part.

    Args:
        f: f(x, *args, **kwargs), linear or affine in the pytree x.
        unknown: The structure of x.
        rhs: The structure that f returns.
        dtype: The dtype wanted for the vectors; widened to what f returns.
        args: Further arguments; floats and arrays in them are traced, so that new values retrace nothing.
        kwargs: The same by name.
        axes: The axes of a mesh over which x varies, inside `shard_map`.

    Returns:
        The operator, and f(0) as a flat vector, None where f is linear.

    Raises:
        StructureError: If f does not return the structure of the right-hand side.
        NotLinearError: If f is not affine.
    """
    values, merged = separated(args, kwargs)

    def flat(values: list[Array], x: Array) -> Array:
        args, kwargs = merged(values)
        y = f(unknown.unpack(x), *args, **kwargs)
        check_output(f, y, rhs)
        return rhs.pack(y, rhs.vector_dtype(dtype, *(leaf.dtype for leaf in jax.tree.leaves(y))))

    axes = axes.union(joined_axes(), *map(axes_of, values))
    shapes = [like(v.shape, v.dtype, axes_of(v)) for v in values]
    x = like((unknown.size,), dtype, axes)
    program, constants, out = trace_program(flat, shapes, x)
    if out.dtype != dtype:
        wide = common(out.dtype, dtype)
        return function_operator(f, unknown.widened(wide), rhs, wide, args, kwargs, axes)
    if axes_of(out) - axes:
        # x varies over what f closes over, too.
        return function_operator(f, unknown, rhs, dtype, args, kwargs, axes | axes_of(out))
    parameters = tuple(
        c if isinstance(c, np.ndarray) and not c.ndim else jnp.asarray(c) for c in (*constants, *values)
    )
    inputs = [Degree.constant] * len(parameters) + [Degree.linear]
    (found,) = degree(program.jaxpr, inputs, jnp.issubdtype(dtype, jnp.complexfloating))
    size = (rhs.size, unknown.size)
    linear = found in (Degree.zero, Degree.linear)
    operator = FunctionOperator(program, parameters, None, not linear, size, jnp.dtype(dtype))
    if linear:
        return operator, None
    offset = _at_zero(operator)
    if found == Degree.opaque:
        operator = FunctionOperator(program, parameters, offset, False, size, jnp.dtype(dtype))
        _check_linear(operator)
    return operator, offset


@compiled
def _at_zero(operator: FunctionOperator) -> Array:
    return operator.value(jnp.zeros(operator.shape[1], operator.dtype))


def _check_linear(operator: FunctionOperator) -> None:
    """Tries a function that holds what can't be read on two vectors, where that can be done at once.

    In a program there is no looking at numbers: there, only the true residual of the solution tells.

    Raises:
        NotLinearError: If it does not map their combination to that of their images.
    """
    n, dtype = operator.shape[1], operator.dtype
    if staged() or is_traced(operator):
        return
    gap, size = _combined(operator, scattered(n, dtype))
    # Kernels may round more than the dtype does. What is more nearly linear than this is solved to its true residual.
    if bool(gap > jnp.finfo(dtype).eps ** (1 / 3) * size):
        unread = ", ".join(sorted(name for name in operator.program.primitives if not is_known(name)))
        raise NotLinearError(
            "the function is not linear in its first argument: of two vectors, f(u + c v) differs from f(u) + c (f(v) "
            f"- f(0)) by {float(gap):.1e} beside {float(size):.1e}. It holds what can't be read ({unread}), so it was "
            "tried. Solve nonlinear equations with js.solve_nonlinear, or linearise with js.linearize_operator(f, x0); "
            "what is linear up to a coarser rounding can be a js.LinearOperator, which is not tried."
        )


@compiled
def _combined(operator: FunctionOperator, u: Array) -> tuple[Array, Array]:
    """How far the image of a combination is from the combination of images, and the size of these."""
    v = u[::-1]
    factor = 2j if jnp.iscomplexobj(u) else 2.0
    images = [operator.mv(u), operator.mv(v), operator.mv(u + factor * v)]
    gap = jnp.max(jnp.abs(images[2] - images[0] - factor * images[1]), initial=0)
    sizes = [jnp.max(jnp.abs(image), initial=0) for image in (*images, operator.value(0 * u))]
    return gap, sizes[0] + sizes[1] + sizes[2] + sizes[3]


def check_output(f: Callable[..., Any], y: Any, rhs: Packing) -> None:
    """Raises `StructureError` unless y, which f returned, has the structure of the right-hand side."""
    found = Packing.of(jax.tree.map(lambda v: v if hasattr(v, "shape") else jnp.asarray(v), y))
    if not rhs.fits(found):
        name = getattr(f, "__name__", "the function")
        raise StructureError(
            f"{name} returned {found}, but the right-hand side is {rhs}. It must return the structure of b; "
            "give x0 if the unknown has another structure than b."
        )
