"""Incomplete factorisations: what they leave of a residual, their transposes, and how they fall back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxsolve as js
from jaxsolve.preconditioners.ilu.triangular import sweeps_for
from jaxsolve.preconditioners.ilu.zero_fill import plan_zero_fill, zero_fill_factors
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.host.superlu_incomplete import IncompleteCholesky, IncompleteLU, matched


def poisson(n):
    line = scipy.sparse.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])
    eye = scipy.sparse.eye_array(n)
    return scipy.sparse.csr_array(scipy.sparse.kron(line, eye) + scipy.sparse.kron(eye, line))


def convection(n, peclet=50.0):
    h = 1 / (n + 1)
    line = scipy.sparse.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])
    drift = scipy.sparse.diags_array([-np.ones(n - 1), np.ones(n)], offsets=[-1, 0])
    eye = scipy.sparse.eye_array(n)
    diffusion = scipy.sparse.kron(line, eye) + scipy.sparse.kron(eye, line)
    return scipy.sparse.csr_array(
        diffusion + peclet * h * (scipy.sparse.kron(drift, eye) + 0.5 * scipy.sparse.kron(eye, drift))
    )


def lognormal(n, seed=0):
    """Diffusion on a grid with conductivities exp(2 N(0, 1)) of the edges."""
    rng = np.random.default_rng(seed)
    rng.normal(size=(n + 1, n + 1))
    across, along = np.exp(2 * rng.normal(size=(n + 1, n))), np.exp(2 * rng.normal(size=(n, n + 1)))
    steps = scipy.sparse.diags_array([np.ones(n), -np.ones(n)], offsets=[0, -1], shape=(n + 1, n))
    eye = scipy.sparse.eye_array(n)
    rows, columns = scipy.sparse.kron(steps, eye), scipy.sparse.kron(eye, steps)
    weighted = (
        rows.T @ scipy.sparse.diags_array(across.ravel()) @ rows
        + columns.T @ scipy.sparse.diags_array(along.ravel()) @ columns
    )
    return scipy.sparse.csr_array(weighted)


def saddle(n=30, seed=12):
    """A matrix with zeros on its diagonal, as of constrained minimisation."""
    rng = np.random.default_rng(seed)
    H = np.diag(rng.uniform(1, 2, n))
    B = rng.normal(size=(n // 3, n)) * (rng.random((n // 3, n)) < 0.3)
    return np.block([[H, B.T], [B, np.zeros((n // 3, n // 3))]])


def left_over(A, M):
    """‖b - A M b‖ / ‖b‖."""
    b = np.random.default_rng(1).normal(size=A.shape[0])
    return np.linalg.norm(b - A @ np.asarray(M.mv(jnp.asarray(b)))) / np.linalg.norm(b)


def asymmetry(M):
    """|⟨u, M v⟩ - ⟨Mᵀ u, v⟩| relative to the first."""
    u, v = jnp.asarray(np.random.default_rng(2).normal(size=(2, M.shape[0])))
    forward, backward = jnp.vdot(u, M.mv(v)), jnp.vdot(M.T.mv(u), v)
    return float(abs(forward - backward) / abs(forward))


RECIPES = [js.ILU(), js.ILU(apply="device", drop_tol=1e-2), js.ILU(level=0, sweeps=20)]


@pytest.mark.few(1)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_transpose_is_exact_and_the_inverse_is_close(recipe):
    A = convection(12)
    M = recipe.build(js.SparseMatrix.from_scipy(A))
    assert left_over(A, M) < 0.7
    assert asymmetry(M) < 1e-12


@pytest.mark.further
def test_a_definite_matrix_gets_a_symmetric_definite_preconditioner():
    A = js.SparseMatrix.from_scipy(poisson(10)).declare(positive_definite=True)
    for recipe in (js.ILU(drop_tol=1e-2), js.Cholesky0(), js.ILU(level=0)):
        M = recipe.build(A)
        assert M.traits.positive_definite
        dense = np.asarray(M.as_matrix())
        np.testing.assert_allclose(dense, dense.T, atol=1e-13)
        assert np.linalg.eigvalsh(dense).min() > 0


@pytest.mark.cpu
def test_what_cg_and_minres_ask_for_is_definite_or_refused():
    asked = js.ILU().suited(definite=True)
    assert asked.build(js.SparseMatrix.from_dense(saddle())).traits.positive_definite
    with pytest.raises(ValueError, match="not symmetric"):
        asked.build(js.SparseMatrix.from_scipy(convection(6)))
    info = js.solve_linear_info(
        js.SparseMatrix.from_scipy(poisson(20)),
        jnp.ones(400),
        js.Solve("CG", rtol=1e-8, preconditioner="ilu"),
    )
    assert info.converged
    assert info.iterations < 10


def test_without_fill_the_product_of_the_factors_agrees_on_the_pattern():
    A = scipy.sparse.csr_matrix(convection(9))
    matrix = js.SparseMatrix.from_scipy(A)
    plan = plan_zero_fill(matrix.pattern)
    f = zero_fill_factors(matrix.data, matrix.pattern, False)
    lower = plan.lower[0].to_scipy(f.lower) + scipy.sparse.eye(81)
    upper = plan.upper[0].to_scipy(f.upper) + scipy.sparse.eye(81)
    scale = scipy.sparse.diags(np.asarray(f.scale))
    difference = (lower @ scipy.sparse.diags(np.asarray(f.pivots)) @ upper - scale @ A @ scale).toarray()
    # The sweeps end at a change of 1e-3.
    assert np.abs(difference[A.toarray() != 0]).max() < 3e-3
    assert f.usable


def test_a_full_pattern_without_fill_is_the_whole_factorisation():
    rng = np.random.default_rng(4)
    A = rng.normal(size=(12, 12)) + 12 * np.eye(12)
    M = js.ILU(level=0, sweeps=12).build(js.DenseMatrix(jnp.asarray(A)))
    assert left_over(A, M) < 1e-2


def test_the_diagonal_is_raised_until_the_pivots_are_positive():
    # Kershaw's matrix: definite, and its incomplete Cholesky factorisation meets a negative pivot.
    A = np.array([[3.0, -2, 0, 2], [-2, 3, -2, 0], [0, -2, 3, -2], [2, 0, -2, 3]])
    matrix = js.SparseMatrix.from_dense(A)
    M = js.Cholesky0().build(matrix)
    assert np.linalg.eigvalsh(np.asarray(M.as_matrix())).min() > 0
    assert zero_fill_factors(matrix.data, matrix.pattern, True).usable


@pytest.mark.further
def test_factors_without_fill_are_batched_and_traced():
    A = js.SparseMatrix.from_scipy(poisson(8))
    b = jnp.asarray(np.random.default_rng(5).normal(size=64))

    def one(data):
        return js.Cholesky0().build(js.SparseMatrix(data, A.pattern)).mv(b)

    scales = jnp.array([1.0, 3.0])
    z = jax.jit(jax.vmap(one))(scales[:, None] * A.data)
    np.testing.assert_allclose(z[1], z[0] / 3, rtol=1e-10)
    np.testing.assert_allclose(z[0], one(A.data), rtol=1e-10)


def test_zero_diagonals_are_met_with_pivoting():
    A = saddle()
    M = js.ILU().build(js.SparseMatrix.from_dense(A))
    assert left_over(A, M) < 0.5


def test_rows_are_matched_so_that_the_diagonal_is_large():
    rng = np.random.default_rng(8)
    order = rng.permutation(20)
    A = np.diag(rng.uniform(1, 2, 20)) + 1e-3 * (rng.random((20, 20)) < 0.2)
    shuffled = scipy.sparse.csc_matrix(A[order])
    found = matched(shuffled)
    assert np.abs(shuffled[found].diagonal()).min() >= 1
    assert matched(scipy.sparse.csc_matrix(np.array([[1.0, 1.0], [0.0, 0.0]]))) is None


def test_a_matrix_without_any_factorisation_falls_back_to_its_diagonal():
    singular = js.SparseMatrix.from_dense(np.array([[1.0, 2.0, 0], [0, 0, 0], [0, 1.0, 1.0]]))
    factor = IncompleteLU(singular.pattern, 10.0, 1e-4, "auto").factor(np.asarray(singular.data))
    assert "diagonal" in factor.description
    assert np.isfinite(js.ILU().build(singular).mv(jnp.ones(3))).all()


def test_complex_hermitian_factors_are_hermitian():
    A = poisson(6).toarray().astype(complex)
    A[0, 1] += 0.3j
    A[1, 0] -= 0.3j
    matrix = js.SparseMatrix.from_dense(A)
    factor = IncompleteCholesky(matrix.pattern, 10.0, 1e-2).factor(A[A != 0])
    inverse = factor.solve(np.eye(36, dtype=complex), "N")
    np.testing.assert_allclose(inverse, inverse.conj().T, atol=1e-13)
    np.testing.assert_allclose(factor.solve(np.eye(36, dtype=complex), "T"), inverse.T, atol=1e-13)
    M = js.Cholesky0().build(matrix)
    dense = np.asarray(M.as_matrix())
    np.testing.assert_allclose(dense, dense.conj().T, atol=1e-13)


def test_equal_matrices_share_their_factors():
    A = js.SparseMatrix.from_scipy(convection(7))
    js.ILU().build(A)
    made = FACTORS.made
    jax.jit(lambda data: js.ILU().build(js.SparseMatrix(data, A.pattern)).mv(jnp.ones(49)))(A.data)
    assert FACTORS.made == made


def test_options_are_checked():
    with pytest.raises(ValueError, match="level must be None"):
        js.ILU(level=2)
    with pytest.raises(ValueError, match="apply must be"):
        js.ILU(apply="gpu")  # pyright: ignore[reportArgumentType]  # the mistake under test
    with pytest.raises(ValueError, match="leave out"):
        js.ILU(level=0, apply="host")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"fill_factor": -1.0}, "at least 1; got -1"),
        ({"fill_factor": float("nan")}, "fill_factor must be a number of at least 1"),
        ({"drop_tol": -1e-3}, "from 0 to 1"),
        ({"drop_tol": "small"}, "drop_tol must be a number"),
        ({"permutation": "AMD"}, "permutation must be one of auto, NATURAL"),
        ({"level": 0, "drop_tol": 1e-2}, "no fill to choose"),
        ({"level": 0, "permutation": "COLAMD"}, "no fill to choose"),
        ({"level": 0, "sweeps": -1}, "sweeps must be None or an integer of at least 1; got -1"),
        ({"sweeps": 2.5}, "sweeps must be"),
        ({"sweeps": 3, "apply": "host"}, "leave out sweeps"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            js.ILU(**options)
    with pytest.raises(ValueError, match="sweeps must be"):
        js.Cholesky0(sweeps=0)
    matrix = js.SparseMatrix.from_scipy(convection(5))
    with pytest.raises(ValueError, match="known while tracing"):
        jax.jit(lambda d: js.ILU(apply="device").build(js.SparseMatrix(d, matrix.pattern)).mv(jnp.ones(25)))(
            matrix.data
        )


def test_sweeps_end_with_the_levels_of_a_triangle():
    # Red points before black ones: two levels.
    n = 16
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)])
    line = scipy.sparse.csr_matrix(2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))[order][:, order]
    strict = scipy.sparse.csr_matrix(scipy.sparse.tril(line, -1))
    assert sweeps_for(strict, 8) == 1
    assert sweeps_for(scipy.sparse.csr_matrix(np.eye(5, k=-1)), 8) == 4
    assert sweeps_for(scipy.sparse.csr_matrix(np.eye(5, k=-1)), 3) == 3
    assert sweeps_for(scipy.sparse.csr_matrix((5, 5)), 8) == 0
    M = js.ILU(level=0).build(js.SparseMatrix.from_scipy(line))
    assert M.lower.sweeps == M.upper.sweeps == 1
    v = np.linspace(1, 2, n)
    lower = np.eye(n) + np.asarray(M.lower.operator.as_matrix())
    np.testing.assert_allclose(M.lower.mv(jnp.asarray(v)), np.linalg.solve(lower, v), rtol=1e-12)


def test_what_was_factorised_is_told():
    assert "no row exchanges" in js.ILU().build(js.SparseMatrix.from_scipy(convection(6))).description
    assert "COLAMD" in js.ILU().build(js.SparseMatrix.from_dense(saddle())).description


@pytest.mark.parametrize("ordering", ["NATURAL", "COLAMD"])
def test_a_definite_factorisation_keeps_its_symmetry_in_any_order(ordering):
    A = js.SparseMatrix.from_scipy(poisson(7))
    M = js.ILU(definite=True, permutation=ordering, drop_tol=1e-2).build(A)
    assert ordering in M.description
    inverse = np.asarray(jax.vmap(M.mv)(jnp.eye(49)))
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-13)
    assert np.linalg.eigvalsh(inverse).min() > 0
    assert np.linalg.cond(inverse @ A.to_scipy().toarray()) < 2


def test_sweeps_are_those_asked_for_with_fill_too():
    A = js.SparseMatrix.from_scipy(convection(12))
    M = js.ILU(apply="device", sweeps=3).build(A)
    assert M.description.endswith("L by a series of 3 terms, U by a series of 3 terms")
    for definite, matrix in ((False, convection(12)), (True, poisson(12))):
        exact = js.ILU(apply="device", sweeps=200, definite=definite).build(
            js.SparseMatrix.from_scipy(matrix)
        )
        host = js.ILU(apply="host", definite=definite).build(js.SparseMatrix.from_scipy(matrix))
        np.testing.assert_allclose(exact.mv(jnp.ones(144)), host.mv(jnp.ones(144)), rtol=1e-8)


def test_a_matrix_without_rows_has_a_preconditioner():
    for recipe in (js.ILU(), js.ILU(apply="device"), js.ILU(level=0), js.Cholesky0()):
        info = js.solve_linear_info(
            scipy.sparse.csr_matrix((0, 0)), jnp.zeros(0), js.Solve("GMres", preconditioner=recipe)
        )
        assert info.converged


@pytest.mark.slow
def test_adjoint_solves_take_as_many_iterations():
    A = js.SparseMatrix.from_scipy(convection(256))
    b = jnp.asarray(np.random.default_rng(9).normal(size=256**2))
    for recipe in (js.ILU(), js.ILU(level=0)):
        M = recipe.build(A)
        solve = js.Solve("biCG-stab", rtol=1e-8)
        counts = []
        for operator, inverse in ((A, M), (A.T, M.T)):
            info = js.solve_linear_info(
                operator, b, js.Solve(solve.method, rtol=1e-8, preconditioner=inverse)
            )
            assert info.converged
            counts.append(int(info.iterations))
        assert max(counts) < 150
        assert max(counts) <= 1.2 * min(counts) + 1


@pytest.mark.slow
def test_poisson_takes_no_more_iterations_than_with_substitution_by_much():
    A = js.SparseMatrix.from_scipy(poisson(512)).declare(positive_definite=True)
    b = jnp.asarray(np.random.default_rng(0).normal(size=512**2))
    info = js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-8, preconditioner="ic"))
    assert info.converged
    # PETSc's ICC(0): 438.
    assert info.iterations <= 460


@pytest.mark.slow
def test_jumping_coefficients_take_no_more_iterations_than_with_substitution_by_much():
    A = js.SparseMatrix.from_scipy(lognormal(512)).declare(positive_definite=True)
    b = jnp.asarray(np.random.default_rng(0).normal(size=512**2))
    solve = js.Solve("CG", rtol=1e-8, max_iterations=2000, preconditioner="ic")
    info = js.solve_linear_info(A, b, solve)
    assert info.converged
    # PETSc's ICC(0): 1042.
    assert info.iterations <= 1100
