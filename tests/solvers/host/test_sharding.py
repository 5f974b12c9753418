"""Solves on the host for arrays that are spread over devices."""

import os
import subprocess
import sys

import pytest

#: Two devices can't be had in a process that has begun with one.
PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, scipy.sparse
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jaxsolve as js

assert len(jax.devices()) == 2
n = 64
matrix = scipy.sparse.csr_matrix(scipy.sparse.diags_array([-1.0, 3.0, -1.5], offsets=[-1, 0, 1], shape=(n, n)))
A = js.SparseMatrix.from_scipy(matrix)
inverse = np.linalg.inv(matrix.toarray())
mesh = Mesh(np.array(jax.devices()), ("rows",))
spread, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("rows",), ()))
host = np.linspace(1, 2, n)
# Values without a device of their own go where the others are.
places = {"spread": lambda v: jax.device_put(v, spread), "everywhere": lambda v: jax.device_put(v, everywhere),
          "anywhere": jnp.asarray}

def run(data, b, solve):
    return js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve)

def close(x, expected, *what):
    np.testing.assert_allclose(np.asarray(x), expected, rtol=1e-6, atol=1e-8, err_msg=str(what))

ILU = {"ilu": "ilu", "without fill": js.ILU(level=0), "on the device": js.ILU(apply="device")}
methods = [("sparse-direct", None), ("scipy-GMres", None), ("scipy-GMres", "ilu")]
for method, preconditioner in [*methods, *(("GMres", recipe) for recipe in ILU.values())]:
    solve = js.Solve(method, rtol=1e-9, preconditioner=preconditioner)
    compiled = jax.jit(lambda data, b: run(data, b, solve))
    for of_A, of_b in (("spread", "spread"), ("anywhere", "spread"), ("spread", "everywhere")):
        data, b = places[of_A](np.asarray(A.data)), places[of_b](host)
        what = (method, preconditioner, of_A, of_b)
        close(run(data, b, solve), inverse @ host, "eager", *what)
        if preconditioner != ILU["on the device"]:  # needs known values
            close(compiled(data, b), inverse @ host, "jit", *what)
    constant = jax.jit(lambda b: js.solve_linear(A, b, solve))
    close(constant(places["spread"](host)), inverse @ host, "constant", method, preconditioner)
    slope = jax.jit(jax.grad(lambda b: run(A.data, b, solve)[3]))(places["spread"](host))
    close(slope, inverse[3], "grad", method, preconditioner)

for put in places.values():
    solver = js.factorize(js.SparseMatrix(put(np.asarray(A.data)), A.pattern))
    for x in (solver.solve(put(host)), jax.jit(lambda s, b: s.solve(b))(solver, put(host))):
        close(x, inverse @ host, "factorize")
    # Lanes on different devices: of right-hand sides, of matrices.
    several, scales = put(np.stack([host, 2 * host])), put(np.array([1.0, 4.0]))
    lanes = jax.jit(jax.vmap(lambda s, b: s.solve(b), in_axes=(None, 0)))(solver, several)
    close(lanes, several @ inverse.T, "lanes")
    for method, preconditioner in methods:
        solve = js.Solve(method, rtol=1e-9, preconditioner=preconditioner)
        each = jax.jit(jax.vmap(lambda s, b: run(s * A.data, b, solve)))(scales, several)
        close(each, several @ inverse.T / np.asarray(scales)[:, None], "matrices", method)
print("solved")
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
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.stdout == "solved\n", done.stderr
