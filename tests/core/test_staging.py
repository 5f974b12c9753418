"""Index arrays enter programs without becoming their literals."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.staging import LITERAL_BYTES, index_array, is_traced, staged

SMALL = np.arange(10, dtype=np.int32)[::-1].copy()
LARGE = np.arange(LITERAL_BYTES, dtype=np.int32)[::-1].copy()


def test_an_eager_index_array_is_copied_to_the_device_once():
    assert index_array(SMALL) is index_array(SMALL)
    np.testing.assert_array_equal(index_array(SMALL), SMALL)


def test_the_device_copy_goes_with_the_host_array():
    host = np.arange(1234, dtype=np.int32)
    device = weakref.ref(index_array(host))
    gc.collect()
    assert device() is index_array(host)
    del host
    gc.collect()
    assert device() is None


@pytest.mark.parametrize("host", [SMALL, LARGE, LARGE > 100], ids=["small", "large", "bool"])
def test_a_staged_index_array_has_the_same_values(host):
    take = jax.jit(lambda x: x[jnp.where(index_array(host), 1, 0)])
    np.testing.assert_array_equal(take(jnp.arange(2.0)), np.arange(2.0)[(host != 0).astype(int)])


def test_no_large_index_array_is_a_literal_of_the_program():
    lowered = jax.jit(lambda x: x[index_array(LARGE)]).lower(jnp.zeros(LARGE.size))
    assert len(lowered.as_text()) < 10_000
    jaxpr = jax.make_jaxpr(lambda x: x[index_array(LARGE)])(jnp.zeros(LARGE.size))
    assert all(np.size(c) < LARGE.size for c in jaxpr.consts)


def test_a_small_index_array_costs_no_callback():
    assert "callback" not in str(jax.make_jaxpr(lambda x: x[index_array(SMALL)])(jnp.zeros(10)))


def test_index_arrays_work_under_vmap_scan_and_grad():
    def f(x):
        return jnp.sum(x[index_array(LARGE)] * jnp.arange(LARGE.size))

    x = jnp.ones((2, LARGE.size))
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(f)))(x), jnp.stack([jnp.asarray(LARGE)] * 2))
    total, _ = jax.lax.scan(lambda c, row: (c + f(row), None), 0.0, x)
    assert total == 2 * f(x[0])


def test_a_program_is_compiled_once_for_the_same_index_array(compilations):
    f = jax.jit(lambda x: x[index_array(LARGE)])
    f(jnp.zeros(LARGE.size))
    with compilations() as seen:
        f(jnp.ones(LARGE.size))
    assert seen == []


def test_tracers_are_found_in_trees():
    assert not is_traced({"a": jnp.ones(2), "b": 3, "c": np.ones(2)})
    found = []
    jax.jit(lambda x: found.append((is_traced([1, x]), is_traced(jnp.ones(2)), staged())))(1.0)
    assert found == [(True, True, True)]
    jax.vmap(lambda x: found.append((is_traced(x), staged())))(jnp.ones(2))
    assert found[1] == (True, False)
    assert not staged()
