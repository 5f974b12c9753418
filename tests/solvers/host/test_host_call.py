"""NumPy code from inside jit: batches, errors, caching, threads."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.host_call import FAILURES, host_call

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


#: Two threads on two cores (XLA has as many threads then), with programs whose arguments are still being computed.
TWO_THREADS = """
import os, threading
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import jax, jax.numpy as jnp, numpy as np, scipy.sparse
import jaxsolve as js
from jaxsolve.core.host_call import host_call

n = 10**6
vector = jax.ShapeDtypeStruct((n,), np.float64)
line = scipy.sparse.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(n, n))
solver = js.factorize(line)

def halved(x, y):
    return (0.5 * x + y,)

def call(x, y):
    return host_call(halved, (vector,), (np.nan,), x, y)[0]

def solve(x, y):
    return solver.solve(x) + y

def work(call, solve):
    for k in range(15):
        x = b
        for _ in range(10):
            x = call(x + k, b)
        x.block_until_ready()
        found.append(float(x[n // 2]) - k - 2)
    found.append(float(solve(x + 1, b)[n // 2]) - 2 * float(x[n // 2]) - 3)

b, found = jnp.ones(n), []
pairs = ((jax.jit(call), jax.jit(solve)), (call, solve))
for pair in pairs:
    for run in pair:
        run(b, b).block_until_ready()
threads = [threading.Thread(target=work, args=pair) for pair in pairs]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# call halves the distance of x to k + 2 in ten steps; far from the ends of the line (2.5 - 1 - 1) x = b.
assert len(found) == 32 and np.abs(found).max() < 2e-2, found
"""


@pytest.mark.further
def test_two_threads_on_two_cores_do_not_wait_for_each_other():
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    # 4 s; with `pure_callback` instead of `buffer_callback` none of four runs came to an end.
    command = [sys.executable, "-c", TWO_THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
