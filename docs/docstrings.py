"""Docstrings for the site: the sections that only this package has become paragraphs, and its examples code."""

import re

import griffe

#: `Cost: text`, its further lines indented; Griffe would take the first line for the title of a box.
SECTION = re.compile(r"^(Solves|Builds|Cost|Source): (.*(?:\n +\S.*)*)", re.MULTILINE)
#: A session: its first line, and what follows without an empty line.
EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def paragraph(found: re.Match[str]) -> str:
    """The section as one paragraph that starts with its name."""
    return f"\n**{found[1]}**: {' '.join(found[2].split())}\n"


def code(found: re.Match[str]) -> str:
    """The session in fences: the brackets of its results are no links."""
    return f"```python\n{found[0]}\n```"


class Sections(griffe.Extension):
    """Rewrites the docstrings that are collected; those that classes inherit from `object` say nothing and go."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring is None:
            return
        if obj.name == "__init__":
            obj.docstring = None
        else:
            obj.docstring.value = EXAMPLE.sub(code, SECTION.sub(paragraph, obj.docstring.value))
