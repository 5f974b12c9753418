"""Limits: constraints as SciPy takes them, as one program lower <= c(x) <= upper."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array
from scipy.optimize import LinearConstraint, NonlinearConstraint

from jaxsolve.core.tree import Packing
from jaxsolve.nonlinear.differentiation_modes import differentiable
from jaxsolve.operators.program import Program, trace_program


@dataclasses.dataclass(frozen=True)
class Limits:
    """Constraints without the values that they close over. Static under jit.

    Attributes:
        program: c of (*constants, x), flat.
        lower: Lower limits of its values.
        upper: Upper limits.
    """

    program: Program
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def value(self, constants: tuple[Array, ...], x: Array) -> Array:
        """c(x)."""
        return self.program(*constants, x)[0]


def limits_of(constraints: Any, unknown: Packing, dtype: Any) -> tuple[Limits, tuple[Array, ...]]:
    """The limits, and what their functions close over.

    Args:
        constraints: One constraint or a sequence of them.
        unknown: The structure of x.
        dtype: The dtype of flat vectors.

    Raises:
        TypeError: If one is of another kind.
        ValueError: If one has no or another type.
    """
    several = list(constraints) if isinstance(constraints, list | tuple) else [constraints]
    if not several:
        raise ValueError("constraints is empty; for none pass constraints=None.")
    parts = [_part(one) for one in several]
    sizes: list[int] = []

    def flat(x: Array) -> Array:
        tree = unknown.unpack(x)
        values = []
        sizes.clear()
        for function, raveled, _, _ in parts:
            out = function(x if raveled else tree)
            leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(out)]
            if any(map(jnp.iscomplexobj, leaves)):
                raise TypeError("a constraint returned complex numbers; use its real and imaginary parts.")
            values.append(jnp.concatenate([leaf.astype(dtype) for leaf in leaves]))
            sizes.append(values[-1].shape[0])
        return jnp.concatenate(values)

    shape = jax.ShapeDtypeStruct((unknown.size,), dtype)
    program, constants, _ = trace_program(flat, shape)
    constants = tuple(jnp.asarray(c) for c in constants)
    program = differentiable(program, [*constants, shape])
    lower, upper = (
        tuple(
            float(v)
            for part, size in zip(parts, sizes, strict=True)
            for v in np.broadcast_to(np.asarray(part[side], float), (size,))
        )
        for side in (2, 3)
    )
    return Limits(program, lower, upper), constants


def _part(one: Any) -> tuple[Any, bool, Any, Any]:
    """The function, whether it takes the flat vector, and its limits."""
    if isinstance(one, LinearConstraint):
        matrix = np.atleast_2d(
            one.A if isinstance(one.A, np.ndarray) else scipy.sparse.csr_array(one.A).toarray()
        )
        return lambda x: jnp.asarray(matrix, x.dtype) @ x, True, one.lb, one.ub
    if isinstance(one, NonlinearConstraint):
        return one.fun, False, one.lb, one.ub
    if not isinstance(one, dict):
        raise TypeError(
            "constraints are dictionaries with 'type' and 'fun', or SciPy's NonlinearConstraint or LinearConstraint; "
            f"got {type(one).__name__}."
        )
    if one.get("type") not in ("eq", "ineq") or not callable(one.get("fun")):
        raise ValueError(
            f"a constraint needs 'type' ('eq' or 'ineq') and a function 'fun'; got {sorted(one)} with type "
            f"{one.get('type')!r}."
        )
    arguments = one.get("args", ())
    return lambda x: one["fun"](x, *arguments), False, 0.0, 0.0 if one["type"] == "eq" else np.inf
