"""Tall systems: columns of any units, and right-hand sides nearly orthogonal to the range."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.solvers.column_units import column_scales
from tests.gallery import problems
from tests.gallery.methods import distance, mostly_slow

ROWS = 30
METHODS = mostly_slow(["auto", "lsqr", "lsmr", "QR", "scipy-lsqr", "scipy-lsmr"], ["auto", "lsqr", "QR"])
#: A matrix as it is given.
KINDS = {"array": np.asarray, "sparse": sps.csr_array, "operator": lambda A: Hidden(jnp.asarray(A))}


class Hidden(js.LinearOperator):
    """A matrix of which only the products are known."""

    matrix: jnp.ndarray
    shape = property(lambda self: self.matrix.shape)
    dtype = property(lambda self: self.matrix.dtype)

    def mv(self, x):
        return self.matrix @ x


def orthogonality(A, b, x):
    """The largest |aᴴr| / (‖a‖‖r‖)."""
    r = b - A @ x
    return np.max(np.abs(A.conj().T @ r) / np.linalg.norm(A, axis=0)) / np.linalg.norm(r)


@pytest.mark.further
@pytest.mark.parametrize("method", ["lsmr", "lsqr"])
def test_no_column_of_many_systems_is_left_above_the_tolerance(method, rng):
    A = np.abs(rng.normal(size=(40, 60, 3))) * 2.0 ** rng.integers(-9, 9, (40, 1, 3))
    b = 1 + np.abs(rng.normal(size=(40, 60)))
    info = js.solve_linear_info(jnp.asarray(A), b, js.Solve(method, rtol=0.1))
    assert np.asarray(info.converged).all()
    # A looser test of some of the columns lets a fifth of the systems end above.
    assert max(map(orthogonality, A, b, np.asarray(info.x))) <= 0.1


@pytest.mark.few(4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("small", [1e-6, 1e-150])
def test_a_column_of_other_units_is_not_overlooked(method, kind, small):
    t = np.linspace(0, 1, ROWS)
    A = np.stack([np.ones(ROWS), small * t], 1)
    b = 1 + 2 * t
    info = js.solve_linear_info(KINDS[kind](A), b, js.Solve(method))
    assert info.status is js.Status.converged
    np.testing.assert_allclose(np.asarray(info.x) * [1, small], [1, 2], rtol=1e-4)
    # The same with a residual: each column is judged.
    noisy = b + problems.random(ROWS, seed=5220)
    info = js.solve_linear_info(KINDS[kind](A), noisy, js.Solve(method))
    assert info.status is js.Status.least_squares
    assert orthogonality(A * [1, 1 / small], noisy, np.asarray(info.x) * [1, small]) <= 1.01e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_quadratic_in_the_year_is_fitted(method):
    year = np.arange(1990.0, 1990 + ROWS)
    A = np.stack([np.ones(ROWS), year - 2000, (year - 2000) ** 2 * 1e5], 1)
    b = problems.random(ROWS, seed=5221)
    x = js.solve_linear(A, b, js.Solve(method, rtol=1e-10))
    scales = np.linalg.norm(A, axis=0)
    assert distance(np.asarray(x) * scales, np.linalg.lstsq(A / scales, b)[0]) < 1e-8


@pytest.mark.few(4)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inside", [1e-4, 1e-10])
def test_x_is_found_where_b_is_nearly_orthogonal_to_the_range(method, kind, inside):
    A = problems.random(50, 3, seed=5222)
    Q, R = np.linalg.qr(A)
    r = problems.random(50, seed=5223)
    for _ in range(2):
        r -= Q @ (Q.T @ r)
    b = r + inside * Q[:, 0]
    info = js.solve_linear_info(KINDS[kind](A), b, js.Solve(method, rtol=1e-8))
    assert info.status is js.Status.least_squares
    # Rounding of b alone changes x by eps ‖b‖ / inside.
    assert distance(info.x, inside * np.linalg.solve(R, [1, 0, 0])) < 1e-7 + 1e-14 / inside


def test_the_shortest_solution_stays_the_shortest_where_columns_have_one_unit():
    A = problems.random(ROWS, 4, seed=5224) @ problems.random(4, 6, seed=5225)
    b = problems.random(ROWS, seed=5226)
    for method in ("lsqr", "lsmr"):
        x = js.solve_linear(A, b, js.Solve(method, rtol=1e-10))
        assert distance(x, np.linalg.pinv(A) @ b) < 1e-7


def test_columns_are_scaled_where_their_norms_differ():
    np.testing.assert_array_equal(column_scales(jnp.array([1.0, 15.0, 0.0])), [1, 1, 1])
    np.testing.assert_array_equal(column_scales(jnp.array([1.0, 40.0, 0.0])), [1, 1 / 32, 1])


@pytest.mark.parametrize("method", ["lsqr", "lsmr"])
def test_every_column_is_judged_where_none_is_scaled(method):
    A = problems.random(60, 20, seed=5227) * np.geomspace(1, 1 / 8, 20)
    for seed in range(5228, 5232):
        b = problems.random(60, seed=seed)
        info = js.solve_linear_info(A, b, js.Solve(method, rtol=0.03))
        assert info.status is js.Status.least_squares
        assert orthogonality(A, b, np.asarray(info.x)) <= 1.01 * 0.03


@pytest.mark.parametrize("method", ["lsmr", "lsqr"])
@pytest.mark.parametrize("rank", [2, 4])
def test_weighted_residuals_of_wide_systems_are_not_called_least(method, rank, rng):
    # M on the left weighs the rows of b - A x: where A has not full rank, that changes which x is nearest.
    A = rng.normal(size=(4, rank)) @ rng.normal(size=(rank, 7))
    b, M = rng.normal(size=4), np.diag(rng.uniform(0.2, 5, 4))
    info = js.solve_linear_info(
        jnp.asarray(A), b, js.Solve(method, rtol=1e-10, preconditioner=jnp.asarray(M))
    )
    if rank == 4:
        assert info.status.name == "converged"
        np.testing.assert_allclose(info.x, np.linalg.pinv(A) @ b, rtol=1e-8)
    else:
        assert info.status.name == "inconsistent"
