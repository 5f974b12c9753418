"""The least-squares problems of Moré, Garbow and Hillstrom: solved or not, and in how many steps."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import jaxsolve as js
from benchmarks.timing import report
from tests.gallery.more_garbow import PROBLEMS, Problem

#: The tolerance of jaxsolve, and those of MINPACK, by which both end at rounding.
RTOL, TIGHT = 1e-8, 1e-14


def compare_more_garbow() -> None:
    """A row for each problem from its standard starting point, and one of how many were solved."""
    solved = {"jaxsolve": 0, "scipy": 0}
    for number, problem in PROBLEMS.items():
        row: dict[str, Any] = {}
        for name, fit in (("jaxsolve", _own), ("scipy", _by_scipy)):
            squares, steps, said = fit(problem)
            right = problem.solved(squares)
            solved[name] += right
            row |= {
                f"{name}, squares": f"{squares:.5e}",
                f"{name}, steps": steps,
                name: said,
                f"{name}, right": right,
            }
        report(problem=f"{number} {problem.name}", **row)
    report(problem=f"published minima found, of {len(PROBLEMS)}", **solved)


def _own(problem: Problem) -> tuple[float, int, str]:
    solve = js.Solve(
        "levenberg-marquardt", x0=jnp.asarray(problem.start, float), rtol=RTOL, max_iterations=2000
    )
    info = js.least_squares_info(problem.residuals, solve)
    return 2 * float(info.objective), int(info.iterations), info.status.name


def _by_scipy(problem: Problem) -> tuple[float, int, str]:
    residuals, slopes = jax.jit(problem.residuals), jax.jit(jax.jacfwd(problem.residuals))
    jacobian: Any = lambda x: np.asarray(slopes(x))  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scipy.optimize.least_squares(
            lambda x: np.asarray(residuals(x)), np.asarray(problem.start, float), jac=jacobian, method="lm",
            x_scale="jac", ftol=TIGHT, xtol=TIGHT, gtol=TIGHT, max_nfev=2000,
        )  # fmt: skip
    return 2 * found.cost, int(found.nfev), "converged" if found.status > 0 else "max_nfev"
