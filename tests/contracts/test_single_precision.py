"""JAX as it comes, without double precision: this session has it on, so that a process of its own looks."""

import subprocess
import sys

import pytest

_SYSTEM = """
import warnings
warnings.simplefilter("error")
import jax, jax.numpy as jnp, numpy as np, scipy.sparse as sps
import jaxsolve as js
assert not jax.config.jax_enable_x64
line = sps.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(5, 5))
matrix = sps.csr_array(sps.kron(line, sps.eye_array(5)) + sps.kron(sps.eye_array(5), line)).astype(np.float32)
A = js.SparseMatrix.from_scipy(matrix)
b = jnp.asarray(np.random.default_rng(40487).standard_normal(25), jnp.float32)

def check(name, solve):
    x = js.solve_linear(A, b, solve)
    assert x.dtype == jnp.float32, name
    assert np.linalg.norm(b - matrix @ np.asarray(x)) <= 1.01e-4 * np.linalg.norm(b), name
"""
_METHODS = """
from jaxsolve.solvers.method_registry import METHODS
for name in METHODS:
    check(name, js.Solve("banded" if name == "tridiagonal" else name, rtol=1e-4))
"""
_PRECONDITIONERS = """
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
for name in PRECONDITIONERS:
    check(name, js.Solve("GMres", rtol=1e-4, preconditioner=name))
"""
_REST = """
def f(u, k):
    p = jnp.pad(u, 1)
    return k * (5 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:])

u = jnp.ones((20, 20))
solve = js.Solve(rtol=1e-4)
x = js.solve_linear(f, u, solve, 2.0)
assert abs(jax.grad(lambda k: js.solve_linear(f, u, solve, k).sum())(2.0) + x.sum() / 2) < 1e-3 * x.sum()
assert js.matrix_from_function(f, u, 2.0)[0].dtype == jnp.float32
root = js.solve_nonlinear(lambda x: x + 0.1 * x**3, 2 * jnp.ones(3), js.Solve(x0=jnp.ones(3), rtol=1e-4))
low = js.minimize(lambda x: ((x - 1) ** 2).sum(), js.Solve("L-BFGS-B", x0=jnp.zeros(3), rtol=1e-3))
fit = js.least_squares(lambda x: jnp.exp(x) - 2, js.Solve(x0=jnp.zeros(3), rtol=1e-3))
assert {v.dtype.name for v in (x, root, low, fit)} == {"float32"}
"""


@pytest.mark.further
@pytest.mark.parametrize(
    "part", [_METHODS, _PRECONDITIONERS, _REST], ids=["methods", "preconditioners", "rest"]
)
def test_everything_runs_in_single_precision(part):
    done = subprocess.run([sys.executable, "-c", _SYSTEM + part], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
