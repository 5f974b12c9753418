"""Matrices from practice: circuits, structures, flow, power grids, optimisation."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxsolve as js
from tests.gallery.practice import SINGULAR, errors, is_false, is_solved, squares

#: A few of each kind for every run; all of them in the slow test.
SOME = ["west0479", "hangGlider_2", "w156", "nos7"]


def load(folder, name):
    return scipy.sparse.csr_matrix(scipy.sparse.load_npz(folder / f"{name}.npz"))


def solved(matrix, method, preconditioner=None):
    b = matrix @ np.ones(matrix.shape[0])
    A = js.SparseMatrix.from_scipy(matrix)
    info = js.solve_linear_info(A, jnp.asarray(b), js.Solve(method, rtol=1e-8, preconditioner=preconditioner))
    assert np.isfinite(info.x).all()
    relative, backward = errors(matrix, np.asarray(info.x), b)
    assert not (info.converged and is_false(relative, backward))
    return info, is_solved(relative, backward)


@pytest.mark.parametrize("name", SOME)
def test_a_few_are_solved_directly(name, matrices):
    matrix = load(matrices, name)
    assert solved(matrix, "sparse-direct")[1]


def test_the_singular_one_is_called_singular(matrices):
    info, fine = solved(load(matrices, SINGULAR), "sparse-direct")
    assert info.status == js.Status.singular
    assert not fine


@pytest.mark.slow
def test_all_are_solved_directly(matrices):
    failed = [name for name, matrix in squares(matrices) if not solved(matrix, "sparse-direct")[1]]
    assert failed == [SINGULAR]


@pytest.mark.slow
def test_most_are_solved_with_ilu(matrices):
    outcomes = {}
    for name, matrix in squares(matrices):
        outcomes[name] = any(solved(matrix, method, "ilu")[1] for method in ("GMres", "biCG-stab"))
    failed = [name for name, fine in outcomes.items() if not fine]
    assert len(failed) - 1 <= 0.15 * (len(outcomes) - 1), failed
