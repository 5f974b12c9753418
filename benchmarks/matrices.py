"""Matrices from practice solved directly and with ILU: python -m benchmarks.matrices [--only NAME ...] [--backend klu].

One JSON line a matrix (float64, b = A 1, to 1e-8): relative residual and normwise backward error of `sparse-direct`,
iterations and outcome of `GMres` and `biCG-stab` with `ilu`, and what the incomplete factorisation did.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsolve as js
from benchmarks.timing import report
from jaxsolve.solvers.host.superlu_incomplete import IncompleteLU
from tests.gallery.practice import errors, is_false, is_solved, matrix_folder, squares

ITERATIVE = ("GMres", "biCG-stab")


def outcome(A: Any, matrix: Any, method: Any, preconditioner: Any = None) -> dict[str, Any]:
    """What became of one solve."""
    b = matrix @ np.ones(matrix.shape[0])
    solve = js.Solve(method, rtol=1e-8, preconditioner=preconditioner)
    start = time.perf_counter()
    info = jax.block_until_ready(js.solve_linear_info(A, jnp.asarray(b), solve))
    relative, backward = errors(matrix, np.asarray(info.x), b)
    return {
        "status": js.Status(int(info.status)).name,
        "iterations": int(info.iterations),
        "relative": relative,
        "backward": backward,
        "solved": is_solved(relative, backward),
        "false": bool(info.converged) and is_false(relative, backward),
        "finite": bool(np.isfinite(info.x).all()),
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    folder = matrix_folder()
    assert folder is not None, "set JAXSOLVE_MATRICES to a folder of SciPy's .npz files"
    counts = {"matrices": 0, "direct": 0, "ilu": 0, "false": 0, "nan": 0}
    for name, matrix in squares(folder):
        if options.only and name not in options.only:
            continue
        A = js.SparseMatrix.from_scipy(matrix)
        direct = outcome(A, matrix, js.SparseDirect(options.backend))
        iterative = [outcome(A, matrix, method, "ilu") for method in ITERATIVE]
        recipe = js.ILU()
        start = time.perf_counter()
        factor = IncompleteLU(A.pattern, recipe.fill_factor, recipe.drop_tol, recipe.permutation).factor(
            np.asarray(A.data)
        )
        row = {"matrix": name, "n": matrix.shape[0], "direct": direct["status"]}
        row |= {"relative": f"{direct['relative']:.0e}", "backward": f"{direct['backward']:.0e}"}
        for method, found in zip(ITERATIVE, iterative, strict=True):
            row[method] = (
                found["iterations"] if found["solved"] else f"{found['status']} {found['relative']:.0e}"
            )
        report(**row, ilu=factor.description, ilu_s=time.perf_counter() - start)
        counts["matrices"] += 1
        counts["direct"] += direct["solved"]
        counts["ilu"] += any(found["solved"] for found in iterative)
        counts["false"] += sum(found["false"] for found in (direct, *iterative))
        counts["nan"] += sum(not found["finite"] for found in (direct, *iterative))
    report(**counts)


if __name__ == "__main__":
    main()
