"""Normal equations by entries: residuals that gather keep their sparsity in a fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.nonlinear.normal_equations import normal_matrix
from jaxsolve.tracer.jacobian import jacobian_operator


def graph(count, seed=0):
    """Distances along a chain and some chords, and one position that is held."""
    rng = np.random.default_rng(seed)
    chords = rng.integers(0, count, (2, count // 2))
    a = np.concatenate([np.arange(count - 1), chords[0]])
    b = np.concatenate(
        [np.arange(1, count), np.where(chords[1] == chords[0], (chords[0] + 1) % count, chords[1])]
    )
    truth = np.cumsum(rng.uniform(0.5, 1.5, count))
    truth -= truth[0]
    measured = truth[b] - truth[a] + 0.01 * rng.normal(size=len(a))

    def residuals(x):
        d = x[b] - x[a] - measured
        return jnp.concatenate([d + 0.01 * d**3, x[:1]])

    return residuals, truth


def test_entries_are_those_of_the_dense_matrix():
    residuals, truth = graph(30)
    x, rng = jnp.asarray(truth), np.random.default_rng(1)
    factor, scale, ridge = (jnp.asarray(rng.uniform(0.5, 2, n)) for n in (len(residuals(x)), 30, 30))
    made = normal_matrix(lambda: jacobian_operator(residuals, x), factor, scale, ridge)
    J = factor[:, None] * jax.jacfwd(residuals)(x) / scale[None]
    np.testing.assert_allclose(made.todense(), J.T @ J + jnp.diag(ridge**2), rtol=1e-12, atol=1e-14)
    assert made.nnz < 30 * 8


def test_rows_that_are_long_are_left_to_products():
    def jacobian():
        return jacobian_operator(lambda x: jnp.stack([jnp.sum(x) ** 2]), jnp.ones(5000))

    assert normal_matrix(jacobian, None, jnp.ones(5000), jnp.ones(5000)) is None


@pytest.mark.further
def test_a_robust_fit_that_gathers_is_the_dense_one():
    residuals, _ = graph(40)
    x0 = jnp.arange(40.0)
    sparse, dense = (
        js.least_squares(
            residuals, js.Solve(js.LevenbergMarquardt(linear, loss="huber", scale=0.03), x0=x0, rtol=1e-5)
        )
        for linear in (js.Solve("sparse-direct"), None)
    )
    np.testing.assert_allclose(sparse, dense, rtol=1e-4, atol=1e-4)


@pytest.mark.further
def test_a_large_fit_that_gathers():
    residuals, truth = graph(5000)
    request = js.Solve(js.LevenbergMarquardt(js.Solve("sparse-direct")), x0=jnp.arange(5000.0), rtol=1e-6)
    info = js.least_squares_info(residuals, request)
    assert info.converged, info.message
    assert np.max(np.abs(np.asarray(info.x) - truth)) < 1
