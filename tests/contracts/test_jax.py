"""The layouts of JAX that core/compat.py reads; a failure here names what a new JAX has moved."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsolve.core import compat
from jaxsolve.tracer import assembly, rule_registry

X = jnp.ones(4)


def equations(f, *args):
    return compat.open_jaxpr(jax.make_jaxpr(f)(*args))[0].eqns


@jax.custom_vjp
def with_vjp(x):
    return 2 * x


with_vjp.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


@jax.custom_jvp
def with_jvp(x):
    return 2 * x


with_jvp.defjvp(lambda p, t: (2 * p[0], 2 * t[0]))


@pytest.mark.parametrize("f", [jax.jit(lambda x: 2 * x), jax.checkpoint(lambda x: 2 * x), with_jvp, with_vjp])
def test_calls_hold_their_jaxpr_under_the_name_we_read(f):
    (eqn,) = equations(f, X)
    inner, constants = compat.open_jaxpr(compat.called(eqn))
    assert [e.primitive.name for e in inner.eqns] == ["mul"]
    assert not list(constants)
    np.testing.assert_allclose(compat.bind(eqn, [X])[0], 2)


def test_scan_splits_its_inputs_into_constants_carry_and_steps():
    k = jnp.arange(3.0)
    (eqn,) = equations(lambda x, k: lax.scan(lambda c, a: (c * k[0] + a, (c, k)), x[0], x), X, k)[-1:]
    assert eqn.primitive is compat.prims.scan_p
    assert compat.scan_parts(eqn) == (1, 1)
    assert {"jaxpr", "length", "reverse"} <= set(eqn.params)
    assert len(eqn.invars) == 3


def test_while_splits_its_inputs_into_two_kinds_of_constants_and_carry():
    def f(x, n, k):
        return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * k), (0, x))

    eqn = equations(f, X, 3, 2.0)[-1]
    assert eqn.primitive is compat.prims.while_p
    assert compat.while_parts(eqn) == (1, 1)
    assert {"cond_jaxpr", "body_jaxpr"} <= set(eqn.params)


def test_cond_holds_its_branches_after_an_index():
    eqn = equations(lambda x, k: lax.cond(k > 0, lambda a: a, lambda a: -a, x), X, 1.0)[-1]
    assert eqn.primitive is compat.prims.cond_p
    assert len(eqn.params["branches"]) == 2
    assert len(eqn.invars) == 2


def test_constants_of_a_jaxpr_can_become_arguments():
    host, device = np.arange(4.0), jnp.arange(4.0)
    jaxpr = jax.make_jaxpr(lambda x: x * host + x * device)(X)
    function, constants = compat.constants_as_arguments(jaxpr)
    assert len(constants) == 2
    np.testing.assert_allclose(jax.jit(function)(*constants, X)[0], 2 * host)
    np.testing.assert_allclose(jax.jit(function)(*[0 * c for c in constants], X)[0], 0)


def test_the_line_of_an_equation_is_that_of_the_user():
    def f(x):
        return jnp.roll(x, 1) * 3

    line = inspect.getsourcelines(f)[1] + 1
    assert all(f"test_jax.py:{line} (" in compat.source_lines(eqn) for eqn in equations(f, X))


def test_gather_and_scatter_have_the_numbers_we_read():
    gather = next(
        e for e in equations(lambda x: x[np.array([1, 0])], X) if e.primitive is compat.prims.gather_p
    )
    assert {"dimension_numbers", "slice_sizes", "mode", "fill_value"} <= set(gather.params)
    for name in ("offset_dims", "collapsed_slice_dims", "start_index_map", "operand_batching_dims"):
        assert hasattr(gather.params["dimension_numbers"], name)
    scatter = equations(lambda x: x.at[np.array([1, 0])].add(1.0), X)[-1]
    for name in ("update_window_dims", "inserted_window_dims", "scatter_dims_to_operand_dims"):
        assert hasattr(scatter.params["dimension_numbers"], name)


def test_the_transform_of_a_fourier_equation_has_a_name():
    (eqn,) = [e for e in equations(lambda x: jax.jit(jnp.fft.fft)(x), X + 0j) if compat.called(e) is not None]
    inner = compat.open_jaxpr(compat.called(eqn))[0]
    assert [e.params["fft_type"].name for e in _flat(inner) if e.primitive is compat.prims.fft_p] == ["FFT"]


def _flat(jaxpr):
    for eqn in jaxpr.eqns:
        if compat.called(eqn) is not None:
            yield from _flat(compat.open_jaxpr(compat.called(eqn))[0])
        else:
            yield eqn


def test_transposable_primitives_are_known():
    assert compat.is_transposable(compat.prims.dot_general_p)
    assert not compat.is_transposable(compat.prims.sin_p)
    assert not compat.is_transposable(compat.prims.floor_p)


#: Linear in an input, and left to the dense block or to no one: collectives, host callbacks, random numbers.
NOT_READ = {
    "after_all", "all_gather", "all_to_all", "axis_index", "bcoo_extract", "call", "closed_call", "copy_to_host",
    "create_token", "custom_lin", "empty2", "get", "ppermute", "psum", "ragged_all_to_all", "reduce_scatter", "swap",
}  # fmt: skip


def test_every_transposable_primitive_of_jax_has_a_rule_or_falls_to_a_dense_block():
    linear = {p for p in compat.primitives_named().values() if compat.is_transposable(p)}
    assert linear
    assert assembly.read
    missing = {p.name for p in linear if rule_registry.rule_for(p) is None} - NOT_READ
    # These are linear in one of their inputs only, and seldom: a dense block of their own derivative serves.
    assert missing <= {
        "all_gather_invariant", "all_gather_reduced", "bcoo_dot_general", "conv_transpose", "psum_invariant", "psum2",
        "pvary", "select_and_gather_add", "select_and_scatter_add", "symmetric_product", "unreduced_psum",
        "ragged_dot_general", "dot_general_batched", "polynomial", "mul", "pbroadcast", "preduced",
        "vary_unreduced_cast",
    }  # fmt: skip
