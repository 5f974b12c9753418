"""`jaxsolve solve A.mtx`: one system, one method, and how it went."""

import argparse
import dataclasses
from typing import Any

import numpy as np

from jaxsolve.cli.inputs import (
    UsageError,
    attempt,
    completed,
    load_matrix,
    load_rhs,
    method_of,
    preconditioner_of,
)
from jaxsolve.cli.runs import is_false, judged, timed
from jaxsolve.cli.tables import print_facts, print_json, scientific, seconds
from jaxsolve.cli.tolerances import add_tolerances
from jaxsolve.front.request import AUTO, Solve, preconditioner_name
from jaxsolve.io.files import write_vector
from jaxsolve.linear.auto import choose
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS


def register(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "solve", help="solve A x = b", description="Solves A x = b; exits with 1 where no solution was found."
    )
    parser.add_argument("matrix", metavar="A.mtx", help="the matrix")
    method = parser.add_argument(
        "--method", default=AUTO, metavar="M", help="name of a method (default: auto)"
    )
    recipe = parser.add_argument(
        "--preconditioner", default="none", metavar="P", help="name of a preconditioner"
    )
    completed(method, [AUTO, *METHODS])
    completed(recipe, [AUTO, "none", *PRECONDITIONERS])
    add_tolerances(parser)
    parser.add_argument("--atol", type=float, default=0.0, help="absolute tolerance, in the units of b")
    parser.add_argument("--output", metavar="x.mtx", help="write the solution to a .mtx or .npy file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> bool:
    """Solves, prints, and returns whether the solve converged."""
    method, preconditioner = method_of(given.method), preconditioner_of(given.preconditioner)
    A = load_matrix(given.matrix, given.dtype)
    b = load_rhs(given.rhs, A)
    if not given.atol >= 0:
        raise UsageError(f"--atol must not be negative; got {given.atol}.")
    solve = Solve(method, given.rtol, given.atol, given.max_iterations, preconditioner=preconditioner)
    # A call without iterations compiles the program, so that the next one shows its speed.
    _, first = attempt(timed, A, b, dataclasses.replace(solve, max_iterations=0))
    info, time = attempt(timed, A, b, solve)
    x = np.asarray(info.x)
    residual, slope = judged(A, x, b)
    size = float(np.linalg.norm(b))
    tolerance = max(given.rtol, given.atol / size) if size > 0 else given.rtol
    if given.output:
        attempt(write_vector, given.output, x)
    choice = choose(A, solve)
    reason = "; ".join(choice.reasons) if method == AUTO else ""
    report = {
        "matrix": given.matrix,
        "rows": A.shape[0],
        "columns": A.shape[1],
        "entries": A.nnz,
        "dtype": np.dtype(x.dtype).name,
        "method": info.method,
        "reason": reason,
        "preconditioner": preconditioner_name(choice.preconditioner).lower(),
        "status": info.status.name,
        "converged": bool(info.converged),
        "false": is_false(info.status, residual, slope, tolerance, A.dtype),
        "iterations": int(info.iterations),
        "products": int(info.function_evaluations),
        "residual": residual,
        "slope": slope,
        "rtol": given.rtol,
        "atol": given.atol,
        "first_time": first,
        "time": time,
        "message": info.message,
        "output": given.output,
    }
    if given.json:
        print_json(report)
    else:
        _print(report)
    return report["converged"] and not report["false"]


def _print(report: dict[str, Any]) -> None:
    chosen = f" (chosen: {report['reason']})" if report["reason"] else ""
    facts = [
        ("matrix", f"{report['matrix']}, {report['rows']} x {report['columns']}, {report['entries']} entries, "
                   f"{report['dtype']}"),
        ("method", report["method"] + chosen),
        ("preconditioner", report["preconditioner"]),
        ("status", report["status"] + (" FALSE: the true residual is larger" if report["false"] else "")),
        ("iterations", f"{report['iterations']} ({report['products']} products)"),
        ("true residual", f"{scientific(report['residual'])} relative (rtol {report['rtol']:.1e})"),
        ("time", f"{seconds(report['time'])}, set-up included; {seconds(report['first_time'])} before to compile"),
    ]  # fmt: skip
    if report["output"]:
        facts.append(("solution", f"written to {report['output']}"))
    print_facts(facts)
    if not report["converged"]:
        print(report["message"])
