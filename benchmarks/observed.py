"""What watching costs: CG at 1024² alone, with its residual norms recorded, and with a progress bar.

python -m benchmarks.observed [--size 1024] [--iterations 200] [--repeats 9]
"""

import argparse
import contextlib
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsolve as js
from benchmarks.cg import laplacian
from benchmarks.timing import medians, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    A = js.SparseMatrix.from_scipy(laplacian(options.size))
    b = jnp.asarray(np.random.default_rng(0).standard_normal(A.shape[0]))
    plain = js.Solve("CG", rtol=1e-300, max_iterations=options.iterations)
    shown = js.Solve("CG", rtol=1e-300, max_iterations=options.iterations, progress=True)

    def recorded() -> Any:
        with js.SolveTape(record_trajectories=True, norms_only=True):
            return js.solve_linear_info(A, b, plain).x

    def drawn() -> Any:
        with contextlib.redirect_stderr(io.StringIO()):
            return js.solve_linear_info(A, b, shown).x

    contestants = {
        "alone": lambda: js.solve_linear_info(A, b, plain).x,
        "residual norms": recorded,
        "progress bar": drawn,
    }
    times = medians(contestants, options.repeats)
    for name, (_, median) in times.items():
        report(n=A.shape[0], contestant=name, seconds=median, of_alone=median / times["alone"][1])


if __name__ == "__main__":
    main()
