"""Sparse factorisations and solves beside SciPy and klujax: python -m benchmarks.direct [--grid 512] [--matrices].

One JSON line a row. `factor_ratio` is the time of `js.factorize` over that of the library called directly on the same
arrays; `call_us` is what a solve inside of jit costs beyond the library's own triangular solves.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl

import jaxsolve as js
from benchmarks.timing import report
from jaxsolve.solvers.host.factor import FACTORS
from tests.conftest import matrix_folder
from tests.preconditioners.problems import poisson


def median(work: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds of some work, the first run aside."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def problems(grid: int, real: bool) -> dict[str, Any]:
    """Matrices by name."""
    found = {f"poisson-{grid}": sp.csr_array(poisson((grid, grid)))}
    folder = matrix_folder()
    if real and folder is not None:
        for path in sorted(folder.glob("*.npz")):
            A = sp.csr_array(sp.load_npz(path))
            if A.shape[0] == A.shape[1] and not np.iscomplexobj(A):
                found[path.stem] = A
    return found


def row(name: str, A: Any, backend: str) -> None:
    """Factorises, solves, and prints one line."""
    S = js.SparseMatrix.from_scipy(A)
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    c = jnp.asarray(b)
    columns = sp.csc_matrix(A)

    def ours() -> Any:
        FACTORS.clear()
        return js.factorize(S, backend).inverse

    directly = median(lambda: spl.splu(columns))
    factor = median(ours)
    factors, solver = spl.splu(columns), js.factorize(S, backend)
    by_library = median(lambda: factors.solve(b))
    compiled = jax.jit(lambda solver, c: solver.solve(c))
    by_solver = median(lambda: compiled(solver, c))

    def many_ours() -> Any:
        FACTORS.clear()
        fresh = js.factorize(S, backend)
        return [jax.block_until_ready(fresh.solve(c)) for _ in range(100)]

    once = median(lambda: spl.spsolve(columns, b), 3)
    hundred = median(many_ours, 1)
    residual = float(np.linalg.norm(b - A @ np.asarray(solver.solve(c))) / np.linalg.norm(b))
    report(
        problem=name,
        n=A.shape[0],
        backend=backend,
        splu_s=directly,
        factor_s=factor,
        factor_ratio=factor / directly,
        library_solve_us=1e6 * by_library,
        solve_us=1e6 * by_solver,
        spsolve_s=once,
        hundred_of_spsolve=hundred / (100 * once),
        residual=f"{residual:.1e}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, default=512)
    parser.add_argument("--matrices", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    backends = ["superlu", *(["klu"] if importlib.util.find_spec("klujax") else [])]
    for name, A in problems(options.grid, options.matrices).items():
        for backend in backends:
            try:
                row(name, A, backend)
            except (RuntimeError, js.ConvergenceException) as error:
                report(problem=name, backend=backend, error=str(error)[:90])


if __name__ == "__main__":
    main()
