"""Solves on the host for arrays that are spread over devices."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, scipy.sparse
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jaxsolve as js

assert len(jax.devices()) == 2
n = 64
matrix = scipy.sparse.csr_matrix(scipy.sparse.diags_array([-1.0, 3.0, -1.5], offsets=[-1, 0, 1], shape=(n, n)))
A = js.SparseMatrix.from_scipy(matrix)
spread = NamedSharding(Mesh(np.array(jax.devices()), ("rows",)), PartitionSpec("rows"))
b = jax.device_put(np.linspace(1, 2, n), spread)
for method, preconditioner in (("sparse-direct", None), ("scipy-GMres", None), ("GMres", "ilu")):
    solve = js.Solve(method, rtol=1e-9, preconditioner=preconditioner)
    run = lambda data, b: js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve)
    for x in (run(A.data, b), jax.jit(run)(A.data, b), jax.jit(run)(jax.device_put(A.data, spread), b)):
        assert np.linalg.norm(matrix @ np.asarray(x) - np.asarray(b)) <= 1e-8
    slope = jax.jit(jax.grad(lambda b: run(A.data, b)[3]))(b)
    np.testing.assert_allclose(slope, np.linalg.inv(matrix.toarray())[3], atol=1e-7)
x = js.factorize(A).solve(b)
assert np.linalg.norm(matrix @ np.asarray(x) - np.asarray(b)) <= 1e-12
"""


@pytest.mark.slow
def test_right_hand_sides_and_matrices_on_two_devices():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
