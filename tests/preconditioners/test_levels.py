"""Substitution level by level: exact, also transposed, batched and with traced values, and used where it is cheap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import jaxsolve as js
from jaxsolve.preconditioners.ilu.substitution import MOST_LEVELS, level_inverse, schedule
from jaxsolve.preconditioners.ilu.triangular import UnitTriangularInverse, triangular_inverse
from jaxsolve.preconditioners.ilu.zero_fill import plan_zero_fill
from tests.preconditioners.test_ilu import convection, poisson


def strict(n, density, dtype=np.float64, seed=7):
    """A strictly lower triangular matrix; its last row is full where it has entries at all."""
    rng = np.random.default_rng(seed)
    N = np.tril(rng.normal(size=(n, n)) * (rng.random((n, n)) < density), -1)
    if density and n > 1:
        N[-1, :-1] = rng.normal(size=n - 1)
    if np.issubdtype(dtype, np.complexfloating):
        N = N * np.exp(1j * rng.random((n, n)))
    return scipy.sparse.csr_matrix((0.3 / np.sqrt(max(1, n * density)) * N).astype(dtype))


def substituted(N, x, lower=True):
    """y of y + N y = x by SciPy."""
    matrix = scipy.sparse.csr_matrix(N + scipy.sparse.identity(N.shape[0], N.dtype))
    return scipy.sparse.linalg.spsolve_triangular(matrix, x.astype(N.dtype), lower=lower)


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize(("n", "density"), [(1, 0), (2, 0.9), (40, 0), (50, 0.05), (60, 0.5), (33, 1.0)])
def test_it_is_the_inverse_of_the_triangle_its_transpose_and_its_conjugate(n, density, dtype):
    N = strict(n, density, dtype)
    M = level_inverse(js.SparseMatrix.from_scipy(N))
    x = np.random.default_rng(3).normal(size=n)
    for operator, matrix, lower in (
        (M, N, True),
        (M.T, N.T, False),
        (M.H, N.conj().T, False),
        (M.conj(), N.conj(), True),
        (M.T.T, N, True),
    ):
        np.testing.assert_allclose(operator.mv(jnp.asarray(x)), substituted(matrix, x, lower), atol=1e-12)


def test_nothing_is_solved_in_no_time():
    M = level_inverse(js.SparseMatrix.from_scipy(scipy.sparse.csr_matrix((0, 0))))
    assert M.mv(jnp.zeros(0)).shape == M.T.mv(jnp.zeros(0)).shape == (0,)


def test_single_precision_stays_and_complex_vectors_pass():
    N = strict(30, 0.3, np.float32)
    M = level_inverse(js.SparseMatrix.from_scipy(N))
    assert M.mv(jnp.ones(30, jnp.float32)).dtype == jnp.float32
    x = np.linspace(1, 2, 30) + 1j
    np.testing.assert_allclose(M.mv(jnp.asarray(x)), substituted(N.astype(complex), x), rtol=1e-6)


def test_values_and_vectors_are_traced_and_batched():
    N = strict(40, 0.2)
    S = js.SparseMatrix.from_scipy(N)
    x = np.random.default_rng(4).normal(size=(3, 40))
    scales = np.array([1.0, 0.5, -1.0])

    def solve(data, x):
        M = level_inverse(js.SparseMatrix(data, S.pattern))
        return M.mv(x), M.T.mv(x)

    program = jax.jit(jax.vmap(solve))
    forward, backward = program(jnp.asarray(scales)[:, None] * S.data, jnp.asarray(x))
    shared = jax.vmap(lambda x: solve(S.data, x)[0])(jnp.asarray(x))
    for k, scale in enumerate(scales):
        np.testing.assert_allclose(forward[k], substituted(scale * N, x[k]), atol=1e-13)
        np.testing.assert_allclose(backward[k], substituted(scale * N.T, x[k], False), atol=1e-13)
        np.testing.assert_allclose(shared[k], substituted(N, x[k]), atol=1e-13)


@pytest.mark.parametrize("name", ["bcsstk13", "e20r0000", "memplus"])
def test_real_matrices_are_substituted_exactly(matrices, name):
    S = js.SparseMatrix.from_scipy(scipy.sparse.load_npz(matrices / f"{name}.npz"))
    A, n = S.pattern.to_scipy(S.data), S.shape[0]
    scale = scipy.sparse.diags_array(1 / (abs(A) @ np.ones(n)))
    N = scipy.sparse.csr_array(scipy.sparse.tril(scale @ A, -1))
    M = level_inverse(js.SparseMatrix.from_scipy(N))
    x = np.random.default_rng(5).normal(size=n)
    y = np.asarray(jax.jit(lambda M, x: M.mv(x))(M, jnp.asarray(x)))
    assert np.abs(y + N @ y - x).max() < 1e-13 * np.abs(y).max()
    y = np.asarray(jax.jit(lambda M, x: M.T.mv(x))(M, jnp.asarray(x)))
    assert np.abs(y + N.T @ y - x).max() < 1e-13 * np.abs(y).max()


def test_rows_with_many_entries_do_not_widen_all_others():
    N = strict(3000, 0.0005)
    plan = schedule(js.SparseMatrix.from_scipy(N).pattern)
    assert plan is not None
    assert plan.positions.size < 4 * N.nnz


def test_a_triangle_that_is_too_deep_or_none_is_refused():
    deep = js.SparseMatrix.from_scipy(chain(MOST_LEVELS + 2))
    cycle = js.SparseMatrix.from_dense(np.array([[0.0, 1.0], [1.0, 0.0]]))
    for matrix in (deep, cycle):
        with pytest.raises(ValueError, match="substitution needs a triangular matrix with 10000 levels"):
            level_inverse(matrix)
    # The choice falls back to the series.
    assert isinstance(triangular_inverse(deep), UnitTriangularInverse)


@pytest.mark.cpu
def test_what_is_cheaper_is_chosen_and_told():
    def described(A):
        return js.ILU(level=0).build(js.SparseMatrix.from_scipy(A)).description

    assert described(poisson(20)) == (
        "factors without fill; on the device, L by substitution in 39 levels, U by substitution in 39 levels"
    )
    assert "L by a series of 8 terms" in described(scipy.sparse.eye_array(12000) + 0.1 * chain(12000))
    # Two levels: one term is exact.
    assert "L by a series of 1 terms" in described(scipy.sparse.eye_array(9) + 0.1 * chain(9, 2))
    asked = js.ILU(level=0, sweeps=3).build(js.SparseMatrix.from_scipy(poisson(20)))
    assert asked.description.endswith("L by a series of 3 terms, U by a series of 3 terms")
    assert asked.T.description == asked.description
    filled = js.ILU(apply="device").build(js.SparseMatrix.from_scipy(convection(12)))
    assert filled.description.startswith(
        "ILU, minimum degree on A + Aᵀ, no row exchanges; on the device, L by sub"
    )


def chain(n, every=1):
    """Ones below the diagonal, in every row or in every second one."""
    entries = (np.arange(1, n) % every == 0).astype(float)
    return scipy.sparse.csr_array(scipy.sparse.diags_array([entries], offsets=[-1], shape=(n, n)))


def test_factors_that_no_series_can_solve_with_are_applied_on_the_device():
    # 32 terms of the series of L leave 0.99³³ = 0.72 of a residual.
    A = scipy.sparse.csr_array(scipy.sparse.eye_array(400) - 0.99 * chain(400))
    S = js.SparseMatrix.from_scipy(A)
    M = js.ILU(apply="device").build(S)
    x = np.random.default_rng(6).normal(size=400)
    np.testing.assert_allclose(M.mv(jnp.asarray(A @ x)), x, rtol=1e-10)
    assert "substitution" in M.description


@pytest.mark.further
def test_a_gradient_does_not_see_how_the_preconditioner_is_applied():
    A = js.SparseMatrix.from_scipy(convection(8))
    b = jnp.asarray(np.random.default_rng(8).normal(size=64))

    def loss(data, recipe):
        solve = js.Solve("biCG-stab", rtol=1e-12, preconditioner=recipe)
        return jnp.sum(js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve) ** 2)

    expected = jax.grad(lambda data: loss(data, None))(A.data)
    found = jax.jit(jax.grad(lambda data: loss(data, js.ILU(level=0))))(A.data)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_a_pattern_is_scheduled_once():
    pattern = plan_zero_fill(js.SparseMatrix.from_scipy(poisson(6)).pattern).lower[0]
    assert schedule(pattern) is schedule(pattern)
