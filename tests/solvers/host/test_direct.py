"""Sparse direct solvers: factors made once, shared, transposed, remade when forgotten."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxsolve as js
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.host.klu import _library
from jaxsolve.solvers.host.superlu import SuperLU, equilibrated

N = 24
BACKENDS = [
    "superlu",
    pytest.param("klu", marks=pytest.mark.skipif(_library() is None, reason="needs klujax")),
]


def sample(dtype=np.float64, seed=4410):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(N, N))
    if np.issubdtype(dtype, np.complexfloating):
        A = A + 1j * rng.normal(size=(N, N))
    A[rng.random((N, N)) < 0.7] = 0
    A += 6 * np.eye(N)
    return A.astype(dtype)


@pytest.fixture
def b():
    return np.random.default_rng(97).normal(size=N)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
def test_the_inverse_and_its_transposes(dtype, backend, b):
    dense = sample(dtype)
    M = js.SparseDirect(backend).prepare(js.SparseMatrix.from_dense(dense))
    b = b.astype(dtype)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for operator, matrix in ((M, dense), (M.T, dense.T), (M.H, dense.conj().T), (M.T.T, dense)):
        z = operator.mv(jnp.asarray(b))
        assert z.dtype == dtype
        np.testing.assert_allclose(z, np.linalg.solve(matrix, b), rtol=tolerance, atol=tolerance)


def test_a_real_matrix_solves_for_complex_right_hand_sides(b):
    dense = sample()
    M = js.SparseDirect().prepare(js.SparseMatrix.from_dense(dense))
    np.testing.assert_allclose(M.mv(jnp.asarray(b + 2j)), np.linalg.solve(dense, b + 2j), rtol=1e-11)


def test_a_constant_matrix_is_factorised_while_tracing_and_never_again(b):
    A = js.SparseMatrix.from_dense(sample(seed=1))
    program = jax.jit(lambda v: js.SparseDirect().prepare(A).mv(v))
    made = FACTORS.made
    for k in range(3):
        program((k + 1) * jnp.asarray(b))
    assert FACTORS.made == made + 1


def test_a_traced_matrix_is_factorised_once_a_solve(b):
    A = js.SparseMatrix.from_dense(sample(seed=2))

    def repeated(data, v):
        M = js.SparseDirect().prepare(js.SparseMatrix(data, A.pattern))
        return jax.lax.fori_loop(0, 6, lambda _, x: M.mv(M.T.mv(x)), v)

    program = jax.jit(repeated)
    made = FACTORS.made
    program(A.data, jnp.asarray(b))
    assert FACTORS.made == made + 1
    program(3 * A.data, jnp.asarray(b))
    assert FACTORS.made == made + 2


def test_lanes_over_right_hand_sides_share_a_factor_and_lanes_of_matrices_do_not(b):
    dense = sample(seed=3)
    A = js.SparseMatrix.from_dense(dense)
    B = jnp.stack([jnp.asarray(b), 2 * jnp.asarray(b)])
    scales = jnp.array([1.0, 2.0, 4.0])

    def one(data, v):
        return js.SparseDirect().prepare(js.SparseMatrix(data, A.pattern)).mv(v)

    made = FACTORS.made
    x = jax.jit(jax.vmap(one, in_axes=(None, 0)))(A.data, B)
    assert FACTORS.made == made + 1
    np.testing.assert_allclose(x, np.linalg.solve(dense, np.asarray(B).T).T, rtol=1e-10)
    x = jax.jit(jax.vmap(one, in_axes=(0, None)))(scales[:, None] * A.data, B[0])
    assert FACTORS.made == made + 3
    np.testing.assert_allclose(x, np.linalg.solve(dense, b)[None] / np.asarray(scales)[:, None], rtol=1e-10)


def test_forgotten_factors_are_made_again(b):
    dense = sample(seed=5)
    A = js.SparseMatrix.from_dense(dense)
    M = js.SparseDirect().prepare(A)
    many = jax.vmap(lambda s: js.SparseDirect().prepare(js.SparseMatrix(s * A.data, A.pattern)))(
        jnp.array([1.0, 2.0])
    )
    FACTORS.clear()
    expected = np.linalg.solve(dense, b)
    np.testing.assert_allclose(M.mv(jnp.asarray(b)), expected, rtol=1e-10)
    FACTORS.clear()
    x = jax.vmap(lambda m: m.mv(jnp.asarray(b)))(many)
    np.testing.assert_allclose(x, np.stack([expected, expected / 2]), rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_singular_matrices_are_called_singular(backend):
    exact = js.SparseMatrix.from_dense(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(js.NotConverged) as caught:
        js.solve_linear(exact, jnp.array([1.0, 0.0, 0.0]), js.Solve(js.SparseDirect(backend)))
    assert caught.value.result.status == js.Status.singular
    assert np.isfinite(caught.value.result.x).all()
    # Structurally singular: an empty row.
    empty = js.SparseMatrix.from_dense(np.array([[1.0, 2.0], [0.0, 0.0]]))
    assert js.SparseDirect(backend).prepare(empty).status == js.Status.singular


def test_a_dense_matrix_of_deficient_rank_is_called_singular():
    rng = np.random.default_rng(6)
    A = rng.normal(size=(20, 18)) @ rng.normal(size=(18, 20))
    info = js.solve_linear_info(jnp.asarray(A), jnp.ones(20), js.Solve("scipy-direct"))
    assert info.status == js.Status.singular


def test_nan_in_the_matrix_is_invalid_input():
    A = js.SparseMatrix.from_dense(np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert js.SparseDirect().prepare(A).status == js.Status.invalid_input
    assert js.solve_linear_info(A, jnp.ones(2), js.Solve("sparse-direct")).status == js.Status.invalid_input


def test_scaling_rounds_nothing_and_keeps_symmetry():
    dense = sample(seed=8)
    dense = dense + dense.T
    units = 10.0 ** np.arange(-12, 12)
    dense *= units[:, None] * units
    A = js.SparseMatrix.from_dense(dense)
    scaled, left, right = equilibrated(A.pattern, np.asarray(A.data))
    assert (left == right).all()
    assert (np.frexp(left)[0] == 0.5).all()
    assert (np.abs(scaled) != np.abs(scaled).T).nnz == 0
    assert np.abs(scaled).max() <= 4
    x = SuperLU(A.pattern).factor(np.asarray(A.data)).solve(dense @ (1 / units)[:, None], "N")
    np.testing.assert_allclose(x[:, 0] * units, 1, rtol=1e-9)


def test_factorize_solves_columns_and_transposes_and_differentiates(b):
    dense = sample(seed=9)
    A = js.SparseMatrix.from_dense(dense)
    with js.factorize(A) as solver:
        both = solver.solve(jnp.stack([b, 2 * b], axis=1))
        np.testing.assert_allclose(both, np.linalg.solve(dense, np.stack([b, 2 * b], axis=1)), rtol=1e-11)
        np.testing.assert_allclose(solver.solve_transpose(b), np.linalg.solve(dense.T, b), rtol=1e-11)
        slope = jax.grad(lambda v: solver.solve(v)[3])(jnp.asarray(b))
        np.testing.assert_allclose(slope, np.linalg.inv(dense)[3], rtol=1e-10, atol=1e-14)
        held = len(FACTORS)
    assert len(FACTORS) == held - 1
    np.testing.assert_allclose(solver.solve(b), np.linalg.solve(dense, b), rtol=1e-11)


def test_factorize_says_what_is_wrong():
    with pytest.raises(js.NotConverged, match="singular"):
        js.factorize(jnp.array([[1.0, 2.0], [2.0, 4.0]])).solve(jnp.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="square"):
        js.factorize(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="known backends: auto, superlu, klu"):
        js.factorize(scipy.sparse.eye(3), backend="mumps")
    with pytest.raises(ValueError, match=r"b of shape \(3,\)"):
        js.factorize(scipy.sparse.eye(3)).solve(jnp.ones(4))
