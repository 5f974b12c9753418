"""Entries at the ends of the range of float32, in every method; and with XLA's optimisations off."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.status import CONVERGED
from tests.gallery.methods import mostly_slow

N = 6
# `tridiagonal` is `banded` for fewer diagonals than this matrix has.
ALL = [name for name in js.methods() if name not in ("auto", "tridiagonal")]
_R = np.random.default_rng(3).standard_normal((N, N))
#: Condition 22, entries from 0.2 to 8: all are normal numbers in each of the units.
A, X = _R @ _R.T + np.eye(N), np.random.default_rng(4).standard_normal(N)
UNITS = [(1e-37, 1e-37), (1e-37, 1e-30), (1e-36, 1e-30), (1e37, 1e30), (1e37, 1e37)]


def error(method, of_A, of_b):
    """The error of x, which is representable, for a matrix and a right-hand side in these units."""
    x = X * (of_b / of_A)
    matrix, b = np.asarray(A * of_A, np.float32), np.asarray(A @ X * of_b, np.float32)
    for v in (matrix, b):
        assert np.isfinite(v).all()
        assert abs(v).min() > np.finfo(np.float32).tiny
    info = js.solve_linear_info(matrix, b, js.Solve(method, rtol=1e-4))
    assert int(info.code) in CONVERGED, (method, of_A, of_b, info)
    return np.abs(np.asarray(info.x, float) - x).max() / np.abs(x).max()


@pytest.mark.parametrize(
    "method", mostly_slow(ALL, ["CG", "Cholesky", "lsmr", "sparse-direct", "scipy-GMres"])
)
def test_units_near_the_ends_of_float32_do_not_matter(method):
    for units in UNITS:
        assert error(method, *units) < 3e-3


@pytest.mark.further
def test_units_do_not_matter_where_xla_does_not_optimise_either():
    code = (
        "from tests.solvers.test_units import error\n"
        "for method in ('LU', 'CGS', 'lsmr'):\n"
        "    for units in ((1e-36, 1e-30), (1e37, 1e30)):\n"
        "        assert error(method, *units) < 3e-3\n"
    )
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **flags})


@pytest.mark.parametrize("method", ["CG", "LU", "lsmr"])
def test_a_guess_of_any_size_leads_to_no_false_verdict(method):
    rng = np.random.default_rng(3)
    G, b = rng.normal(size=(6, 6)), rng.normal(size=6).astype(np.float32)
    A = (G @ G.T + np.eye(6)).astype(np.float32)
    solve = jax.jit(lambda A, x0: js.solve_linear_info(A, b, js.Solve(method, x0=x0)))
    for size in np.array([1e-30, 1e-20, 1, 1e20, 1e30], np.float32):
        for guess in np.array([0, 1e-30, 1e-20, 1, 1e20], np.float32):
            info = solve(size * A, np.full(6, guess, np.float32))
            if info.converged:
                residual = b.astype(float) - (size * A).astype(float) @ np.asarray(info.x, float)
                assert np.linalg.norm(residual) <= 1.1e-5 * np.linalg.norm(b), (size, guess)
            else:
                # What is lost beside a guess so far off cannot be found again in float32.
                assert float(guess) * float(size) >= 1e30, (size, guess, info)
