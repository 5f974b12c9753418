"""One call through the house: the files it passes, and the places where problems are posed."""

import ast
import pathlib

import jax.numpy as jnp
import pytest

import jaxsolve as js
from benchmarks.hops import counted, hops

PACKAGE = pathlib.Path(js.__file__).parent
A, b = jnp.array([[4.0, 1.0], [1.0, 3.0]]), jnp.array([1.0, 2.0])
CG, LU = js.Solve("CG"), js.Solve("LU")


@pytest.mark.parametrize(
    ("call", "files", "calls"),
    [
        (lambda: js.solve_linear(A, b, js.Solve("CG")), 10, 50),
        (lambda: js.solve_linear(A, b, CG), 9, 32),
        (lambda: js.solve_linear(A, b, LU), 9, 32),
    ],
    ids=["with its request", "CG", "LU"],
)
def test_a_repeated_call_passes_few_files(call, files, calls):
    count = counted(hops(call))
    assert count["files"] <= files
    assert count["calls"] <= calls


def _made(name):
    """The files that call a class, or one of its constructors."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            function = node.func if isinstance(node, ast.Call) else None
            owner = function.value if isinstance(function, ast.Attribute) else function
            if isinstance(owner, ast.Name) and owner.id == name:
                found.add(str(path.relative_to(PACKAGE)))
    return found


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("Problem", {"linear/problem.py"}),
        ("Judge", {"front/answer.py"}),
        ("SolveInfo", {"front/answer.py", "front/reporting.py"}),
    ],
)
def test_there_is_one_place_for(name, files):
    assert _made(name) == files


def test_all_solves_are_answered_by_one_function():
    doors = {"linear/linear_solve.py", "nonlinear/nonlinear_solve.py", "nonlinear/load_path.py"}
    assert _made("answered") == doors
