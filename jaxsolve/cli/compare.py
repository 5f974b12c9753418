"""`jaxsolve compare A.mtx ...`: methods and preconditioners side by side, their claims checked."""

import argparse
import math
import pathlib
import sys
import time
from typing import Any

from jaxsolve.cli import pictures
from jaxsolve.cli.inputs import (
    UsageError,
    load_matrix,
    load_rhs,
    matrix_files,
    method_of,
    names_in,
    preconditioner_of,
    stem,
)
from jaxsolve.cli.outputs import matplotlib, save
from jaxsolve.cli.ranking import fastest, python_line, ranked, shell_line
from jaxsolve.cli.runs import REFUSED, SKIPPED, Run, history, measured
from jaxsolve.cli.tables import print_json, print_table, progress, scientific, seconds
from jaxsolve.cli.tolerances import add_tolerances
from jaxsolve.front.request import AUTO, Solve, method_name
from jaxsolve.linear.auto import choose
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.direct.banded import Banded
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.host.direct import AbstractHostDirect
from jaxsolve.solvers.host.fill import has_full_structure, predicted_fill
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS

#: Methods of O(n³) or O(n w²) are tried unasked up to this many operations, some seconds on a core.
MOST_OPERATIONS = 2e10
#: Elimination on the host is tried unasked if it is predicted to take at most so many seconds.
MOST_SECONDS = 10.0
#: Seconds after which no further way is begun unasked.
PATIENCE = 60.0
ALL = "all"

HEADERS = ["method", "preconditioner", " iterations", " set-up", " solve", " true residual", "status"]

_DESCRIPTION = """\
Solves with many methods and preconditioners and prints a table: iterations, set-up and solve time after compilation,
true relative residual (computed by SciPy in double precision), status. A status that claims convergence where the
true residual exceeds 1.01 rtol is marked FALSE and makes the exit code 1.

For one matrix: every method without a preconditioner, and every preconditioner with the method that suits the matrix.
For several: every method without a preconditioner. `--methods` and `--preconditioners` take names with commas, or
`all`, and give all combinations.

Each row is shown as it comes, the sorted table at the end, with the fastest way that solves the system as a line of
Python and one of shell. Unasked, no way is begun after a minute, and none that is predicted to take long: `--all` tries
everything. Ctrl-C ends with the table so far.
"""


