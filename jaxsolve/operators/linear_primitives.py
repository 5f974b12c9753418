"""Linear primitives: in which of their operands JAX's operations are linear, and what they do with the others.

Two judges read this one table: `linearity`, which says whether a program is linear, and the tracer, which reads its
matrix. What holds programs of its own (loops, branches, calls) is judged by what these do.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxsolve.core.compat import (
    Primitive,
    optimization_barrier_p,
    prims,
    scatter_sub_p,
    sparse_dot_p,
    sparse_rows_dot_p,
    split_p,
    stack_p,
    tile_p,
    unstack_p,
)


class Fact(NamedTuple):
    """In which operands a primitive is linear, the others held.

    Attributes:
        places: These operands.
        together: Whether it is linear in all of them together, as a sum is, or in one of them at a time, as a product.
        objection: What it does that is not linear, where the unknown `{}` is elsewhere or in several factors.
        parts: Whether it takes complex numbers apart, so that it is linear over the real numbers only.
    """

    places: slice = slice(None)
    together: bool = True
    objection: str = ""
    parts: bool = False


_SUM = Fact()
_MULTIPLIES = "multiplies two values that both depend on {}"
_INDEXES = "uses indices that depend on {}"
_SOLVES = "solves with a matrix that depends on {}"

FACTS: dict[Primitive, Fact] = {
    # Sums, copies and movements: f(x, y) = f(x, 0) + f(0, y).
    prims.add_p: _SUM,
    prims.add_jaxvals_p: _SUM,
    prims.sub_p: _SUM,
    prims.neg_p: _SUM,
    prims.reshape_p: _SUM,
    prims.broadcast_in_dim_p: _SUM,
    prims.transpose_p: _SUM,
    prims.squeeze_p: _SUM,
    prims.rev_p: _SUM,
    prims.slice_p: _SUM,
    prims.concatenate_p: _SUM,
    prims.pad_p: _SUM,
    prims.reduce_sum_p: _SUM,
    prims.reduce_window_sum_p: _SUM,
    prims.cumsum_p: _SUM,
    prims.copy_p: _SUM,
    prims.reduce_precision_p: _SUM,
    prims.complex_p: _SUM,
    prims.device_put_p: _SUM,
    prims.sharding_constraint_p: _SUM,
    prims.name_p: _SUM,
    prims.psum_p: _SUM,
    prims.all_gather_p: _SUM,
    prims.ppermute_p: _SUM,
    split_p: _SUM,
    stack_p: _SUM,
    unstack_p: _SUM,
    tile_p: _SUM,
    optimization_barrier_p: _SUM,
    # Over the real numbers: conj(i x) is not i conj(x).
    prims.real_p: Fact(parts=True),
    prims.imag_p: Fact(parts=True),
    prims.conj_p: Fact(parts=True),
    # Whether these take complex numbers apart is seen from the dtypes (`fact_of`).
    prims.fft_p: _SUM,
    prims.convert_element_type_p: _SUM,
    # Products: f(x, y) is linear in x where y is held, and in y where x is.
    prims.mul_p: Fact(slice(0, 2), False, _MULTIPLIES),
    prims.dot_general_p: Fact(slice(0, 2), False, _MULTIPLIES),
    prims.conv_general_dilated_p: Fact(slice(0, 2), False, "convolves two values that both depend on {}"),
    sparse_dot_p: Fact(slice(0, 3, 2), False, _MULTIPLIES),
    sparse_rows_dot_p: Fact(slice(0, 4, 3), False, _MULTIPLIES),
    # Linear in some operands together; indices, conditions, divisors and matrices are held.
    prims.div_p: Fact(slice(0, 1), objection="divides by a value that depends on {}"),
    prims.gather_p: Fact(slice(0, 1), objection=_INDEXES),
    prims.dynamic_slice_p: Fact(slice(0, 1), objection=_INDEXES),
    prims.dynamic_update_slice_p: Fact(slice(0, 2), objection=_INDEXES),
    prims.scatter_p: Fact(slice(0, 3, 2), objection=_INDEXES),
    prims.scatter_add_p: Fact(slice(0, 3, 2), objection=_INDEXES),
    scatter_sub_p: Fact(slice(0, 3, 2), objection=_INDEXES),
    prims.select_n_p: Fact(slice(1, None), objection="chooses by a condition that depends on {}"),
    prims.select_and_scatter_add_p: Fact(slice(0, 1), objection="chooses by values that depend on {}"),
    prims.select_and_gather_add_p: Fact(slice(0, 1), objection="chooses by values that depend on {}"),
    prims.triangular_solve_p: Fact(slice(1, 2), objection=_SOLVES),
    prims.tridiagonal_solve_p: Fact(slice(3, 4), objection=_SOLVES),
}


def fact_of(eqn: Any) -> Fact | None:
    """What is known of an equation; None for nothing."""
    primitive, params = eqn.primitive, eqn.params
    if primitive is prims.sort_p:
        return Fact(
            slice(params["num_keys"], None),
            objection="is not linear: it orders by a value that depends on {}",
        )
    if primitive is prims.linear_solve_p:
        return Fact(slice(sum(params["const_lengths"]), None), objection=_SOLVES)
    if primitive is prims.cond_p:
        return Fact(slice(1, None), objection="takes a branch that depends on {}")
    if primitive is prims.integer_pow_p:
        return _SUM if params["y"] == 1 else None
    if primitive in (prims.fft_p, prims.convert_element_type_p):
        before, after = (v[0].aval.dtype for v in (eqn.invars, eqn.outvars))
        if not jnp.issubdtype(after, jnp.inexact):
            return Fact(slice(0), objection="rounds {} to an integer or bool")
        is_complex = [jnp.issubdtype(dtype, jnp.complexfloating) for dtype in (before, after)]
        return Fact(parts=True) if is_complex == [True, False] else _SUM
    return FACTS.get(primitive)


def keeps_zero(primitive: Primitive) -> bool:
    """Whether the result is zero where all operands are."""
    fact = FACTS.get(primitive)
    return fact is not None and fact.together and fact.places == slice(None)


def objection(eqn: Any, moving: Sequence[bool]) -> str | None:
    """What an equation does that is not linear, with `{}` for the unknown; None where nothing is known against it.

    Args:
        eqn: The equation.
        moving: Which of its operands depend on the unknown.
    """
    fact = fact_of(eqn)
    if fact is None:
        return None
    inside = sum(moving[fact.places])
    return fact.objection if inside < sum(moving) or (inside > 1 and not fact.together) else None
