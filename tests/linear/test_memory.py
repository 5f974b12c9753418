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


FORGETTING = """
import gc, sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np, scipy.sparse as sps, jaxsolve as js
from jaxsolve.core.recent import Recent

def matrix(k, n=24):
    # Four entries in each row, wherever they are: patterns differ, sizes do not.
    columns = (np.arange(n)[:, None] + np.array([0, 1 + k % 5, 7 + k % 11, 19])) % n
    values = np.tile([9.0, -1, -2, -1], n)
    return sps.csr_matrix((values, columns.reshape(-1), np.arange(0, 4 * n + 1, 4)), shape=(n, n))

def shifted(x, k):
    return sum(jnp.roll(x, j + 1) for j in range(8) if k + 1 >> j & 1)

def solution(k, a):
    return js.solve_nonlinear(lambda x, a: a * x**3 + 9 * x - shifted(x, k), jnp.ones(6),
                              js.Solve("newton", x0=jnp.ones(6)), a)

def root(k):
    solution(k, 1.0)

def sensitivity(k):
    jax.jvp(lambda a: solution(k, a), (1.0,), (1.0,))

def minimum(k):
    js.minimize(lambda x: jnp.sum(x**4 + x**2 - x * shifted(x, k) / 20), js.Solve("L-BFGS-B", x0=jnp.ones(6)))

def stack(k):
    A = js.SparseMatrix.from_scipy(matrix(k))
    js.solve_linear(js.SparseMatrix(jnp.stack([A.data, 2 * A.data]), A.pattern), jnp.ones((2, 24)), js.Solve("GMres"))

def tangent(k):
    A = js.SparseMatrix.from_scipy(matrix(k))
    jax.jvp(lambda b: js.solve_linear(A, b, js.Solve("GMres")), (jnp.ones(24),), (jnp.ones(24),))

def ilu(k):
    js.solve_linear(matrix(k), np.ones(24), js.Solve("GMres", preconditioner="ilu"))

def amg(k):
    js.solve_linear(matrix(k), np.ones(24), js.Solve("GMres", preconditioner="amg"))

def plan(k):
    linear.matrix(jax.ShapeDtypeStruct((5 + k,), float), jnp.ones(()))

linear = js.jit_compile_linear(lambda x, a: a * x - jnp.roll(x, 1))
caches = [one for one in gc.get_objects() if isinstance(one, Recent)]
for one in caches:
    one.most = 2

def programs():
    gc.collect()
    return len(jax.devices()[0].client.live_executables())

for k in range(4):
    globals()[sys.argv[1]](k)
before = programs()
for k in range(4, 6):
    globals()[sys.argv[1]](k)
print(programs() - before)
"""


@pytest.mark.parametrize(
    "kind",
    [
        "plan",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("root", "sensitivity", "minimum", "stack", "tangent", "ilu", "amg")
        ),
    ],
)
def test_programs_of_ever_new_systems_are_forgotten(kind):
    """Where each cache keeps two programs, further systems leave no more of them than the ones before."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", FORGETTING, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 0
