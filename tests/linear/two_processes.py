"""Two processes with a part of the matrix each. Run by `test_over_a_mesh`."""

import os
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxsolve as js
from tests.linear.over_a_mesh import graph, poisson

N = 256


def whole(x: Any) -> np.ndarray:
    return multihost_utils.process_allgather(x, tiled=True)


def main(rank: int, port: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank)
    mesh = Mesh(np.array(jax.devices()), ("r",))
    b = np.cos(np.arange(N))
    spread = jax.device_put(b, NamedSharding(mesh, P("r")))
    mine = slice(N // 2 * rank, N // 2 * (rank + 1))

    # No process holds more than its rows; by the first rows of devices, or of processes.
    for M, starts in ((poisson(16), [0, 64, 128, 192, N]), (graph(N, skew=0.5), [0, 128, N])):
        A = js.distribute_local(M[mine], mesh, starts)
        x = js.solve_linear(A, spread, js.Solve("GMres", rtol=1e-11, preconditioner="jacobi"))
        assert x.sharding == spread.sharding
        np.testing.assert_allclose(M @ whole(x), b, atol=1e-8)
        # Whole matrices in each process make the same, whatever the partition.
        for rows in (None, "narrow", [0, 20, 128, 200, N]):
            A = js.distribute(M, mesh, rows)
            x = js.solve_linear(A, spread, js.Solve("GMres", rtol=1e-11))
            np.testing.assert_allclose(M @ whole(x), b, atol=1e-8)

    # What each device makes of its own rows and columns is made in each process.
    for name in ("ilu", "block-jacobi"):
        x = js.solve_linear(A, spread, js.Solve("GMres", rtol=1e-11, preconditioner=name))
        np.testing.assert_allclose(M @ whole(x), b, atol=1e-8)

    request = js.Solve("GMres", rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda c, A: jnp.sum(jnp.sin(js.solve_linear(A, c, request)))))(spread, A)
    expected = np.linalg.solve(M.toarray().T, np.cos(np.linalg.solve(M.toarray(), b)))
    np.testing.assert_allclose(whole(gradient), expected, atol=1e-9)

    # A failure is one in both.
    few = js.Solve("GMres", max_iterations=1)
    with pytest.raises(js.NotConverged, match="did not converge"):
        js.solve_linear(A, spread, few)
    with pytest.raises(js.NotConverged, match="did not converge"):
        js.jit(lambda A, c: js.solve_linear(A, c, few))(A, spread)

    def ring(u: jax.Array) -> jax.Array:
        return 2.01 * u - jnp.roll(u, 1) - jnp.roll(u, -1)

    with pytest.raises(js.NotConverged, match="did not converge"):
        js.jit(lambda c: js.solve_linear(ring, c, js.Solve("CG", max_iterations=2)))(spread)

    # What is wrong in one of them is refused in both.
    with pytest.raises(js.StructureError, match="process 1"):
        js.distribute_local(sp.csr_matrix(M[mine] if rank == 0 else M[:100]), mesh, [0, 64, 128, 192, N])
    with pytest.raises(js.StructureError, match="processes 0 and 1 differ"):
        js.distribute_local(M[mine], mesh, [0, 64, 128, 192, N] if rank == 0 else [0, 60, 128, 192, N])
    with pytest.raises(js.StructureError, match="several processes"):
        js.solve_linear(A, spread, js.Solve("CG", preconditioner="amg"))
    multihost_utils.sync_global_devices("end")
    print("all right", flush=True)
    # JAX waits at its end for what has failed, and says so again.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