def register(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "compare",
        help="methods x preconditioners, side by side",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("matrices", nargs="+", metavar="A.mtx", help="matrices, or folders of them")
    parser.add_argument("--methods", metavar="a,b", help="names of methods, or `all`")
    parser.add_argument(
        "--preconditioners", metavar="p,q", help="names of preconditioners (`none` too), or `all`"
    )
    parser.add_argument("--all", action="store_true", help="all ways, however long it takes")
    add_tolerances(parser)
    parser.add_argument("--plot", metavar="out.png", help="write a picture (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> bool:
    """Prints the table; returns whether every claim of convergence is true."""
    files = matrix_files(given.matrices)
    several = len(files) > 1
    # Names are checked before anything is computed.
    methods = chosen(given.methods, METHODS, method_of)
    preconditioners = chosen(given.preconditioners, PRECONDITIONERS, preconditioner_of, "none")
    if given.plot:
        matplotlib()
    runs: list[Run] = []
    curves: list[tuple[str, list[int], list[float], bool]] = []
    started = time.perf_counter()
    # What is asked for by name is not left out.
    deadline = math.inf if given.all or given.methods else started + PATIENCE * len(files)
    try:
        for path in files:
            A = load_matrix(str(path), given.dtype)
            b = load_rhs(given.rhs, A)
            ways = combinations(A, methods, preconditioners, several)
            for k, (name, recipe) in enumerate(ways):
                method = method_of(name)
                solve = Solve(method, given.rtol, 0.0, given.max_iterations, preconditioner=recipe)
                now = time.perf_counter()
                if runs and now > deadline:
                    progress("")
                    left = f"{stem(path)}: {len(ways) - k} more ways left out after {now - started:.0f} s"
                    print(f"{left}: --all tries them", file=sys.stderr)
                    break
                progress(f"{stem(path)} {_ahead(k, len(ways), now - started, deadline - now)}: {solve!r}")
                reason = "" if given.methods or given.all else too_expensive(A, name, method)
                if reason:
                    runs.append(Run(stem(path), name, "none", SKIPPED, message=reason))
                    continue
                row = measured(stem(path), name, A, b, solve)
                runs.append(row)
                _stream(row, several, given)
                if given.plot and not several and row.iterations and _takes(method):
                    curves.append((row.way, *history(A, b, solve, row.iterations), row.converged))
    except KeyboardInterrupt:
        progress("")
        print("interrupted: this is what was found so far", file=sys.stderr)
    progress("")
    if given.plot and runs:
        figure = (
            pictures.outcomes(runs) if several else pictures.convergence(curves, given.rtol, runs[0].matrix)
        )
        save(figure, given.plot)
    if given.json:
        print_json(runs)
    else:
        _print(ranked(runs), several, given)
        if not several:
            _recommend(fastest(runs), str(files[0]), given)
    return not any(row.false for row in runs)


def chosen(text: str | None, registry: dict[str, Any], make: Any, *extra: str) -> list[str] | None:
    """The names in an option, checked; None where it was not given."""
    if text is None:
        return None
    names = [*extra, *registry] if text == ALL else names_in(text)
    if not names:
        raise UsageError(f"expected names with commas, or `{ALL}`; got '{text}'.")
    for name in names:
        make(name)
    return names


def combinations(
    A: SparseMatrix, methods: list[str] | None, preconditioners: list[str] | None, several: bool
) -> list[tuple[str, Any]]:
    """The pairs of a method's name and a preconditioner to try on A."""
    square = A.shape[0] == A.shape[1]
    names = [name for name in methods or METHODS if square or _fits_any_shape(method_of(name))]
    if preconditioners is not None:
        recipes = [preconditioner_of(name) for name in preconditioners]
        return [(m, p) for m in names for p in recipes if p is None or (square and _takes(method_of(m)))]
    pairs: list[tuple[str, Any]] = [(name, None) for name in names]
    if methods is None and square and not several:
        suited = method_name(choose(A, Solve(preconditioner=AUTO)).method)
        pairs += [(suited, preconditioner_of(name)) for name in PRECONDITIONERS]
    return pairs


def too_expensive(A: SparseMatrix, name: str, method: Any) -> str:
    """Why a method is not tried unasked, "" if it is."""
    n = min(A.shape)
    work = 0.0
    if isinstance(method, AbstractDense):
        work = float(n) ** 2 * max(A.shape)
    elif isinstance(method, Banded):
        lower, upper = A.pattern.bandwidth
        work = float(n) * lower * (lower + upper)
    elif (
        isinstance(method, AbstractHostDirect) and A.shape[0] == A.shape[1] and has_full_structure(A.pattern)
    ):
        fill = predicted_fill(A.pattern)
        if fill.seconds > MOST_SECONDS:
            return f"elimination predicted: {fill}; ask for it by --methods {name}"
    return f"takes {work:.0e} operations; ask for it by --methods {name}" if work > MOST_OPERATIONS else ""


def _ahead(done: int, total: int, spent: float, budget: float) -> str:
    """How far it is, and about how long it will take."""
    width = 20
    filled = width * done // max(total, 1)
    left = min(budget, spent / done * (total - done)) if done else budget
    about = f", about {max(left, 0):.0f} s left" if math.isfinite(left) else ""
    return f"[{'#' * filled}{'.' * (width - filled)}] {done + 1}/{total}{about}"


def _stream(row: Run, several: bool, given: argparse.Namespace) -> None:
    """Shows a row as soon as it is there; the table follows."""
    if given.json:
        return
    progress("")
    print("  ".join([row.matrix.ljust(16), *_padded(row)] if several else _padded(row)).rstrip(), flush=True)


def _padded(row: Run) -> list[str]:
    widths = (20, 14, 10, 9, 9, 13, 0)
    return [
        text.rjust(width) if header[0] == " " else text.ljust(width)
        for header, text, width in zip(HEADERS, _cells(row), widths, strict=True)
    ]


def _cells(row: Run) -> list[str]:
    steps = "" if row.iterations is None else str(row.iterations)
    times = [seconds(row.setup_time), seconds(row.solve_time)]
    return [row.method, row.preconditioner, steps, *times, scientific(row.residual), row.verdict]


def _recommend(best: Run | None, path: str, given: argparse.Namespace) -> None:
    """Prints the fastest way that solves the system, to paste."""
    if best is None:
        print("none of these solves the system")
        return
    further = [] if given.rhs is None else ["--rhs", given.rhs]
    further += ["--max-iterations", str(given.max_iterations)] if given.max_iterations != 1000 else []
    further += ["--dtype", given.dtype] if given.dtype != "float64" else []
    print(f"fastest that solves it: {best.way}, {seconds(best.setup_time + best.solve_time)}")
    print(f"python: {python_line(best, given.rtol, given.max_iterations)}")
    print(f"shell:  {shell_line(best, path, given.rtol, further)}")


def _takes(method: Any) -> bool:
    """Whether a method takes a preconditioner ("auto" does)."""
    return not isinstance(method, AbstractMethod) or method.preconditioned


def _fits_any_shape(method: Any) -> bool:
    """Whether a method solves rectangular systems ("auto" does)."""
    return not isinstance(method, AbstractMethod) or method.rectangular


def _print(runs: list[Run], several: bool, given: argparse.Namespace) -> None:
    rows = [[row.matrix, *_cells(row)] if several else _cells(row) for row in runs]
    print(f"{'' if several else given.matrices[0] + ', '}{given.dtype}, rtol {given.rtol:.0e}")
    marked = [k for k, row in enumerate(runs) if row.false]
    print_table(["matrix", *HEADERS] if several else HEADERS, rows, marked)
    for row in runs:
        if row.status in (REFUSED, SKIPPED) and not several:
            print(f"{row.method}, {row.preconditioner}: {row.status}: {row.message}")
    solved = sum(row.converged for row in runs)
    print(f"{solved} of {len(runs)} converged, {len(marked)} false claims")
    if given.plot:
        print(f"picture: {pathlib.Path(given.plot)}")
