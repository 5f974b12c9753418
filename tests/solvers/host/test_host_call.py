"""NumPy code from inside jit: batches, errors, caching."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.host import FAILURES, host_call

VECTOR = jax.ShapeDtypeStruct((3,), np.float64)
SEEN = []


def scaled(factor, x):
    SEEN.append((type(factor), factor.shape, x.shape))
    return (factor[:, None] * x,)


def failing(x):
    raise ZeroDivisionError(f"no lane of {len(x)} works")


def call(factor, x):
    return host_call(scaled, (VECTOR,), (np.nan,), factor, x)[0]


def test_a_vmap_is_one_call_and_keeps_shared_arguments_shared():
    x = jnp.arange(12.0).reshape(4, 3)
    SEEN.clear()
    y = jax.jit(jax.vmap(call, in_axes=(None, 0)))(2.0, x)
    np.testing.assert_array_equal(y, 2 * np.asarray(x))
    assert [(np.ndarray, (1,), (4, 3))] == SEEN


def test_nested_vmaps_are_one_call_too():
    x = jnp.arange(12.0).reshape(4, 3)
    factor = jnp.array([1.0, 2.0])
    SEEN.clear()
    y = jax.vmap(lambda f: jax.vmap(lambda v: call(f, v))(x))(factor)
    np.testing.assert_array_equal(y, np.asarray(factor)[:, None, None] * np.asarray(x))
    assert len(SEEN) == 1


def test_exceptions_become_the_declared_values_and_are_kept():
    result = (VECTOR, jax.ShapeDtypeStruct((), np.int32))
    x, code = jax.jit(lambda v: host_call(failing, result, (np.nan, 4), v))(jnp.ones(3))
    assert np.isnan(x).all()
    assert code == 4
    assert isinstance(FAILURES[-1], ZeroDivisionError)
    assert "no lane of 1" in str(FAILURES[-1])


def test_equal_functions_compile_once(compilations):
    program = jax.jit(call)
    program(2.0, jnp.ones(3))
    with compilations() as seen:
        program(3.0, jnp.ones(3))
    assert not seen
