"""The house: file sizes, no private JAX, floors."""

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
linearize_operator factorize explain plot spy read_matrix methods preconditioners
set_logging_level CG AdaptiveCG BiCG BiCGStab GMRES FGMRES MINRES CR IDR CGS TFQMR LSQR LSMR
SciPyDirect SciPyKrylov LU Cholesky QR Banded SparseDirect Jacobi BlockJacobi ILU Cholesky0
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
