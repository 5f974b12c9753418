"""Multigrid-preconditioned solves beside pyamg, and PETSc with hypre: python -m benchmarks.multigrid.

One JSON line a row: iterations, seconds of the first set-up with all that is compiled for it (`first_setup`), of later
ones that remember nothing of the matrix or its pattern (`setup`, median of three; with the layout of the matrix for
products) and of one for new values on a known pattern (`setup_of_values`), of the solve (median of three), of its
compilation. Float64, rtol 1e-8, right-hand side of random normals. CPU seconds stand beside wall-clock
ones, for machines that are shared.
"""

import argparse
import gc
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax

from jaxsolve.front.request import Solve
from jaxsolve.linear.linear_solve import solve_linear
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.algebraic import RugeStuben, SmoothedAggregation
from jaxsolve.preconditioners.multigrid.automatic import Multigrid
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid
from jaxsolve.solvers.driver import Control, iterate
from jaxsolve.solvers.krylov.bicgstab import BiCGStab
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.nullspace import NullSpace
from tests.preconditioners.problems import convection, poisson, rough

PROBLEMS: dict[str, Callable] = {
    "poisson-512": lambda: poisson((512, 512)),
    "poisson-64^3": lambda: poisson((64, 64, 64)),
    "rough-512": lambda: rough(512),
    "convection-256": lambda: convection(256),
    "poisson-128": lambda: poisson((128, 128)),
    "poisson-1024": lambda: poisson((1024, 1024)),
    "poisson-2048": lambda: poisson((2048, 2048)),
}
RECIPES = {
    "amg": Multigrid(),
    "geometric": GeometricMultigrid(),
    "ruge-stuben": RugeStuben(),
    "smoothed-aggregation": SmoothedAggregation(),
}
RTOL = 1e-8


