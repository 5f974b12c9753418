"""The laws of tracing rules: what is read of a function equals what the function does."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsolve.core.compat import Primitive
from jaxsolve.extend.findings import Law, apart, require, rounding
from jaxsolve.extend.reference_problems import precision, vector
from jaxsolve.tracer.assembly import matrix_from_function

#: Rounding units that entries may differ by.
UNITS = 1e3


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A primitive, and functions in which it occurs: (f, x, *parameters)."""

    primitive: Primitive
    examples: tuple[tuple[Any, ...], ...]

    @staticmethod
    def of(primitive: Primitive, examples: tuple[Any, ...]) -> "Subject":
        """The subject with the given examples, or with the primitive applied to a vector and to a matrix.

        Raises:
            TypeError: If there is no example and the primitive cannot be applied to an array alone.
        """
        found = tuple(example if isinstance(example, tuple) else (example,) for example in examples)
        if not found:
            dtype = precision()
            found = tuple((primitive.bind, jnp.zeros(shape, dtype)) for shape in ((6,), (3, 4)))
            found = tuple(example for example in found if _applies(*example))
        if not found or not all(len(example) > 1 and callable(example[0]) for example in found):
            raise TypeError(
                f"the rule of `{primitive}` is checked on functions in which it occurs: extend.check(rule, (f, x)) "
                "with an array x, or (f, x, *parameters)."
            )
        return Subject(primitive, found)


def _applies(f: Callable[..., Any], x: Any) -> bool:
    try:
        return jax.eval_shape(f, x) is not None
    # Whatever a primitive raises that cannot be applied to this: it is not an example then.
    except Exception:
        return False


def _columns(f: Callable[..., Any], x: Any, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    """f(e_j) - f(0) for each unit vector, evaluated one by one, and f(0)."""
    flat, unravel = ravel_pytree(x)

    def of(v: Any) -> np.ndarray:
        return np.asarray(ravel_pytree(f(unravel(v), *parameters))[0])

    offset = of(jnp.zeros_like(flat))
    unit = np.eye(flat.size)
    return np.stack([of(jnp.asarray(row, flat.dtype)) - offset for row in unit], axis=1), offset


def _entries(s: Subject) -> str:
    seen = []
    for f, x, *parameters in s.examples:
        _occurs(s, f, x, parameters)
        A, offset = matrix_from_function(f, x, *parameters)
        expected, shift = _columns(f, x, parameters)
        found = np.asarray(A.todense())
        error = apart(found, expected)
        i, j = np.unravel_index(np.argmax(np.abs(found - expected)), expected.shape)
        require(
            error <= rounding(expected.dtype, UNITS),
            f"the matrix that is read differs from the dense Jacobian by {error:.1e} relatively; entry ({i}, {j}) is "
            f"{found[i, j]:.6g}, f gives {expected[i, j]:.6g}.",
        )
        error = apart(ravel_pytree(offset)[0], shift)
        require(
            error <= rounding(expected.dtype, UNITS), f"the offset f(0) differs by {error:.1e} relatively."
        )
        seen.append(f"{A.shape[0]} x {A.shape[1]}, {A.nse} entries")
    return "; ".join(seen)


def _occurs(s: Subject, f: Any, x: Any, parameters: Any) -> None:
    text = str(jax.make_jaxpr(f)(x, *parameters))
    require(
        s.primitive.name in text, f"the primitive does not occur in the example {getattr(f, '__name__', f)}."
    )


def _values(s: Subject, of: Callable[..., Any]) -> Any:
    """The entries of the matrix as a function of a factor of x and of the parameters."""
    f, x, *parameters = s.examples[0]

    def entries(factor: Any) -> Any:
        scaled = [p * factor if _is_number(p) else p for p in parameters]
        A = matrix_from_function(lambda x, *p: f(jax.tree.map(lambda v: factor * v, x), *p), x, *scaled)[0]
        return A.data

    return of(entries)


def _is_number(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.inexact)


def _traced(s: Subject) -> str:
    factor = jnp.asarray(1.5, precision())
    alone, traced = _values(s, lambda entries: (entries(factor), jax.jit(entries)(factor)))
    error = apart(traced, alone)
    require(
        error <= rounding(precision(), UNITS),
        f"entries with traced factors differ by {error:.1e} relatively.",
    )
    return f"to {error:.0e}"


def _lanes(s: Subject) -> str:
    factors = jnp.asarray(vector(3, 8, precision()))
    many, alone = _values(
        s, lambda entries: (jax.vmap(entries)(factors), jnp.stack([jax.jit(entries)(f) for f in factors]))
    )
    error = apart(many, alone)
    require(error <= rounding(precision(), UNITS), f"entries of lanes differ by {error:.1e} relatively.")
    return "3 lanes"


def _gradient(s: Subject) -> str:
    def both(entries: Callable[..., Any]) -> tuple[Any, Any]:
        weights = jnp.asarray(vector(entries(jnp.asarray(1.5)).size, 9, precision()))
        value = jax.jit(lambda factor: jnp.sum(weights * entries(factor)))
        # A polynomial of low degree in the factor: differences of this width are exact enough.
        h = 1e-3 if precision() == np.float64 else 3e-2
        point = jnp.asarray(1.5, precision())
        return jax.grad(value)(point), (value(point + h) - value(point - h)) / (2 * h)

    found, expected = (float(v) for v in _values(s, both))
    limit = 1e-4 if precision() == np.float64 else 1e-2
    require(
        abs(found - expected) <= limit * max(abs(expected), 1e-3),
        f"the derivative of the entries in a factor is {found:.6g}, differences give {expected:.6g}.",
    )
    return f"{found:.4g}"


RULE_LAWS = (
    Law(
        "the matrix that is read is the dense Jacobian",
        _entries,
        "the rule: what it leaves out, or moves.",
    ),
    Law("traced factors give what constants give", _traced, "NumPy on factors in the rule."),
    Law(
        "lanes of a vmap are what each is alone", _lanes, "shapes in the rule; factors with an axis too many."
    ),
    Law(
        "entries are differentiable",
        _gradient,
        "factors that pass through NumPy or stop_gradient in the rule.",
    ),
)
