"""Where A or b is not finite x is NaN, in every method and in each lane: no number to be taken for a solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.status import Status
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery.methods import FAMILIES, SIZE, made, mostly_slow, system


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "name", mostly_slow(METHODS, [*FAMILIES, "QR", "banded", "scipy-GMres", "sparse-direct"])
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_x_is_nan_where_the_system_is_not_finite(name, bad):
    A, b = system(name)
    broken, none = A.copy(), b.copy()
    broken[4, 4], none[3] = bad, bad
    lanes = (np.stack([A, broken, A, broken]), np.stack([none, b, b, 0 * b]))

    def solve(A, b):
        info = js.solve_linear_info(A, b, js.Solve(made(name), x0=jnp.ones(SIZE), max_iterations=300))
        return info.x, info.code

    x, code = jax.vmap(solve)(*map(jnp.asarray, lanes))
    assert code.tolist() == [
        Status.invalid_input,
        Status.invalid_input,
        Status.converged,
        Status.invalid_input,
    ]
    assert np.isnan(np.asarray(x)[[0, 1, 3]]).all()
    assert np.isfinite(x[2]).all()


@pytest.mark.parametrize("method", ["CG", "lsmr"])
def test_x_is_nan_where_a_function_is_not_finite(method):
    def f(x, k):
        return 2 * x + k * jnp.roll(x, 1) + k * jnp.roll(x, -1)

    for k, b in ((np.nan, 1.0), (0.5, np.inf)):
        x = js.solve_linear(f, np.full(5, b), js.Solve(method, suppress=(js.Diverged,)), k)
        assert np.isnan(x).all()


def test_a_guess_that_is_not_finite_stays_what_it_was():
    guess = jnp.array([1.0, jnp.nan, 2.0])
    info = js.solve_linear_info(jnp.eye(3), jnp.ones(3), js.Solve("CG", x0=guess))
    assert info.status is js.Status.invalid_input
    np.testing.assert_array_equal(info.x, guess)
