"""SVD, which `auto` takes for rectangular matrices: least squares and shortest solutions, of any rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery.methods import distance
from tests.gallery.problems import random

SHAPES = {"tall": (12, 7), "wide": (7, 12), "square": (9, 9)}


def deficient(m, n, rank, dtype=np.float64):
    return random(m, rank, seed=1, dtype=dtype) @ random(rank, n, seed=2, dtype=dtype)


@pytest.mark.few(7)
@pytest.mark.parametrize("rank", [0, 1, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_any_shape_and_rank_gives_what_lstsq_does(shape, rank, dtype):
    m, n = SHAPES[shape]
    A, b = deficient(m, n, rank, dtype), random(m, seed=3, dtype=dtype)
    for rhs, inside in ((b, False), (A @ random(n, seed=4, dtype=dtype), True)):
        info = js.solve_linear_info(A, rhs, js.Solve("SVD", rtol=1e-5))
        expected = np.linalg.lstsq(A.astype(np.complex128), rhs, rcond=1e-5)[0]
        assert np.linalg.norm(info.x - expected) <= 1e3 * np.finfo(dtype).eps * np.linalg.norm(expected)
        nearest = "least_squares" if m != n else "inconsistent" if rank else "singular"
        assert info.status.name == ("converged" if inside else nearest)


def test_columns_of_any_unit_have_the_shortest_solution():
    # The rank is decided in columns of one unit, the solution is the shortest in x: not that of the scaled unknowns.
    A, units = deficient(30, 8, 5), np.logspace(-6, 6, 8)
    info = js.solve_linear_info(A * units, random(30, seed=3))
    assert (info.method, info.status.name) == ("SVD", "least_squares")
    # x = D⁻¹A⁺b + z with A D z = 0, shortest: less its part in the null space, spanned by the columns of D⁻¹N.
    x = np.linalg.pinv(A) @ random(30, seed=3) / units
    null = np.linalg.qr(np.linalg.svd(A)[2][5:].T / units[:, None])[0]
    for _ in range(2):
        x = x - null @ (null.T @ x)
    assert distance(info.x, x) < 1e-9


@pytest.mark.further
def test_lanes_of_different_rank_are_solved_together():
    A = np.stack([random(12, 7, seed=5), deficient(12, 7, 3), random(12, 7, seed=6) * 1e-9])
    b = random(3, 12, seed=7)
    expected = np.stack([np.linalg.lstsq(M, v, rcond=None)[0] for M, v in zip(A, b, strict=True)])
    assert distance(js.solve_linear(A, b), expected) < 1e-9
    assert distance(jax.jit(jax.vmap(js.solve_linear))(jnp.asarray(A), jnp.asarray(b)), expected) < 1e-9


@pytest.mark.further
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_second_derivatives_of_a_sparse_matrix_of_less_than_full_rank(shape):
    m, n = SHAPES[shape]
    X, Y, b = random(m, 4, seed=1), random(4, n, seed=2), random(m, seed=3)
    rows, cols = np.nonzero(np.ones((m, n)))

    def value(solved, p):
        M = (X * (1 + p[0] * jnp.arange(4.0))) @ (Y + p[1] * jnp.cos(Y))
        return jnp.sum(jnp.sin(solved(M, b + p[0])))

    def by_default(M, b):
        A = js.SparseMatrix.from_coo(rows, cols, M[rows, cols], (m, n))
        return js.solve_linear(A, b, js.Solve(rtol=1e-10))

    def of_pinv(M, b):
        return jnp.linalg.pinv(M, rtol=1e-10) @ b

    p = jnp.array([0.1, 0.2])
    found, expected = (jax.jit(jax.hessian(lambda p, s=s: value(s, p)))(p) for s in (by_default, of_pinv))
    assert distance(found, expected) < 1e-7


@pytest.mark.further
def test_what_factors_do_not_solve_goes_on_to_iterations():
    # Single precision holds no factors of this condition number that lead to the residual asked for.
    with jax.enable_x64(False):
        A = sps.csr_array(np.vander(np.linspace(0.1, 1, 40), 9).astype(np.float32))
        info = js.solve_linear_info(A, random(40, seed=3).astype(np.float32), js.Solve(max_iterations=50))
    assert not info.converged
    assert "SVD ended with stagnation" in info.note


@pytest.mark.few(1)
@pytest.mark.parametrize("method", ["SVD", "LU", "Cholesky", "QR"])
def test_what_does_not_fit_is_refused_before_it_is_made_dense(method):
    A = sps.eye_array(10**7, format="csr")
    with pytest.raises(js.StructureError, match=r"would need 1.5e\+06 GiB for A of shape"):
        js.solve_linear(A, np.ones(10**7), js.Solve(method))
