"""Many right-hand sides of one matrix: block CG beside CG on each column, iterations and time.

python -m benchmarks.columns [--columns 16 32 64] [--grids 64 128] [--repeats 5]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sps

import jaxsolve as js
from benchmarks.timing import medians, report

RTOL = 1e-8


def diffusion(n: int, jump: float) -> js.SparseMatrix:
    """Five points on n² cells, with coefficients 1 and `jump` in the squares of a chequered board of 8²."""
    k = np.arange(n) * 8 // n
    c = np.where((k[:, None] + k) % 2, jump, 1.0)
    D = sps.diags_array([-np.ones(n), np.ones(n)], offsets=[0, -1], shape=(n + 1, n))
    between = np.pad(c, 1, mode="edge")
    across = 2 / (1 / between[:-1, 1:-1] + 1 / between[1:, 1:-1])
    along = 2 / (1 / between[1:-1, :-1] + 1 / between[1:-1, 1:])
    Dx, Dy = sps.kron(D, sps.eye_array(n)), sps.kron(sps.eye_array(n), D)
    A = Dx.T @ sps.diags_array(across.ravel()) @ Dx + Dy.T @ sps.diags_array(along.ravel()) @ Dy
    return js.SparseMatrix.from_scipy(sps.csr_array(A))


def kernel(n: int) -> jax.Array:
    """A dense kernel matrix: a few large eigenvalues, the others near the noise of 1e-3."""
    x = np.linspace(0, 1, n)
    return jnp.asarray(np.exp(-((x[:, None] - x) ** 2) / 5e-3) + 1e-3 * np.eye(n))


def compared(problem: str, A, B: jax.Array, recipe: str | None, repeats: int) -> None:
    """One row: iterations of the slowest column, seconds, and the ratio of these."""
    ready = {
        name: js.setup(A, js.Solve(name, rtol=RTOL, max_iterations=5000, preconditioner=recipe))
        for name in ("CG", "block-CG")
    }
    runs = {name: jax.jit(lambda B, s=s: js.solve_linear_many(s, B)) for name, s in ready.items()}
    times = medians({name: (lambda run=run: run(B)) for name, run in runs.items()}, repeats)
    steps = [int(js.solve_linear_info(s, B.T).iterations.max()) for s in ready.values()]
    seconds = [median for _, median in times.values()]
    report(
        problem=problem,
        columns=B.shape[1],
        preconditioner=recipe,
        iterations=steps,
        seconds=[round(s, 4) for s in seconds],
        ratio=seconds[1] / seconds[0],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--grids", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(41207)
    for k in options.columns:
        A = kernel(1000)
        compared("kernel 1000", A, jnp.asarray(rng.standard_normal((len(A), k))), None, options.repeats)
        for n in options.grids:
            for jump in (1.0, 1000.0):
                A, B = diffusion(n, jump), jnp.asarray(rng.standard_normal((n * n, k)))
                for recipe in (None, "jacobi", "ic", "amg"):
                    compared(f"{n}², jump {jump:g}", A, B, recipe, options.repeats)


if __name__ == "__main__":
    main()
