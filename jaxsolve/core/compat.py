"""What JAX may move: the layout of jaxprs and equations, each read here and nowhere else."""

import importlib
import importlib.util
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import jaxlib
from jax import lax
from jax.core import Tracer
from jax.experimental import sparse
from jax.extend import core
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var, jaxpr_as_fun
from jax.extend.core import primitives as prims
from jax.interpreters import ad

__all__ = [
    "ClosedJaxpr",
    "Equation",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Primitive",
    "Tracer",
    "Var",
    "bind",
    "called",
    "can_be_ordered",
    "constants_as_arguments",
    "function_of",
    "is_known",
    "is_transposable",
    "lifted",
    "open_jaxpr",
    "optimization_barrier_p",
    "placed_as",
    "prims",
    "scan_parts",
    "scatter_function",
    "scatter_sub_p",
    "source_lines",
    "sparse_dot_p",
    "sparse_rows_dot_p",
    "sparse_transpose_p",
    "split_p",
    "stack_p",
    "tile_p",
    "unstack_p",
    "while_parts",
]

# Primitives that `jax.extend.core.primitives` leaves out.
split_p: Primitive = lax.split_p
stack_p: Primitive = lax.stack_p
unstack_p: Primitive = lax.unstack_p
tile_p: Primitive = lax.tile_p
scatter_sub_p: Primitive = lax.scatter_sub_p
optimization_barrier_p: Primitive = lax.optimization_barrier_p
sparse_dot_p: Primitive = sparse.bcoo_dot_general_p
sparse_rows_dot_p: Primitive = sparse.bcsr_dot_general_p
sparse_transpose_p: Primitive = sparse.bcoo_transpose_p

_CALLS: dict[Primitive, str] = {
    prims.jit_p: "jaxpr",
    prims.closed_call_p: "call_jaxpr",
    prims.call_p: "call_jaxpr",
    prims.remat_p: "jaxpr",
    prims.custom_jvp_call_p: "call_jaxpr",
    prims.custom_vjp_call_p: "call_jaxpr",
}

#: `JaxprEqn`; its variables are typed as abstract values, which know neither shape nor dtype.
Equation = Any

_OWN = pathlib.Path(__file__).parents[1]
_INTERNAL = (
    str(_OWN),
    *(str(pathlib.Path(str(package.__file__)).parent) for package in (jax, jaxlib, equinox)),
)


def open_jaxpr(jaxpr: Any) -> tuple[Jaxpr, Sequence[Any]]:
    """The equations of a closed or open jaxpr, and the values of its constants."""
    # Since JAX 0.12 the two types are one; before, remat holds an open jaxpr without constants.
    if isinstance(jaxpr, ClosedJaxpr):
        return jaxpr.jaxpr, jaxpr.consts
    return jaxpr, ()


def constants_as_arguments(jaxpr: Any) -> tuple[Callable[..., list[Any]], list[Any]]:
    """A function of (*constants, *arguments) that evaluates a closed jaxpr, and its constants."""
    return jaxpr_as_fun(lifted(jaxpr)), list(open_jaxpr(jaxpr)[1])


def lifted(jaxpr: Any) -> ClosedJaxpr:
    """A closed jaxpr with its constants as leading inputs."""
    inner, _ = open_jaxpr(jaxpr)
    variables = [*inner.constvars, *inner.invars]
    return ClosedJaxpr(
        inner.replace(constvars=[], invars=variables, debug_info=_no_names(inner, len(variables))), []
    )


def _no_names(jaxpr: Jaxpr, count: int) -> Any:
    return jaxpr.debug_info._replace(arg_names=("",) * count)


def function_of(jaxpr: Any) -> Callable[..., list[Any]]:
    """The Python function that evaluates a jaxpr."""
    inner, constants = open_jaxpr(jaxpr)
    return jaxpr_as_fun(ClosedJaxpr(inner, list(constants)))


