"""One table says what is linear: the operator check and the tracer agree over small programs of each primitive."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import sparse

from jaxsolve.core.compat import prims, stack_p, unstack_p
from jaxsolve.core.errors import NotLinearError
from jaxsolve.operators.linear_primitives import FACTS, fact_of, objection
from jaxsolve.operators.linearity import Degree, degree
from jaxsolve.tracer.assembly import matrix_from_function

R = np.random.default_rng(3)
V, W, F = R.standard_normal(4), R.standard_normal((4, 4)), R.standard_normal((1, 1, 4))
AT = np.array([[2], [0]])
ROWS = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
INTO = lax.ScatterDimensionNumbers(
    update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)
BCOO = sparse.BCOO.fromdense(np.diag(V[:4]))
BCSR = sparse.BCSR.fromdense(np.diag(V[:4]))
SUMS = (((1,), (0,)), ((), ()))

#: What binds each primitive, and its operands.
PROGRAMS = {
    "add": (lax.add, V, V),
    "add_any": (lambda x, y: prims.add_jaxvals_p.bind(x, y), V, V),
    "sub": (lax.sub, V, V),
    "neg": (lax.neg, V),
    "reshape": (lambda x: lax.reshape(x, (4, 2, 2)), W),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (2, 4), (1,)), V),
    "transpose": (lambda x: lax.transpose(x, (1, 0)), W),
    "squeeze": (lambda x: lax.squeeze(x, (0, 1)), F),
    "rev": (lambda x: lax.rev(x, (0,)), V),
    "slice": (lambda x: lax.slice(x, (1,), (3,)), V),
    "concatenate": (lambda x, y: lax.concatenate([x, y], 0), V, V),
    "pad": (lambda x, fill: lax.pad(x, fill, [(1, 2, 1)]), V, V[0]),
    "reduce_sum": (lambda x: prims.reduce_sum_p.bind(x, axes=(0,), out_sharding=None), W),
    "reduce_window_sum": (lambda x: lax.reduce_window(x, 0.0, lax.add, (2,), (1,), "VALID"), V),
    "cumsum": (lax.cumsum, V),
    "copy": (lambda x: prims.copy_p.bind(x), V),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 11, 52), V),
    "complex": (lax.complex, V, V),
    "device_put": (lambda x: jax.device_put(x), V),
    "name": (lambda x: checkpoint_name(x, "x"), V),
    "split": (lambda x: lax.split(x, (1, 3)), V),
    "stack": (lambda x, y: stack_p.bind(x, y, axis=0), V, V),
    "unstack": (lambda x: unstack_p.bind(x, axis=0), W),
    "tile": (lambda x: lax.tile(x, (2,)), V),
    "optimization_barrier": (lambda x, y: lax.optimization_barrier((x, y)), V, V),
    "real": (lax.real, V + 1j),
    "imag": (lax.imag, V + 1j),
    "conj": (lax.conj, V + 1j),
    "fft": (lambda x: lax.fft(x, "FFT", (4,)), V + 1j),
    "convert_element_type": (lambda x: lax.convert_element_type(x, jnp.float32), V),
    "mul": (lax.mul, V, V),
    "dot_general": (lambda x, y: lax.dot_general(x, y, SUMS), W, W),
    "conv_general_dilated": (lambda x, y: lax.conv_general_dilated(x, y, (1,), "SAME"), F, F),
    "bcoo_dot_general": (
        lambda data, indices, y: sparse.bcoo_dot_general(
            sparse.BCOO((data, indices), shape=(4, 4)), y, dimension_numbers=SUMS
        ),
        BCOO.data,
        BCOO.indices,
        V,
    ),
    "bcsr_dot_general": (
        lambda data, columns, ends, y: sparse.bcsr_dot_general(
            sparse.BCSR((data, columns, ends), shape=(4, 4)), y, dimension_numbers=SUMS
        ),
        BCSR.data,
        BCSR.indices,
        BCSR.indptr,
        V,
    ),
    "div": (lax.div, V, V),
    "gather": (lambda x, at: lax.gather(x, at, ROWS, (1,)), V, AT),
    "dynamic_slice": (lambda x, at: lax.dynamic_slice(x, (at,), (2,)), V, np.array(1)),
    "dynamic_update_slice": (lambda x, y, at: lax.dynamic_update_slice(x, y, (at,)), V, V[:2], np.array(1)),
    "scatter": (lambda x, at, y: lax.scatter(x, at, y, INTO, unique_indices=True), V, AT, V[:2]),
    "scatter-add": (lambda x, at, y: lax.scatter_add(x, at, y, INTO), V, AT, V[:2]),
    "scatter-sub": (lambda x, at, y: lax.scatter_sub(x, at, y, INTO), V, AT, V[:2]),
    "select_n": (lax.select_n, V > 0, V, V),
    "triangular_solve": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True),
        W + 4 * np.eye(4),
        W,
    ),
    "tridiagonal_solve": (lax.linalg.tridiagonal_solve, V, V + 9, V, W),
}
#: Those that need several devices, or are known as derivatives of others only.
ELSEWHERE = {
    "sharding_constraint",
    "psum",
    "all_gather",
    "ppermute",
    "select_and_scatter_add",
    "select_and_gather_add",
}


def test_each_primitive_of_the_table_has_a_program():
    assert {p.name for p in FACTS} == {*PROGRAMS, *ELSEWHERE}


def refused(judge):
    try:
        judge()
    except NotLinearError as error:
        return str(error)
    return None


def cases():
    for name, (function, *operands) in PROGRAMS.items():
        floating = [k for k, v in enumerate(operands) if np.issubdtype(v.dtype, np.inexact)]
        for count in range(1, len(floating) + 1):
            for places in itertools.combinations(floating, count):
                yield pytest.param(name, function, operands, places, id=f"{name}-{places}")


@pytest.mark.few(30)
@pytest.mark.parametrize(("name", "function", "operands", "places"), list(cases()))
def test_both_judges_agree_with_the_table(name, function, operands, places):
    x = [operands[k] for k in places]

    def program(x):
        values = list(operands)
        for k, value in zip(places, x, strict=True):
            values[k] = value
        return function(*map(jnp.asarray, values))

    is_complex = np.iscomplexobj(x[0])
    jaxpr = jax.make_jaxpr(program)(x)
    eqn = next(e for e in equations(jaxpr.jaxpr) if e.primitive.name == name)
    fact = fact_of(eqn)
    assert fact is not None
    inside = set(range(len(operands))[fact.places])
    linear = set(places) <= inside and (fact.together or len(places) == 1)
    linear_here = linear and not (is_complex and fact.parts)
    checked = refused(lambda: degree(jaxpr, [Degree.linear] * len(x), is_complex))
    traced = refused(lambda: matrix_from_function(program, x))
    assert ((checked is None), (traced is None)) == (linear_here, linear_here)
    why = objection(eqn, [k in places for k in range(len(operands))])
    assert (why is None) == linear
    if why is not None and checked is not None and traced is not None:
        assert f"`{name}`" in checked
        assert why.format("the unknown") in checked
        assert f"`{name}` {why.format('that argument')}" in traced
    # And both are right: along a line second differences are zero, over the real numbers.
    along = [R.standard_normal(v.shape) for v in x]
    points = [program([v + c * d for v, d in zip(x, along, strict=True)]) for c in (0, 1, 2)]
    first, middle, last = (np.concatenate([np.ravel(v) for v in jax.tree.leaves(point)]) for point in points)
    assert np.allclose(first + last, 2 * middle, atol=1e-5) == linear


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            if hasattr(value, "jaxpr"):
                yield from equations(value.jaxpr)
