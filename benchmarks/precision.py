"""Mixed precision: CG on the 5-point Laplacian in double precision, and with inner_dtype=jnp.float32.

python -m benchmarks.precision [--sizes 512 1024 2048] [--rtol 1e-8] [--preconditioners amg none]

One JSON line a grid and preconditioner: iterations, CPU seconds of a solve with what `js.setup` made (medians, the two
in turn), and their ratio.
"""

import argparse
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sps

import jaxsolve as js
from benchmarks.timing import report


def cpu_seconds(run: Any) -> float:
    start = time.process_time()
    jax.block_until_ready(run())
    return time.process_time() - start


def measure(n: int, preconditioner: str, rtol: float, repeats: int) -> None:
    line = sps.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n))
    A = js.SparseMatrix.from_scipy(sps.kronsum(line, line).tocsr()).declare(positive_definite=True)
    b = jnp.asarray(np.random.default_rng(0).normal(size=n * n))
    recipe, solve = None if preconditioner == "none" else preconditioner, jax.jit(js.solve_linear_info)
    runs, steps = {}, {}
    for name, dtype in (("double", None), ("mixed", jnp.float32)):
        request = js.Solve("CG", rtol, max_iterations=50 * n, preconditioner=recipe, inner_dtype=dtype)
        runs[name] = functools.partial(solve, js.setup(A, request), b)
        info = runs[name]()
        assert info.converged
        steps[name] = int(info.iterations)
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(cpu_seconds(run))
    double, mixed = (float(np.median(times[name])) for name in ("double", "mixed"))
    figures = {"double": double, "mixed": mixed, "ratio": double / mixed}
    report(grid=n, preconditioner=preconditioner, rtol=f"{rtol:g}", iterations=steps, **figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--preconditioners", nargs="+", default=["amg"])
    parser.add_argument("--rtol", type=float, default=1e-8)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for n in given.sizes:
        for preconditioner in given.preconditioners:
            measure(n, preconditioner, given.rtol, given.repeats)


if __name__ == "__main__":
    main()
