"""`jaxsolve demo`: a diffusion problem written as a function, solved several ways, and a coefficient fitted to data."""

import argparse
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.cli import pictures
from jaxsolve.cli.diffusion import TIGHT, diffusion, layers, rock, wells
from jaxsolve.cli.inputs import UsageError, method_of, preconditioner_of
from jaxsolve.cli.outputs import pictures_missing, save
from jaxsolve.cli.runs import REFUSED, Run, history, measured, timed
from jaxsolve.cli.tables import print_table, progress, scientific, seconds
from jaxsolve.core.checks import jit
from jaxsolve.front.request import Solve
from jaxsolve.linear.linear_solve import solve_linear
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.tracer.assembly import matrix_from_function

#: Methods shown without a preconditioner, as far as they are registered: before and after the preconditioned ones.
SHOWN, LAST = ("CG", "sparse-direct"), ("minres", "GMres")
#: Preconditioners shown first: a slow machine runs out of time after them.
FIRST = ("jacobi", "ic", "amg")
#: What preconditioners work with, where they keep the symmetry of A and where they do not.
SYMMETRIC, OTHER = "CG", "biCG-stab(2)"
RTOL, LIMIT = 1e-8, 2000
#: Seconds after which no further way is tried, so that the demo ends within a minute on a slow machine.
PATIENCE = 20.0


def register(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "demo",
        help="a problem solved several ways, and a coefficient fitted",
        description="Writes 2-D diffusion as a JAX function, solves it several ways, fits a coefficient through the "
        "solve, and draws what it did.",
    )
    parser.add_argument("--size", type=int, default=64, metavar="N", help="cells along a side (default 64)")
    parser.add_argument("--output", default="demo.png", metavar="FILE", help="picture (default demo.png)")
    parser.add_argument("--all", action="store_true", help="all ways to solve, however long it takes")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> bool:
    """Runs the demo; returns whether the fit found the coefficient."""
    if given.size < 8:
        raise UsageError(f"--size must be at least 8; got {given.size}.")
    started = time.perf_counter()
    background, inside = layers(given.size)
    conductivity, b = rock(background, inside, np.log(TIGHT)), wells(given.size)
    print(f"-div(k grad x) = b on {given.size} x {given.size} cells, k between "
          f"{float(conductivity.min()):.2g} and {float(conductivity.max()):.3g}, rtol {RTOL:.0e}")  # fmt: skip

    A, reading = trace(conductivity)
    print(f"as a function of (x, conductivity), traced to {A.shape[0]} x {A.shape[1]} with {A.nnz} entries in "
          f"{seconds(reading)}")  # fmt: skip
    runs, curves, x = solve_all(A, conductivity, b, math.inf if given.all else started + PATIENCE)
    print_runs(runs)

    path = fit(background, inside, x)
    found, misfit = path[-1]
    print(f"conductivity of the inclusions by gradient descent through the solve: {path[0][0]:.3f} -> {found:.4f} in "
          f"{len(path) - 1} steps (true {TIGHT}), misfit {path[0][1]:.1e} -> {misfit:.1e}")  # fmt: skip
    if pictures_missing():
        print(f"no picture: {pictures_missing()}")
    else:
        figure = pictures.demo(conductivity, x, curves, RTOL, path, TIGHT)
        save(figure, given.output)
        print(f"picture: {given.output}")
    print(f"total {seconds(time.perf_counter() - started)}")
    return abs(found / TIGHT - 1) < 0.01


def trace(conductivity: jax.Array) -> tuple[SparseMatrix, float]:
    """The matrix of the diffusion function, and the seconds it took to read."""
    start = time.perf_counter()
    matrix, _ = matrix_from_function(diffusion, conductivity, conductivity)
    A = SparseMatrix.from_bcoo(matrix).declare(positive_definite=True)
    return A, time.perf_counter() - start


