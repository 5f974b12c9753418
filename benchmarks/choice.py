"""What `auto` chooses beside the best of all combinations tried: python -m benchmarks.choice [NAME ...] [--budget 20]
[--minutes 60].

One JSON line a problem (float64, to 1e-8): what `auto` took, solved or not, its seconds with compilation and for new
values of the same pattern, the same of the fastest combination that solves the problem, and the ratio of the latter
seconds. A combination starts only while those before it took less than the budget together, and a problem while all
took less than the minutes; after each the time left is told on stderr. The last line is the median and the worst ratio,
and what was not solved or not begun.
"""

import argparse
import sys
import time
from typing import Any

import jax
import numpy as np
import scipy.sparse as sps

import jaxsolve as js
from benchmarks.timing import report
from tests.gallery.practice import matrix_folder, squares
from tests.linear.test_auto import links, random_graph, recirculation, rotated, saddle
from tests.preconditioners.problems import convection, irregular, poisson, rough

PROBLEMS = {
    "poisson 300²": lambda: poisson((300, 300)),
    "poisson 40³": lambda: poisson((40, 40, 40)),
    "poisson 100³": lambda: poisson((100, 100, 100)),
    "jumps 300²": lambda: rough(300),
    "irregular 40 000": lambda: irregular(40_000),
    "rotated anisotropy 300²": lambda: rotated(300),
    "indefinite 220²": lambda: poisson((220, 220)) - 0.15 * sps.identity(220**2),
    "convection 210²": lambda: convection(210),
    "recirculation 300²": lambda: recirculation(300, 1e-3),
    "saddle point 190²": lambda: saddle(190),
    "random graph 10 000": lambda: random_graph(10_000),
    "random graph 100 000": lambda: random_graph(100_000),
    "links 45 000": lambda: links(45_000),
}
COMBINATIONS = (
    ("CG", "jacobi"),
    ("CG", "amg"),
    ("CG", "ic"),
    ("biCG-stab", "jacobi"),
    ("biCG-stab", "ilu"),
    ("GMres", "ilu"),
    ("GMres", "amg"),
    ("sparse-direct", None),
)


def measured(matrix: Any, solve: js.Solve) -> dict[str, Any]:
    """How a request fares on two matrices of one pattern."""
    b, times, info = np.random.default_rng(1).standard_normal(matrix.shape[0]), [], None
    for factor in (1.0, 1.001):
        start = time.perf_counter()
        try:
            info = js.solve_linear_info(matrix * factor, b, solve)
        except js.StructureError as refusal:
            return {"status": f"refused: {refusal}", "solved": False, "cold": np.inf, "warm": np.inf}
        jax.block_until_ready(info.x)
        times.append(time.perf_counter() - start)
    assert info is not None
    status = js.Status(int(info.status)).name
    return {
        "method": info.method,
        "status": status,
        "solved": bool(info.converged),
        "cold": times[0],
        "warm": times[1],
    }


def compared(name: str, matrix: Any, budget: float) -> tuple[float, bool]:
    """Prints the line of one problem; the ratio, and whether `auto` solved it."""
    matrix = sps.csr_matrix(matrix)
    auto = measured(matrix, js.Solve(rtol=1e-8))
    found, started = {}, time.perf_counter()
    for method, preconditioner in COMBINATIONS:
        if time.perf_counter() - started > budget:
            break
        row = measured(matrix, js.Solve(method, rtol=1e-8, preconditioner=preconditioner))
        if row["solved"]:
            found[f"{method} + {preconditioner}" if preconditioner else method] = row
    best = min(found, key=lambda pair: found[pair]["warm"], default=None)
    told = {} if best is None else {"best": best, **{f"best {k}": found[best][k] for k in ("cold", "warm")}}
    ratio = auto["warm"] / min(auto["warm"], found[best]["warm"]) if best else 1.0
    report(problem=name, n=matrix.shape[0], **auto, **told, ratio=ratio)
    return ratio, auto["solved"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="parts of the names of problems or matrices; all where none is given"
    )
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of combinations a problem")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes of all problems")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    folder = matrix_folder()
    problems = dict(PROBLEMS)
    if folder is not None:
        problems |= {name: lambda matrix=matrix: matrix for name, matrix in squares(folder)}
    chosen = [name for name in problems if not options.names or any(part in name for part in options.names)]
    found: dict[str, tuple[float, bool]] = {}
    started = time.perf_counter()
    for name in chosen:
        spent = time.perf_counter() - started
        if spent > 60 * options.minutes:
            break
        found[name] = compared(name, problems[name](), options.budget)
        jax.clear_caches()
        spent = time.perf_counter() - started
        # Every problem takes what those before it took, up to the limit.
        left = min(spent / len(found) * (len(chosen) - len(found)), max(60 * options.minutes - spent, 0))
        print(f"{len(found)} of {len(chosen)}, about {left / 60:.1f} minutes left", file=sys.stderr)
    ratios = [ratio for ratio, solved in found.values() if solved]
    report(
        median=float(np.median(ratios)) if ratios else np.nan,
        worst=max(ratios, default=np.nan),
        failed=[name for name, (_, solved) in found.items() if not solved],
        not_begun=[name for name in chosen if name not in found],
    )


if __name__ == "__main__":
    main()
