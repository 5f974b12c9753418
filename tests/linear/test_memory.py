"""Memory: a process that solves ever new systems does not grow."""

import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import gc, sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np, scipy.sparse as sps, jaxsolve as js

def pattern(k):
    A = sps.random(24, 24, 0.1, random_state=k, format="csr") + 4 * sps.eye(24)
    js.solve_linear(A, np.ones(24), js.Solve("sparse-direct"))

def number(k):
    js.solve_linear(lambda x: (3.0 + k / 7) * x - jnp.roll(x, 1), jnp.ones(20), js.Solve("GMres"))

def number_read(k):
    js.solve_linear(lambda x: (3.0 + k / 7) * x - jnp.roll(x, 1), jnp.ones(20))

def code(k):
    js.solve_linear(lambda x: 3.0 * x - sum(jnp.roll(x, j + 1) for j in range(8) if k >> j & 1) / 9, jnp.ones(20),
                    js.Solve("GMres"))

call, warm, more = {"pattern": pattern, "number": number, "number read": number_read, "code": code}[sys.argv[1]], *map(
    int, sys.argv[2:])

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

for k in range(warm):
    call(k)
before = resident()
for k in range(warm, warm + more):
    call(k)
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads resident memory from /proc")
@pytest.mark.parametrize(
    ("kind", "warm", "more", "most"),
    [
        ("number", 20, 280, 10),
        # Eager operations on matrices that are read fill the allocator's pools in some hundred calls, by 25 MB.
        pytest.param("number read", 80, 280, 20, marks=pytest.mark.slow),
        # A program takes 2 to 9 MB, and 64 are kept: without a bound these grow by 180 MB and more.
        pytest.param("code", 80, 90, 60, marks=pytest.mark.slow),
        pytest.param("pattern", 80, 90, 60, marks=pytest.mark.slow),
    ],
)
def test_memory_levels_off(kind, warm, more, most):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), kind, str(warm), str(more)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < most