def timed(work: Callable) -> tuple[object, float, float]:
    """The result of some work, with its wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = jax.block_until_ready(work())
    return out, time.perf_counter() - wall, time.process_time() - cpu


def ours(name: str, matrix, recipe_name: str) -> dict:
    symmetric = name != "convection-256"
    A = SparseMatrix.from_scipy(matrix.copy()).declare(positive_definite=symmetric)
    b = jnp.asarray(np.random.default_rng(0).standard_normal(A.shape[0]))
    recipe = RECIPES[recipe_name]
    method = CG() if symmetric else BiCGStab()
    M, first, first_cpu = timed(lambda: prepared(recipe, A))
    del A, M
    A, M, again, again_cpu = renewed(matrix, recipe, symmetric)
    values = A.data * 1.001
    _, known, known_cpu = timed(lambda: prepared(recipe, SparseMatrix(values, A.pattern, A.traits)))

    @jax.jit
    def run(A, M, b):
        return iterate(method, A, M, b, None, Control(RTOL, 0.0, 1000), NullSpace())

    fast = A.layout()
    compiled, compile_wall, compile_cpu = timed(lambda: run.lower(fast, M, b).compile())
    rounds = [timed(lambda: compiled(fast, M, b)) for _ in range(4)][1:]
    out = rounds[0][0]
    return {
        "iterations": int(out.iterations),
        "converged": int(out.status) == 0,
        "first_setup": first,
        "first_setup_cpu": first_cpu,
        "setup": again,
        "setup_cpu": again_cpu,
        "setup_of_values": known,
        "setup_of_values_cpu": known_cpu,
        "solve": statistics.median(r[1] for r in rounds),
        "solve_cpu": min(r[2] for r in rounds),
        "compile": compile_wall,
        "compile_cpu": compile_cpu,
        "levels": len(M.sizes),
    }


def prepared(recipe, A: SparseMatrix):
    """The preconditioner, when also the matrix is laid out for products, as for an eager solve."""
    M = recipe.build(A)
    jax.block_until_ready(A.layout())
    return M


def renewed(matrix, recipe, symmetric: bool) -> tuple:
    """The last of three matrices and preconditioners that share nothing, median seconds and least CPU seconds."""
    rounds = []
    A = M = None
    for _ in range(3):
        del A, M
        gc.collect()
        A = SparseMatrix.from_scipy(matrix.copy()).declare(positive_definite=symmetric)
        M, wall, cpu = timed(lambda A=A: prepared(recipe, A))
        rounds.append((wall, cpu))
    return A, M, statistics.median(r[0] for r in rounds), min(r[1] for r in rounds)


def pyamg_row(name: str, matrix) -> dict | None:
    try:
        import pyamg  # noqa: PLC0415
    except ImportError:
        return None
    if name == "convection-256":
        return None
    b = np.random.default_rng(0).standard_normal(matrix.shape[0])
    hierarchy, setup, setup_cpu = timed(
        lambda: pyamg.smoothed_aggregation_solver(matrix, symmetry="symmetric")
    )
    history: list[float] = []
    _, solve, solve_cpu = timed(
        lambda: hierarchy.solve(b, tol=RTOL, accel="cg", residuals=history, maxiter=1000)
    )
    return {
        "iterations": len(history) - 1,
        "setup": setup,
        "setup_cpu": setup_cpu,
        "solve": solve,
        "solve_cpu": solve_cpu,
    }


def hypre_row(name: str, matrix, python: str | None) -> dict | None:
    """PETSc's row, measured by another Python where petsc4py is installed."""
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "matrix.npz"
        scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(matrix), compressed=False)
        script = pathlib.Path(__file__).with_name("hypre.py")
        method = "bcgs" if name == "convection-256" else "cg"
        out = subprocess.run(
            [python, script, path, method, str(RTOL)], capture_output=True, text=True, check=True
        )
    rounds = [json.loads(line) for line in out.stdout.splitlines()]
    return sorted(rounds, key=lambda row: row["setup"] + row["solve"])[len(rounds) // 2]


def diffusion(u, k):
    """-div k grad u on a grid, zero around it: between two points the mean of k there, at the walls k itself."""
    total = jnp.zeros_like(u)
    for axis in range(u.ndim):
        ends = [(1, 1) if a == axis else (0, 0) for a in range(u.ndim)]
        step = jnp.diff(jnp.pad(u, ends), axis=axis)
        walls = jnp.pad(k, ends, mode="edge")
        count = k.shape[axis] + 1
        before, after = (lax.slice_in_dim(walls, s, s + count, axis=axis) for s in (0, 1))
        total = total - jnp.diff((before + after) / 2 * step, axis=axis)
    return total


def sweep(n: int, lanes: int) -> dict:
    """A batch of coefficient fields against single solves, and a gradient against a forward solve, all in jit."""
    b = jnp.asarray(np.random.default_rng(0).standard_normal((n, n)))

    def solved(k, b):
        return solve_linear(diffusion, b, Solve("CG", rtol=RTOL, preconditioner="amg"), k)

    fields = jnp.exp(0.5 * jax.random.normal(jax.random.key(1), (lanes, n, n)))
    one = jax.jit(solved)
    many = jax.jit(jax.vmap(solved, (0, None)))
    slope = jax.jit(jax.value_and_grad(lambda k, b: jnp.sum(solved(k, b) ** 2)))

    compile_cpu = timed(lambda: one(fields[0], b))[2]
    other = (lambda: many(fields, b)) if lanes > 1 else (lambda: slope(fields[0], b))
    jax.block_until_ready(other())
    # In turns, since the speed of a shared machine changes from second to second.
    rounds = [([timed(lambda: one(fields[0], b))[1] for _ in range(4)], timed(other)[1]) for _ in range(5)]
    single = statistics.median(seconds for singles, _ in rounds for seconds in singles)
    name = "batch_per_single" if lanes > 1 else "gradient_per_single"
    return {
        "unknowns": n * n,
        "single": single,
        "first_call_cpu": compile_cpu,
        name: statistics.median(seconds for _, seconds in rounds) / single,
    }


def growth(recipe_name: str, sides: tuple[int, ...] = (128, 256, 512, 1024, 2048)) -> dict:
    """Iterations on Poisson's equation from grid to grid, and seconds of set-up and solve per million unknowns."""
    rows = [ours("", poisson((n, n)), recipe_name) for n in sides]

    def microseconds(part: str) -> list[float]:
        return [round(1e6 * row[part] / (n * n), 3) for n, row in zip(sides, rows, strict=True)]

    return {
        "sides": sides,
        "iterations": [row["iterations"] for row in rows],
        "setup_per_unknown_us": microseconds("setup"),
        "solve_per_unknown_us": microseconds("solve"),
        "first_setup": [round(row["first_setup"], 2) for row in rows],
        "compile": [round(row["compile"], 2) for row in rows],
    }


def alone(problem: str, recipe: str) -> None:
    """One row in a process of its own: programs compiled for one recipe keep patterns, and what is known of them."""
    arguments = ["--problems", problem, "--recipes", recipe]
    subprocess.run([sys.executable, "-m", "benchmarks.multigrid", *arguments], check=True)


def report(problem: str, who: str, row: dict | None) -> None:
    if row is None:
        return
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
    line = {
        "problem": problem,
        "who": who,
        **rounded,
        "device": str(jax.devices()[0]),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS)[:4], choices=list(PROBLEMS))
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--peers", action="store_true", help="also pyamg, where installed")
    parser.add_argument("--hypre", metavar="PYTHON", help="a Python with petsc4py, to measure hypre with")
    parser.add_argument("--sweeps", action="store_true", help="also a batch of fields, and a gradient")
    parser.add_argument(
        "--growth", action="store_true", help="instead: each recipe from 128² to 2048² unknowns"
    )
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if chosen.growth:
        for recipe in chosen.recipes:
            report("growth", recipe, growth(recipe))
        return
    single = len(chosen.problems) * len(chosen.recipes) == 1
    for problem in chosen.problems:
        matrix = PROBLEMS[problem]()
        for recipe in chosen.recipes:
            if single:
                report(problem, recipe, ours(problem, matrix, recipe))
            else:
                alone(problem, recipe)
        if chosen.peers:
            report(problem, "pyamg SA + CG", pyamg_row(problem, matrix))
        report(problem, "PETSc hypre", hypre_row(problem, matrix, chosen.hypre))
    if chosen.sweeps:
        report("16 fields of 256²", "amg, traced", sweep(256, 16))
        report("gradient at 512²", "amg, traced", sweep(512, 1))


if __name__ == "__main__":
    main()