def bind(eqn: Equation, values: Sequence[Any]) -> list[Any]:
    """The outputs of an equation for these inputs."""
    outputs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def called(eqn: Equation) -> Any:
    """The jaxpr that an equation does nothing but call (with all its inputs), or None."""
    if eqn.primitive in _CALLS:
        return eqn.params[_CALLS[eqn.primitive]]
    # No public name; its parameter was renamed in JAX 0.12.
    if eqn.primitive.name == "composite":
        return eqn.params["call_jaxpr" if "call_jaxpr" in eqn.params else "jaxpr"]
    return None


def scatter_function(eqn: Equation) -> Callable[..., list[Any]] | None:
    """What a `scatter` equation makes of an element and its update, None where it puts the update there."""
    jaxpr = eqn.params["update_jaxpr"]
    if jaxpr is None or (not jaxpr.eqns and jaxpr.outvars[0] is jaxpr.invars[1]):
        return None
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, list(eqn.params["update_consts"])))


def scan_parts(eqn: Equation) -> tuple[int, int]:
    """How many constants and how many carried values a `scan` equation has; its further inputs are stepped over."""
    if "num_consts" in eqn.params:
        return eqn.params["num_consts"], eqn.params["num_carry"]
    # JAX 0.11 replaced the two numbers by trees of the inputs.
    constants, carry, _ = eqn.params["ft_in"].unpack()
    return len(constants), len(carry)


def while_parts(eqn: Equation) -> tuple[int, int]:
    """How many constants the condition and the body of a `while` equation have; its further inputs are carried."""
    return eqn.params["cond_nconsts"], eqn.params["body_nconsts"]


def is_transposable(primitive: Primitive) -> bool:
    """Whether JAX has a transposition rule, so that the primitive is linear in some of its inputs."""
    return primitive in ad.primitive_transposes


def placed_as(v: Any, model: Any) -> Any:
    """v, placed on the devices of a mesh as a traced model is.

    JAX 0.12 has no `shard_alike` any more: from there on the compiler places v.
    """
    name = "jax.experimental.shard_alike"
    if importlib.util.find_spec(name) is None:
        return v
    return importlib.import_module(name).shard_alike(v, model)[0]


def can_be_ordered() -> bool:
    """Whether a program that is being traced here may hold an ordered callback.

    XLA of JAX 0.12 moves a function without arguments to where it is called, and makes its constants wait for the
    callback before. It removes such constants later, and finds that it must not: the process ends. So there may be no
    ordered callback in a function that has no argument yet and reads no traced value of another.
    """
    if jax.__version_info__ < (0, 12):
        return True
    with_arguments = [_has_arguments(frame) for frame in _open_frames()]
    return bool(with_arguments) and all(with_arguments)


def _open_frames() -> list[Any]:
    """What JAX knows of the functions that are being traced, innermost first."""
    trace, frames = getattr(jnp.zeros(()), "_trace", None), []
    while trace is not None:
        frames.append(getattr(trace, "frame", None))
        trace = getattr(trace, "parent_trace", None)
    return [frame for frame in frames if frame is not None]


def _has_arguments(frame: Any) -> bool:
    read = getattr(frame, "constvar_to_val", {})
    return bool(getattr(frame, "invars", ())) or any(isinstance(value, Tracer) for value in read.values())


def source_lines(eqn: Equation) -> str:
    """The innermost line of the user's own code that made an equation, as `file:line (function)`, or ''."""
    traceback = eqn.source_info.traceback
    for frame in [] if traceback is None else traceback.frames:
        if not frame.file_name.startswith(_INTERNAL) and not frame.file_name.startswith("<"):
            return f"{frame.file_name}:{frame.line_num} ({frame.function_name})"
    return ""


def is_known(name: str) -> bool:
    """Whether a primitive of this name is JAX's own arithmetic, and not a kernel, a callback or another package's."""
    return name in _KNOWN


def primitives_named() -> dict[str, Primitive]:
    """All primitives that JAX lists publicly, by attribute name."""
    return {name: value for name, value in vars(core.primitives).items() if name.endswith("_p")}


#: Host or foreign code, of which nothing can be read.
_FOREIGN = {"pure_callback", "buffer_callback", "io_callback", "ffi_call", "shard_map"}
_HERE = [value for value in globals().values() if isinstance(value, Primitive)]
_KNOWN = {primitive.name for primitive in (*primitives_named().values(), *_HERE)} - _FOREIGN
