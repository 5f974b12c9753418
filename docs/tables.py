"""What the site takes from the package when it is built: tables of the registries, and the names of the reference.

A line `{{ name }}` in a page stands for a table below; `{{ reference: part part }}` for the public names that are
defined in these parts of the package. MkDocs calls `on_page_markdown`; the tests call it, too.
"""

import inspect
import re
from collections.abc import Iterable
from typing import Any

import jaxsolve as js
from jaxsolve import extend
from jaxsolve.linear.auto import FACTORISATIONS, PAIRS, PLAIN
from jaxsolve.solvers.nonlinear_registry import NONLINEAR

MARK = re.compile(r"^\{\{ ([^}]+) \}\}$", re.MULTILINE)

#: Of these classes the reference shows methods, too.
MEMBERS = {
    "Factorization": ["solve", "solve_transpose", "release", "description"],
    "LinearOperator": ["mv", "T", "H", "declare", "diagonal", "as_matrix", "transpose"],
    "SolveInfo": ["converged", "diverged", "message", "status"],
    "SolveTape": ["to_pandas"],
    "SparseMatrix": [
        "from_coo",
        "from_bcoo",
        "from_dense",
        "from_scipy",
        "to_bcoo",
        "to_scipy",
        "todense",
        "declare",
    ],
}


def table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in line)} |" for line in lines)


def methods() -> str:
    """The linear methods."""
    rows = [
        (f"`{e.name}`", e.needs, e.cost, e.storage, "yes" if e.preconditioned else "no")
        for e in js.methods().values()
    ]
    return table(["name", "needs", "an iteration costs", "vectors", "takes a preconditioner"], rows)


def preconditioners() -> str:
    """The preconditioners."""
    rows = [
        (f"`{e.name}`", e.needs, e.cost, "yes" if e.symmetric else "no")
        for e in js.preconditioners().values()
    ]
    return table(["name", "needs", "costs", "symmetric where A is"], rows)


def nonlinear() -> str:
    """The nonlinear methods."""
    found = [(name, NONLINEAR[name]()) for name in NONLINEAR]
    rows = [(f"`{name}`", ", ".join(m.solves), m.cost, m.place) for name, m in found]
    return table(["name", "solves", "an iteration costs", "runs on the"], rows)


def rules() -> str:
    """What `auto` chooses, in the order in which it is tried."""
    rows = [
        (rule.when, f"`{rule.method}`", f"`{rule.preconditioner}`" if rule.preconditioner else "", rule.why)
        for rule in (*FACTORISATIONS, *PAIRS, *PLAIN)
    ]
    return table(["A is", "method", "preconditioner", "because"], rows)


def statuses() -> str:
    """The reasons why a solve stopped."""
    rows = [(f"`{status.name}`", int(status), status.message) for status in js.Status]
    return table(["status", "number", "what happened, what to do"], rows)


TABLES = {f.__name__: f for f in (methods, preconditioners, nonlinear, rules, statuses)}


def public(room: Any) -> dict[str, Any]:
    """The names that a user may import."""
    return {n: v for n, v in vars(room).items() if n[0] != "_" and not inspect.ismodule(v)}


def reference(parts: str) -> list[str]:
    """The paths of the public names of some parts: folders or modules of the package, or `extend`."""
    if parts == "extend":
        return [f"jaxsolve.extend.{name}" for name in sorted(public(extend))]
    homes = tuple(f"jaxsolve.{part}." for part in parts.split())
    found = {name for name, value in public(js).items() if f"{value.__module__}.".startswith(homes)}
    return [f"jaxsolve.{name}" for name in sorted(found, key=str.lower)]


def entry(path: str) -> str:
    """The lines for which mkdocstrings writes the documentation of a name."""
    members = MEMBERS.get(path.split(".")[-1], []) if path.count(".") == 1 else []
    return f"::: {path}\n    options:\n      members: {members or 'false'}\n"


def filled(found: re.Match[str]) -> str:
    """What stands for a mark.

    Raises:
        KeyError: If there is no such table.
    """
    name, _, parts = found[1].partition(": ")
    return "\n".join(map(entry, reference(parts))) if name == "reference" else TABLES[name]()


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """The text of a page with its marks filled in."""
    return MARK.sub(filled, markdown)