def solve_all(
    A: SparseMatrix, conductivity: jax.Array, b: jax.Array, deadline: float
) -> tuple[list[Run], list[tuple[str, list[int], list[float], bool]], np.ndarray]:
    """The runs of all ways to solve, the residual histories of those that iterate, and the solution on the grid."""

    def function(solve: Solve) -> Any:
        return timed(diffusion, b, solve, conductivity=conductivity)

    ways: list[tuple[str, str, Any, Any]] = [("function", SYMMETRIC, None, function)]
    ways += [("matrix", name, None, None) for name in SHOWN if name in METHODS]
    for name in sorted(PRECONDITIONERS, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        recipe = preconditioner_of(name)
        ways.append(("matrix", SYMMETRIC if recipe.symmetric else OTHER, recipe, None))
    ways += [("matrix", name, None, None) for name in LAST if name in METHODS]
    rhs = np.asarray(b).reshape(-1)
    runs, curves = [], []
    for form, name, recipe, call in ways:
        if runs and time.perf_counter() > deadline:
            print(f"{len(ways) - len(runs)} more ways left out, to end within a minute: --all shows them")
            break
        method = method_of(name)
        solve = Solve(method, RTOL, 0.0, LIMIT, preconditioner=recipe)
        progress(f"{form}: {solve!r}")
        row = measured(form, name, A, rhs, solve, call)
        runs.append(row)
        if form == "matrix" and row.iterations and method.preconditioned:
            curves.append((row.way, *history(A, rhs, solve, row.iterations), row.converged))
    progress("")
    best = timed(A, rhs, Solve(SYMMETRIC, RTOL, max_iterations=LIMIT))[0]
    return runs, curves, np.asarray(best.x).reshape(b.shape)


def print_runs(runs: list[Run]) -> None:
    """Prints the table."""
    headers = ["A as", "method", "preconditioner", " iterations", " compile", " set-up", " solve", " true residual",
               "status"]  # fmt: skip
    rows = []
    for row in runs:
        times = [seconds(t) for t in (row.compile_time, row.setup_time, row.solve_time)]
        steps = "" if row.iterations is None else str(row.iterations)
        rows.append(
            [row.matrix, row.method, row.preconditioner, steps, *times, scientific(row.residual), row.verdict]
        )
    print_table(headers, rows, [k for k, row in enumerate(runs) if row.false])
    for row in runs:
        if row.status == REFUSED:
            print(f"{row.method}, {row.preconditioner}: refused: {row.message}")


def fit(background: np.ndarray, inside: np.ndarray, observed: np.ndarray) -> list[tuple[float, float]]:
    """Conductivity of the inclusions and relative misfit at every step, from 1 on.

    Gradient descent on its logarithm with the step of Barzilai and Borwein (1988); each gradient is one more solve.
    """
    size = background.shape[0]
    sensors = (slice(size // 16, None, size // 8), slice(size // 16, None, size // 8))
    data = jnp.asarray(observed[sensors])
    solve = Solve(SYMMETRIC, RTOL, max_iterations=LIMIT, preconditioner="jacobi")

    def misfit(log_tightness: jax.Array) -> jax.Array:
        x = solve_linear(diffusion, wells(size), solve, conductivity=rock(background, inside, log_tightness))
        return jnp.sum((x[sensors] - data) ** 2) / jnp.sum(data**2)

    gradient = jit(jax.value_and_grad(misfit))
    theta, path = jnp.zeros(()), []
    before: tuple[Any, Any] | None = None
    for _ in range(20):
        value, slope = gradient(theta)
        path.append((float(jnp.exp(theta)), float(value)))
        if value < 1e-12:
            break
        # The first step halves the conductivity or doubles it; then the slope's change tells the curvature.
        rate = np.log(2) / abs(slope) if before is None else abs((theta - before[0]) / (slope - before[1]))
        before = (theta, slope)
        theta = theta - jnp.clip(rate * slope, -1, 1)
    return path
