"""`jaxsolve info A.mtx`: what a matrix is like, and what suits it."""

import argparse
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsolve.cli.inputs import load_matrix
from jaxsolve.cli.tables import print_facts, print_json
from jaxsolve.front.request import Solve, method_name, preconditioner_name
from jaxsolve.linear.auto import choose
from jaxsolve.operators.facts import Facts, facts_of
from jaxsolve.operators.layout import is_banded
from jaxsolve.operators.sparse import SparseMatrix


def register(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "info",
        help="what a matrix is like",
        description="Prints what a matrix is like and which solver suits it.",
    )
    parser.add_argument("matrix", metavar="A.mtx", help="the matrix")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> bool:
    """Prints the facts; returns True."""
    A = load_matrix(given.matrix, "float64")
    facts = facts_of(A.to_scipy())
    report = _report(given.matrix, A, facts)
    if given.json:
        print_json({**report, "facts": facts})
    else:
        print_facts(_lines(report, facts))
    return True


def _report(path: str, A: SparseMatrix, facts: Facts) -> dict[str, Any]:
    pattern = A.pattern
    choice = choose(A, Solve())
    counts = np.diff(pattern.indptr)
    return {
        "matrix": path,
        "rows": A.shape[0],
        "columns": A.shape[1],
        "entries": A.nnz,
        "dtype": np.dtype(A.dtype).name,
        "entries_per_row": [int(counts.min()), float(counts.mean()), int(counts.max())],
        "symmetry": symmetry(A, facts),
        "traits": list(A.traits.names()),
        "lower_bandwidth": pattern.bandwidth[0],
        "upper_bandwidth": pattern.bandwidth[1],
        "diagonals": len(pattern.offsets),
        "layout": "diagonals" if is_banded(pattern) else "rows",
        "dominance": facts.dominance.kind,
        "suggested_method": method_name(choice.method),
        "suggested_preconditioner": preconditioner_name(choice.preconditioner).lower(),
        "reason": "; ".join(choice.reasons),
    }


def symmetry(A: SparseMatrix, facts: Facts) -> str:
    """The symmetry of the values in a word."""
    if A.shape[0] != A.shape[1]:
        return "rectangular"
    if not (A.traits.symmetric or A.traits.hermitian):
        return "no"
    exact = facts.asymmetry if A.traits.symmetric else facts.hermitian_asymmetry
    rounding = "" if exact == 0 else " up to rounding"
    if not jnp.issubdtype(A.dtype, jnp.complexfloating):
        return f"symmetric{rounding}"
    if not A.traits.symmetric:
        return f"Hermitian{rounding}"
    return f"symmetric{rounding}, all values real" if A.traits.hermitian else f"complex symmetric{rounding}"


def _lines(report: dict[str, Any], facts: Facts) -> list[tuple[str, str]]:
    least, mean, most = report["entries_per_row"]
    square = report["rows"] == report["columns"]
    size = min(report["rows"], report["columns"])
    rank = facts.structural_rank
    zeros = f", {facts.explicit_zeros} of them zero" if facts.explicit_zeros else ""
    dominance = facts.dominance
    share = dominance.rows / max(dominance.size, 1)
    lines = [
        ("matrix", report["matrix"]),
        ("size", f"{report['rows']} x {report['columns']}, {report['dtype']}"),
        ("entries", f"{report['entries']}{zeros}; {least} to {most} a row, {mean:.1f} on average"),
        ("values", f"{facts.smallest:.2g} to {facts.largest:.2g} in size" + ("" if facts.finite else ", NOT FINITE")),
    ]  # fmt: skip
    if square:
        difference = "" if facts.asymmetry == 0 else f" (|A - A^T| / |A| = {facts.asymmetry:.1e})"
        lines += [
            ("pattern symmetry", f"{100 * facts.pattern_symmetry:.1f} % of the off-diagonal entries"),
            ("value symmetry", report["symmetry"] + difference),
        ]
    lines += [
        ("bandwidth", f"{report['lower_bandwidth']} below, {report['upper_bandwidth']} above"),
        ("diagonals", f"{report['diagonals']}; multiplied as {report['layout']}"),
    ]
    if square:
        lines += [
            ("zero diagonals", str(facts.zero_diagonals)),
            ("diagonal dominance", f"{dominance.kind} ({100 * share:.1f} % of the rows)"),
        ]
    singular = " (singular)" if square and rank < size else ""
    lines.append(("structural rank", f"{rank} of {size}{singular}"))
    if facts.empty_rows or facts.empty_columns:
        lines.append(("empty", f"{facts.empty_rows} rows, {facts.empty_columns} columns"))
    if report["traits"]:
        lines.append(("proven", ", ".join(name.replace("_", " ") for name in report["traits"])))
    recipe = report["suggested_preconditioner"]
    pair = report["suggested_method"] + ("" if recipe == "none" else f" + {recipe}")
    lines.append(("suggested", f"{pair}: {report['reason']}"))
    return lines
