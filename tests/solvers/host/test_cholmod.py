"""CHOLMOD: Cholesky factors of definite matrices, refusals of others, one analysis a pattern, and what "auto" does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve import extend
from jaxsolve.linear.auto import choose
from jaxsolve.solvers.host import cholmod
from jaxsolve.solvers.host.sparse_cholesky import Cholmod
from tests.preconditioners.problems import poisson

pytestmark = pytest.mark.skipif(not cholmod.has_cholmod(), reason="needs cvxopt")
SOLVE = js.Solve(js.SparseDirect("cholmod"), rtol=1e-12)


def definite(n, dtype, seed=3):
    rng = np.random.default_rng(seed)
    B = sps.random_array((n, n), density=min(1.0, 6 / n), rng=rng)
    if np.issubdtype(dtype, np.complexfloating):
        B = B + 1j * sps.random_array((n, n), density=min(1.0, 6 / n), rng=rng)
    return sps.csr_array(B @ B.conj().T + 0.1 * sps.eye_array(n)).astype(dtype)


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
def test_solutions_in_every_form_and_determinants_are_those_of_lapack(n, dtype):
    A = definite(n, dtype)
    S, dense = js.SparseMatrix.from_scipy(A), A.toarray().astype(np.result_type(dtype, np.float64))
    factor = Cholmod(S.pattern).factor(np.asarray(S.data))
    assert factor.status is js.Status.converged
    rng = np.random.default_rng(8)
    rhs = rng.standard_normal((n, 3)).astype(factor.dtype)
    if np.iscomplexobj(rhs):
        rhs += 1j * rng.standard_normal((n, 3))
    for form, matrix in (("N", dense), ("T", dense.T), ("H", dense.conj().T)):
        expected = np.linalg.solve(matrix, rhs)
        np.testing.assert_allclose(
            factor.solve(rhs, form), expected, rtol=1e-9, atol=1e-9 * abs(expected).max()
        )
    sign, size = factor.log_determinant()
    assert sign == 1
    np.testing.assert_allclose(size, np.linalg.slogdet(dense)[1], rtol=1e-9, atol=1e-9)


def test_supernodal_factors_have_the_determinant_of_sparse_ones():
    A = poisson((9, 9, 9))
    factor = Cholmod(js.SparseMatrix.from_scipy(A).pattern).factor(sps.csr_array(A).data)
    np.testing.assert_allclose(factor.log_determinant()[1], np.linalg.slogdet(A.toarray())[1], rtol=1e-10)


def test_matrices_that_are_not_definite_are_refused_in_words():
    b = jnp.ones(40)
    drift = sps.diags_array([-1.0, 3.0, -2.0], offsets=[-1, 0, 1], shape=(40, 40))
    hollow = sps.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(40, 40))
    for A in (drift, hollow, sps.diags_array([3.0, 1.0], offsets=[0, 1], shape=(40, 40))):
        with pytest.raises(js.StructureError, match="Hermitian positive definite matrices; A differs"):
            js.solve_linear(A, b, SOLVE)
    for A in (-definite(40, float), definite(40, float) - 2 * sps.eye_array(40)):
        with pytest.raises(js.NotConverged, match="not Hermitian positive definite"):
            js.solve_linear(A, b, SOLVE)
    drift = js.SparseMatrix.from_scipy(drift)
    solved = jax.jit(lambda d: js.solve_linear_info(js.SparseMatrix(d, drift.pattern), b, SOLVE))
    assert solved(drift.data).status == js.Status.not_positive_definite
    symmetric = js.SparseMatrix.from_scipy(drift.to_scipy() + drift.to_scipy().T)
    assert solved(symmetric.data).converged


def test_a_pattern_is_analysed_once_and_its_matrices_share_nothing(monkeypatch):
    A = js.SparseMatrix.from_scipy(definite(120, float, seed=5))
    asked, call = [], cholmod._call
    monkeypatch.setattr(cholmod, "_call", lambda name, *a: [asked.append(name), call(name, *a)][1])
    recipe, b = Cholmod(A.pattern), np.random.default_rng(0).standard_normal((120, 2))
    data = np.asarray(A.data)
    first, second = recipe.factor(data), recipe.factor(3 * data)
    assert asked.count("analyze") == 1
    assert asked.count("factorize") == 2
    np.testing.assert_allclose(first.solve(b, "N"), 3 * second.solve(b, "N"), rtol=1e-9)


@pytest.mark.further
def test_gradients_and_batches():
    A = js.SparseMatrix.from_scipy(definite(30, float))
    b = jnp.asarray(np.random.default_rng(2).standard_normal(30))
    x = np.linalg.solve(np.asarray(A.as_matrix()), b)
    y = np.linalg.solve(np.asarray(A.as_matrix()), 2 * x)
    found = jax.jit(
        jax.grad(lambda d: jnp.sum(js.solve_linear(js.SparseMatrix(d, A.pattern), b, SOLVE) ** 2))
    )(A.data)
    np.testing.assert_allclose(found, -y[A.pattern.rows] * x[A.pattern.indices], rtol=1e-8, atol=1e-8)
    scaled = jax.vmap(lambda c: js.solve_linear(js.SparseMatrix(c * A.data, A.pattern), b, SOLVE))
    np.testing.assert_allclose(scaled(jnp.array([1.0, 2.0])), np.stack([x, x / 2]), rtol=1e-9, atol=1e-12)


def test_auto_takes_it_for_definite_matrices_alone():
    A = sps.csr_array(poisson((20, 20)))
    assert "CHOLMOD" in js.factorize(A).description
    assert "s by CHOLMOD" in js.explain(sps.csr_array(poisson((40, 40))), np.ones(1600)).facts["elimination"]
    assert (
        "CHOLMOD"
        in js.factorize(
            js.SparseMatrix.from_scipy(definite(300, float)).declare(positive_definite=True)
        ).description
    )
    assert "SuperLU" in js.factorize(definite(300, float)).description
    assert "SuperLU" in js.factorize(A, backend="superlu").description
    # A declaration that is wrong costs nothing.
    wrong = js.SparseMatrix.from_scipy(A - 3 * sps.eye_array(400)).declare(positive_definite=True)
    solver = js.factorize(wrong)
    assert "SuperLU" in solver.description
    np.testing.assert_allclose(wrong @ solver.solve(jnp.ones(400)), np.ones(400), atol=1e-9)


def test_it_makes_elimination_the_cheaper_choice(monkeypatch):
    A = js.SparseMatrix.from_scipy(sps.csr_array(poisson((230, 230))))
    assert choose(A, js.Solve()).method.name == "sparse-direct"
    monkeypatch.setattr("jaxsolve.linear.knowledge.has_cholmod", lambda: False)
    assert choose(A, js.Solve()).method.name == "CG"


def test_factors_are_freed():
    A = js.SparseMatrix.from_scipy(definite(50, float))
    solver = js.factorize(A, backend="cholmod")
    x = solver.solve(jnp.ones(50))
    solver.release()
    np.testing.assert_allclose(solver.solve(jnp.ones(50)), x)


@pytest.mark.further
def test_it_passes_the_laws_of_backends():
    assert extend.check("cholmod").passed
