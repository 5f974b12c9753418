"""Ranking: the fastest way to solve a system among those that were tried, and how to write it down."""

import shlex

from jaxsolve.cli.runs import REFUSED, SKIPPED, Run


def ranked(runs: list[Run]) -> list[Run]:
    """Those that solved the system by their time, then those that did not, then those that did not run; by matrix."""
    order = {name: k for k, name in enumerate(dict.fromkeys(row.matrix for row in runs))}
    return sorted(runs, key=lambda row: (order[row.matrix], *_rank(row)))


def fastest(runs: list[Run]) -> Run | None:
    """The way that solved the system in the least time, its claim true; None where none did."""
    first = min(runs, key=_rank, default=None)
    return first if first is not None and _rank(first)[0] == 0 else None


def python_line(row: Run, rtol: float, limit: int) -> str:
    """A way to solve as a line of Python."""
    asked = [repr(method_of_row(row)), f"rtol={rtol:g}"]
    if limit != 1000:
        asked.append(f"max_iterations={limit}")
    if row.preconditioner != "none":
        asked.append(f"preconditioner={row.preconditioner!r}")
    return f"x = js.solve_linear(A, b, js.Solve({', '.join(asked)}))"


def shell_line(row: Run, path: str, rtol: float, further: list[str]) -> str:
    """A way to solve as a line of shell."""
    words = ["python", "-m", "jaxsolve", "solve", path, "--method", method_of_row(row)]
    if row.preconditioner != "none":
        words += ["--preconditioner", row.preconditioner]
    return shlex.join([*words, "--rtol", f"{rtol:g}", *further])


def method_of_row(row: Run) -> str:
    """The name of the method, "auto" without what it chose."""
    return row.method.split(":")[0]


def _rank(row: Run) -> tuple[int, float]:
    if row.status in (REFUSED, SKIPPED):
        return 3, 0.0
    if row.false:
        return 2, 0.0
    return (0, row.setup_time + row.solve_time) if row.converged else (1, 0.0)
