"""Tables and lines for people, JSON for programs; plain ASCII, since terminals differ."""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

try:
    from rich.console import Console
    from rich.table import Table
except ImportError:
    Console = Table = None


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[int] = ()) -> None:
    """Prints rows of text under headers; by `rich` on a terminal where that is installed.

    Args:
        headers: One a column; those that start with a space are set flush right, and their column.
        rows: The cells.
        marked: Numbers of the rows to highlight.
    """
    right = [header.startswith(" ") for header in headers]
    titles = [header.strip() for header in headers]
    widths = [max(len(row[k]) for row in [titles, *rows]) for k in range(len(titles))]
    # A frame takes three characters a column; cut cells would be worse than no frame.
    if Table is not None and Console is not None and sys.stdout.isatty():
        console = Console()
        if sum(widths) + 3 * len(widths) < console.width:
            table = Table()
            for title, flush in zip(titles, right, strict=True):
                table.add_column(title, justify="right" if flush else "left", no_wrap=True)
            for k, row in enumerate(rows):
                table.add_row(*row, style="bold red" if k in marked else None)
            console.print(table)
            return
    print(_line(titles, widths, right))
    print("  ".join("-" * width for width in widths))
    for row in rows:
        print(_line(row, widths, right))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
    return "  ".join(padded).rstrip()


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and values in two columns."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name.ljust(width)}  {value}")


def print_json(value: Any) -> None:
    """Prints dataclasses, dictionaries, lists and numbers as JSON; what is not finite becomes null."""
    print(json.dumps(_plain(value), indent=2))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def seconds(time: float) -> str:
    """A time for people.

    >>> seconds(0.00031), seconds(0.0456), seconds(1.234), seconds(0.0), seconds(float("nan"))
    ('0.31 ms', '45.6 ms', '1.23 s', '-', '')
    """
    if time == 0:
        return "-"
    if math.isnan(time):
        return ""
    return f"{time:.2f} s" if time >= 1 else f"{1e3 * time:.{2 if time < 0.01 else 1}f} ms"


def scientific(value: float) -> str:
    """A residual for people; nothing for NaN.

    >>> scientific(3.14159e-7), scientific(float("nan"))
    ('3.1e-07', '')
    """
    return "" if math.isnan(value) else f"{value:.1e}"


def progress(text: str) -> None:
    """Shows on a terminal what is being done, on one line that the next text overwrites."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
