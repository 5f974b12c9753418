"""Many solves: memory stays flat, threads come to an end."""

import pathlib
import resource
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxsolve as js
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.host.superlu import SuperLU


def line(n):
    return scipy.sparse.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])


def resident():
    """Peak resident memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def current():
    """Resident memory in MB, where the system tells it."""
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        raise pytest.skip.Exception("no /proc/self/status")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sparse-direct", "scipy-GMres"])
def test_ten_thousand_small_solves_with_new_values_keep_memory_flat(method):
    A = js.SparseMatrix.from_scipy(line(50))
    b = jnp.ones(50)
    solve = js.Solve(method, rtol=1e-8, preconditioner=None if method == "sparse-direct" else "ilu")
    program = jax.jit(lambda data: js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve))
    for k in range(1000):
        program((1 + 1e-3 * k) * A.data)
    before = resident()
    for k in range(10_000):
        program((2 + 1e-3 * k) * A.data).block_until_ready()
    assert resident() - before < 20
    assert len(FACTORS) <= FACTORS.most


@pytest.mark.slow
def test_large_solves_in_two_threads_come_to_an_end():
    n = 10**6
    A = js.SparseMatrix.from_scipy(line(n))
    solve = js.Solve("sparse-direct", rtol=1e-8)

    def eager(data, b):
        return js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve)

    runs = [jax.jit(eager), eager]
    for run in runs:
        run(A.data, jnp.ones(n)).block_until_ready()
    done = []

    def work(k):
        for i in range(10):
            x = runs[k]((1 + 0.1 * ((i + k) % 2)) * A.data, jnp.ones(n))
            done.append(float(x[n // 2]))

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=900)
        assert not thread.is_alive()
    assert len(done) == 20


def test_factors_made_in_one_thread_and_forgotten_in_another_are_freed():
    # SciPy keeps 450 KB of each otherwise.
    A = js.SparseMatrix.from_scipy(line(1000))
    recipe, data = SuperLU(A.pattern), np.asarray(A.data)

    def make():
        kept.append(recipe.factor(data))

    kept = []
    before = current()
    for _ in range(60):
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        kept.clear()
    assert current() - before < 10


@pytest.mark.slow
def test_compiled_products_in_two_threads_come_to_an_end():
    n = 4096

    def f(x):
        return 3 * x + 0.1 * jnp.real(jnp.fft.ifft(jnp.fft.fft(x) * jnp.linspace(1, 2, n)))

    program = jax.jit(lambda b: js.solve_linear(f, b, js.Solve("scipy-GMres", rtol=1e-8)))
    program(jnp.ones(n)).block_until_ready()
    threads = [
        threading.Thread(
            target=lambda: [program(jnp.ones(n)).block_until_ready() for _ in range(30)], daemon=True
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
        assert not thread.is_alive()
