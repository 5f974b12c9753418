"""Many host solves in two threads at once, and the memory they hold: python -m benchmarks.endurance.

One thread solves eagerly, the other in a compiled program, `sparse-direct` on tridiagonal matrices: 10 000 small
systems with new values each time, then 100 of 10⁶ unknowns with four matrices in turn. One JSON line for each tenth:
resident memory in MB (Linux), solves done, seconds so far. It ends, or there is a deadlock.
"""

import argparse
import pathlib
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

import jaxsolve as js
from benchmarks.timing import report
from jaxsolve.solvers.host.factor import FACTORS

SOLVE = js.Solve("sparse-direct", rtol=1e-8)


def resident() -> float:
    """Resident memory in MB."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def line(n: int) -> js.SparseMatrix:
    """A tridiagonal matrix, not symmetric."""
    parts = [-np.ones(n - 1), 2.5 * np.ones(n), -0.5 * np.ones(n - 1)]
    places: Any = [-1, 0, 1]
    return js.SparseMatrix.from_scipy(scipy.sparse.diags_array(parts, offsets=places))


def endure(name: str, n: int, solves: int, different: int) -> None:
    """Solves half of the systems in each of two threads."""
    A, b = line(n), jnp.ones(n)

    def solve(data: Any) -> Any:
        return js.solve_linear(js.SparseMatrix(data, A.pattern), b, SOLVE)

    compiled = jax.jit(solve)
    done, failures = [0, 0], []

    def work(thread: int) -> None:
        run = (solve, compiled)[thread]
        for k in range(solves // 2):
            factor = 1 + 0.5 * ((2 * k + thread) % different) / different
            x = np.asarray(run(factor * A.data))
            # The middle of a long line knows nothing of its ends: x = 1 / (2.5 - 1 - 0.5) there.
            if not abs(factor * x[n // 2] - 1) < 1e-6:
                failures.append(float(x[n // 2]))
            done[thread] += 1

    jax.block_until_ready((solve(A.data), compiled(A.data)))
    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(2)]
    start, step = time.perf_counter(), 0
    for thread in threads:
        thread.start()
    while step <= 10:
        if sum(done) >= step * solves // 10:
            report(
                problem=name,
                solves=sum(done),
                resident_mb=resident(),
                factors=len(FACTORS),
                factors_mb=FACTORS.bytes / 2**20,
                seconds=time.perf_counter() - start,
                wrong=len(failures),
            )
            step += 1
        time.sleep(0.01)
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    endure("small", 100, options.small, options.small)
    FACTORS.clear()
    endure("large", 10**6, options.large, 4)


if __name__ == "__main__":
    main()
