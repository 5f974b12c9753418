"""Errors say something: every exception that is raised has a text, and texts are sentences."""

import ast
import pathlib

import pytest

import jaxsolve as js

PACKAGE = pathlib.Path(js.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: Raised without a text: protocols of Python, methods that a subclass overrides, and what is caught next door.
SILENT = {"NotImplementedError", "StopIteration", "SystemExit", "KeyboardInterrupt", "ZeroDivisionError"}


def raised(path):
    """Each `raise Class(...)` of a file: line, class, arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc if isinstance(node.exc, ast.Call) else None
            name = ast.unparse(call.func if call else node.exc).split(".")[-1]
            if name and name[0].isupper():
                yield node.lineno, name, call.args if call else []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_exception_says_what_is_wrong(path):
    for line, name, arguments in raised(path):
        if name in SILENT:
            continue
        assert arguments, f"{path}:{line} raises {name} without a text"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_and_explain_print(path):
    if "cli" in path.parts or path.name == "explanation.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        printing = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        assert not printing, f"{path}:{getattr(node, 'lineno', 0)}"
