"""The house: file sizes, no private JAX, floors."""

import ast
import pathlib
import re
import shutil
import subprocess

import pytest

import jaxsolve as js

PACKAGE = pathlib.Path(js.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: What users rely on.
NAMES = """
solve_linear solve_linear_info solve_linear_many Solve SolveInfo SolveTape ConvergenceException
NotConverged Diverged jit SparseMatrix LinearOperator matrix_from_function jit_compile_linear
linearize_operator factorize setup explain plot spy read_matrix methods preconditioners
set_logging_level CG AdaptiveCG BiCG BiCGStab GMRES FGMRES MINRES CR IDR CGS TFQMR LSQR LSMR
SciPyDirect SciPyKrylov LU Cholesky QR SVD Banded SparseDirect Jacobi BlockJacobi ILU Cholesky0
Chebyshev Cluster SmoothedAggregation
"""
#: Longest file that needs no reason, in lines.
LONGEST = 450


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_one_idea(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert path.stem not in ("utils", "misc", "helpers", "common")
    assert text.startswith('"""'), "a module says what it is for"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_private_of_jax_is_imported(path):
    assert not re.search(r"^\s*(from|import) (jax|equinox)\._", path.read_text(), re.MULTILINE)


def test_public_names_are_spelled_out_and_exist():
    source = (PACKAGE / "__init__.py").read_text()
    for module, name in re.findall(r"^from (\S+) import \w+ as (\w+)$", source, re.MULTILINE):
        assert hasattr(js, name), (module, name)


@pytest.mark.parametrize("name", NAMES.split())
def test_the_fixed_names_are_public(name):
    assert hasattr(js, name)


@pytest.mark.skipif(shutil.which("lint-imports") is None, reason="import-linter is not installed")
def test_the_floors_hold():
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _names(node):
    return {getattr(n, "id", getattr(n, "attr", None)) for n in ast.walk(node)}


def test_no_module_asks_which_operator_it_has():
    trees = {path: ast.parse(path.read_text()) for path in FILES}
    classes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    classes = [(path, node) for path, node in classes if isinstance(node, ast.ClassDef)]
    rooms = {"AbstractOperator": PACKAGE / "operators"}
    # A class that stands on an operator is one.
    while found := {
        node.name: path.parent
        for path, node in classes
        if node.name not in rooms and set().union(*map(_names, node.bases)) & rooms.keys()
    }:
        rooms |= found
    assert {"SparseMatrix", "StencilOperator", "HostInverse"} <= rooms.keys()
    asked = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
        for path, tree in trees.items()
        if path.parent != PACKAGE / "operators"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _names(node.func) & {"isinstance", "issubclass", "register"}
        for name in sorted(set().union(*map(_names, node.args)) & rooms.keys())
        # A room may know its own.
        if rooms[name] != path.parent
    ]
    assert asked == []
