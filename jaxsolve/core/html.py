"""Small tables for notebooks: no colours of their own, so that they suit a dark page and a light one."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

_CELL = 'style="text-align: left; vertical-align: top"'


def facts_table(title: str, facts: Iterable[tuple[str, Any]], text: str = "") -> str:
    """A table of names and values, with a sentence below; all text is escaped.

    >>> facts_table("a < b", [("rows", 3)]).count("<tr>"), "a &lt; b" in facts_table("a < b", [])
    (1, True)
    """
    rows = "".join(f"<tr>{_cell('th', name)}{_cell('td', value)}</tr>" for name, value in facts)
    return f"<div><b>{_escaped(title)}</b><table>{rows}</table>{_escaped(text)}</div>"


def rows_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with a head, one row an entry; all text is escaped."""
    head = "".join(_cell("th", name) for name in columns)
    body = "".join(f"<tr>{''.join(_cell('td', value) for value in row)}</tr>" for row in rows)
    return f"<div><b>{_escaped(title)}</b><table><tr>{head}</tr>{body}</table></div>"


def _cell(tag: str, value: Any) -> str:
    return f"<{tag} {_CELL}>{_escaped(value)}</{tag}>"


def _escaped(value: Any) -> str:
    return html.escape(str(value)).replace("\n", "<br>")
