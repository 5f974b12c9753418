"""Multigrid-preconditioned solves beside pyamg, and PETSc with hypre: python -m benchmarks.multigrid [--peers].

One JSON line a row: iterations, seconds to find the hierarchy's shape and numbers (`first_setup`), to find the numbers
again for the same pattern and values (`setup`), to solve (median of three), to compile. Float64, rtol 1e-8, right-hand
side of random normals. CPU seconds stand beside wall-clock ones, for machines that are shared.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.amg.automatic import Multigrid
from jaxsolve.preconditioners.amg.geometric import GeometricMultigrid
from jaxsolve.preconditioners.amg.recipes import RugeStuben, SmoothedAggregation
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
    A = SparseMatrix.from_scipy(matrix).declare(positive_definite=symmetric)
    b = jnp.asarray(np.random.default_rng(0).standard_normal(A.shape[0]))
    recipe = RECIPES[recipe_name]
    method = CG() if symmetric else BiCGStab()
    M, first, first_cpu = timed(lambda: recipe.build(A))
    M, again, again_cpu = timed(lambda: recipe.build(A))

    @jax.jit
    def run(A, M, b):
        return iterate(method, A.layout(), M, b, None, Control(RTOL, 0.0, 1000), NullSpace())

    compiled, compile_wall, compile_cpu = timed(lambda: run.lower(A, M, b).compile())
    rounds = [timed(lambda: compiled(A, M, b)) for _ in range(4)][1:]
    out = rounds[0][0]
    return {
        "iterations": int(out.iterations),
        "converged": int(out.status) == 0,
        "first_setup": first,
        "first_setup_cpu": first_cpu,
        "setup": again,
        "setup_cpu": again_cpu,
        "solve": statistics.median(r[1] for r in rounds),
        "solve_cpu": min(r[2] for r in rounds),
        "compile": compile_wall,
        "compile_cpu": compile_cpu,
        "levels": len(M.sizes),
    }


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


def petsc_row(name: str, matrix) -> dict | None:
    try:
        from petsc4py import PETSc  # noqa: PLC0415
    except ImportError:
        return None
    A = PETSc.Mat().createAIJ(size=matrix.shape, csr=(matrix.indptr, matrix.indices, matrix.data))
    solver = PETSc.KSP().create()
    solver.setOperators(A)
    solver.setType("cg" if name != "convection-256" else "bcgs")
    solver.getPC().setType("hypre")
    solver.setTolerances(rtol=RTOL)
    b = A.createVecLeft()
    b.setArray(np.random.default_rng(0).standard_normal(matrix.shape[0]))
    x = b.duplicate()
    _, setup, setup_cpu = timed(solver.setUp)
    _, solve, solve_cpu = timed(lambda: solver.solve(b, x))
    return {
        "iterations": solver.getIterationNumber(),
        "setup": setup,
        "setup_cpu": setup_cpu,
        "solve": solve,
        "solve_cpu": solve_cpu,
    }


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
    parser.add_argument("--peers", action="store_true", help="also pyamg and PETSc, where installed")
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for problem in chosen.problems:
        matrix = PROBLEMS[problem]()
        for recipe in chosen.recipes:
            report(problem, recipe, ours(problem, matrix, recipe))
        if chosen.peers:
            report(problem, "pyamg SA + CG", pyamg_row(problem, matrix))
            report(problem, "PETSc hypre", petsc_row(problem, matrix))


if __name__ == "__main__":
    main()
