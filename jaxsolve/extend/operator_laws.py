"""The laws of operators: linear, with exact transposes, diagonals and entries, true traits, and pytrees."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.extend.findings import Law, apart, require, rounding
from jaxsolve.extend.reference_problems import vector
from jaxsolve.operators.operator import LinearOperator

#: Rounding units that products may differ by.
UNITS = 1e4


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """An operator, and the matrix of its products with unit vectors."""

    operator: LinearOperator

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """The products with unit vectors, as columns."""
        A = self.operator
        return np.asarray(jax.jit(jax.vmap(A.mv, out_axes=1))(jnp.eye(A.shape[1], dtype=A.dtype)))

    def equals(self, found: Any, expected: Any, text: str) -> str:
        """Requires that two arrays are the same up to rounding."""
        error = apart(found, expected)
        require(error <= rounding(self.operator.dtype, UNITS), f"{text} differs by {error:.1e} relatively.")
        return f"to {error:.0e}"


def _linear(s: Subject) -> str:
    A = s.operator
    x, y = (jnp.asarray(vector(A.shape[1], seed, A.dtype)) for seed in (1, 2))
    product = A.mv(x)
    require(
        product.shape == (A.shape[0],) and product.dtype == A.dtype,
        f"shape {A.shape} and dtype {A.dtype} are declared; mv returns {product.dtype} of shape {product.shape}.",
    )
    s.equals(A.mv(3 * x - 2 * y), 3 * product - 2 * A.mv(y), "A(3x - 2y) from 3Ax - 2Ay")
    return s.equals(product, s.matrix @ np.asarray(x), "A x from the sum of its columns")


def _transpose(s: Subject) -> str:
    A, unit = s.operator, jnp.eye(s.operator.shape[0], dtype=s.operator.dtype)
    for what, form, expected in (("Aᵀ", A.T, s.matrix.T), ("Aᴴ", A.H, s.matrix.conj().T)):
        require(form.shape == A.shape[::-1], f"the shape of {what} is {form.shape}, that of A {A.shape}.")
        found = jax.jit(jax.vmap(form.mv, out_axes=1))(unit)
        seen = s.equals(found, expected, f"⟨y, A x⟩ is not ⟨{what} y, x⟩: {what} from that of the products")
    return seen


def _diagonal(s: Subject) -> str:
    return s.equals(s.operator.diagonal(), np.diagonal(s.matrix), "`diagonal` from that of the products")


def _entries(s: Subject) -> str:
    s.equals(s.operator.as_matrix(), s.matrix, "`as_matrix` from the products")
    entries = getattr(s.operator, "entries", None)
    found: Any = entries() if callable(entries) else None
    if found is None:
        return "as_matrix"
    return "entries " + s.equals(found.as_matrix(), s.matrix, "`entries` from the products")


def _layout(s: Subject) -> str:
    A = s.operator.layout()
    unit = jnp.eye(A.shape[1], dtype=A.dtype)
    return s.equals(
        jax.vmap(A.mv, out_axes=1)(unit), s.matrix, "the product of `layout` from that of the operator"
    )


def _traits(s: Subject) -> str | None:
    names, A = s.operator.traits.names(), s.matrix
    near = {
        "symmetric": A.T,
        "hermitian": A.conj().T,
        "positive_definite": A.conj().T,
        "lower": np.tril(A),
        "upper": np.triu(A),
        "diagonal": np.diag(np.diagonal(A)) if A.shape[0] == A.shape[1] else A,
    }
    for name in names:
        s.equals(A, near[name], f"`traits` say {name}; A from what it were then")
    if "positive_definite" in names:
        least = float(np.linalg.eigvalsh(A)[0])
        require(least > 0, f"`traits` say positive definite; the smallest eigenvalue is {least:.1e}.")
    return ", ".join(names) or None


def _pytree(s: Subject) -> str:
    A = s.operator
    leaves, structure = jax.tree.flatten(A)
    back = jax.tree.unflatten(structure, leaves)
    x = jnp.asarray(vector(A.shape[1], 5, A.dtype))
    require(
        (back.shape, back.dtype, back.traits) == (A.shape, A.dtype, A.traits),
        "shape, dtype or traits change when it is flattened and put together again.",
    )
    s.equals(jax.jit(lambda A, x: A.mv(x))(A, x), A.mv(x), "A x with A as an argument of a compiled function")
    return f"{len(leaves)} arrays"


OPERATOR_LAWS = (
    Law("products are linear", _linear, "`mv`, `shape` and `dtype`."),
    Law("transpose and adjoint are exact", _transpose, "`transpose`, `adjoint` and `conj`."),
    Law("the diagonal is that of the products", _diagonal, "`diagonal`."),
    Law("entries are those of the products", _entries, "`as_matrix` and `entries`."),
    Law("the layout is the same map", _layout, "`layout`."),
    Law("traits are true", _traits, "`traits`."),
    Law("it is a pytree", _pytree, "fields: arrays are leaves, all else eqx.field(static=True)."),
)
