"""Real matrices: no method may call solved what is not, in double or in single precision."""

import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.solvers.direct.dense_factors import AbstractDense
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery.methods import relative_residual
from tests.gallery.practice import matrix_folder

RTOL = 1e-5
#: Larger matrices are not made dense: 6000² in double precision are 288 MB.
DENSE_LIMIT = 6000
#: Bands wider than this are left to the other methods.
BAND_LIMIT = 300
#: Small ones of each kind for every run: definite but ill-conditioned, indefinite and singular, complex.
QUICK = ("LFAT5", "fidapm05", "w156")
QUICK_METHODS = ("biCG-stab", "minres", "LU")
FOLDER = matrix_folder()


def square_matrices():
    """The names of all square matrices in the folder; one that skips where there is no folder."""
    if FOLDER is None:
        return ["none"]
    found = []
    for path in sorted(FOLDER.glob("*.npz")):
        with np.load(path) as stored:
            if stored["shape"][0] == stored["shape"][1]:
                found.append(path.stem)
    return found


def rectangular_matrices():
    """The names of the others."""
    square = square_matrices()
    return sorted({path.stem for path in FOLDER.glob("*.npz")}.difference(square)) if FOLDER else ["none"]


def load(folder: pathlib.Path, name: str) -> Any:
    return sps.csr_array(sps.load_npz(folder / f"{name}.npz"))


def single(A):
    return A.astype(np.complex64 if np.iscomplexobj(A) else np.float32)


def check_honest(A: Any, names: Iterable[str]) -> dict[str, str]:
    """Runs methods on A x = b with b = A 1 of moderate size; asserts that what converged is solved."""
    n = A.shape[0]
    S = js.SparseMatrix.from_scipy(A)
    b = (A @ np.ones(n)).astype(A.dtype)
    if not np.any(b):
        b = np.ones(n, A.dtype)
    table = {}
    for name in names:
        method = METHODS[name]()
        if isinstance(method, AbstractDense) and n > DENSE_LIMIT:
            table[name] = "too large"
            continue
        if name == "banded" and sum(S.pattern.bandwidth) > BAND_LIMIT:
            table[name] = "too wide"
            continue
        try:
            info = js.solve_linear_info(S, b, js.Solve(method, rtol=RTOL, max_iterations=300))
        except StructureError as refusal:
            table[name] = f"refused: {refusal}"
            continue
        assert info.x.dtype == A.dtype
        residual = relative_residual(A, info.x, b) if np.all(np.isfinite(info.x)) else np.inf
        table[name] = f"{info.status} in {int(info.iterations)}, true residual {residual:.2e}"
        if bool(info.converged):
            assert residual <= 1.01 * RTOL, (name, table[name])
        else:
            assert info.message
    return table


@pytest.mark.parametrize("name", QUICK)
def test_small_real_matrices_are_solved_honestly(name, matrices):
    A = load(matrices, name)
    for matrix in (A, single(A)):
        check_honest(matrix, QUICK_METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("name", square_matrices())
def test_no_method_calls_a_real_matrix_solved_that_is_not(name, precision, matrices):
    A = load(matrices, name)
    table = check_honest(A if precision == "double" else single(A), METHODS)
    print(f"\n{name} {A.shape[0]} {precision}")
    for method, result in table.items():
        print(f"    {method:16} {result}")
    # Every program was for this one pattern.
    jax.clear_caches()


@pytest.mark.further
@pytest.mark.parametrize("name", rectangular_matrices())
def test_rectangular_matrices_are_solved_by_default(name):
    if FOLDER is None:
        pytest.skip("no folder of real matrices: set JAXSOLVE_MATRICES")
    A = load(FOLDER, name)
    rng = np.random.default_rng(0)
    for b in (A @ rng.standard_normal(A.shape[1]), rng.standard_normal(A.shape[0])):
        x = js.solve_linear(A, b, js.Solve(rtol=1e-8))
        expected = np.linalg.lstsq(A.toarray(), b, rcond=None)[0]
        assert np.linalg.norm(x - expected) <= 1e-6 * np.linalg.norm(expected)
