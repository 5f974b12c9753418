"""least_squares: methods beside SciPy's, inner solves, bounds, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxsolve as js

T = jnp.linspace(0, 4, 30)
DATA = 2.5 * jnp.exp(-1.3 * T) + 0.5 + 0.05 * jnp.sin(17 * T)
START = {"a": 1.0, "k": 1.0, "c": 0.0}
METHODS = {
    "levenberg-marquardt": "levenberg-marquardt",
    "gauss-newton": "gauss-newton",
    "by lsmr": js.LevenbergMarquardt(js.Solve("lsmr")),
    "by normal equations": js.LevenbergMarquardt(js.Solve("CG")),
    "by traced normal equations": js.LevenbergMarquardt(js.Solve("CG", preconditioner="jacobi")),
    "gauss-newton by lsmr": js.GaussNewton(js.Solve("lsmr")),
    "trf": "trf",
    "dogbox": "dogbox",
    "lm": "lm",
}


def decay(p, data=DATA):
    return p["a"] * jnp.exp(-p["k"] * T) + p["c"] - data


def powell(x):
    return jnp.stack(
        [x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2]
    )


@pytest.mark.few(2)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_fit_of_scipy(name):
    info = js.least_squares_info(decay, js.Solve(METHODS[name], x0=START, rtol=1e-8))

    def flat(v):
        return np.asarray(decay({"a": v[0], "k": v[1], "c": v[2]}))

    expected = scipy.optimize.least_squares(flat, [1.0, 1.0, 0.0], xtol=1e-15, ftol=1e-15, gtol=1e-12)
    assert info.converged
    assert info.iterations <= 20
    np.testing.assert_allclose([info.x[k] for k in "akc"], expected.x, rtol=1e-5)
    np.testing.assert_allclose(info.objective, expected.cost, rtol=1e-9)
    gradient = jax.grad(lambda p: jnp.sum(decay(p) ** 2) / 2)(info.x)
    np.testing.assert_allclose([info.residual[k] for k in "akc"], [-gradient[k] for k in "akc"], atol=1e-12)


@pytest.mark.parametrize("name", ["levenberg-marquardt", "gauss-newton"])
def test_a_singular_jacobian_at_the_solution_is_no_obstacle(name):
    info = js.least_squares_info(powell, js.Solve(name, x0=jnp.array([3.0, -1.0, 0.0, 1.0]), rtol=1e-10))
    assert info.converged
    np.testing.assert_allclose(info.x, 0, atol=1e-2)


@pytest.mark.parametrize("name", ["levenberg-marquardt", "trf"])
def test_gradients_of_the_fit_are_exact_for_large_residuals_too(name):
    def rate(data, name=name):
        return js.least_squares(decay, js.Solve(name, x0=START, rtol=1e-11), data)["k"]

    gradient = jax.grad(rate)(DATA)
    direction = jnp.cos(jnp.arange(30.0))
    # SciPy's own criterion leaves x too coarse for differences of it.
    exact = "levenberg-marquardt"
    difference = (rate(DATA + 1e-5 * direction, exact) - rate(DATA - 1e-5 * direction, exact)) / 2e-5
    rtol = 1e-6 if name == exact else 1e-4
    np.testing.assert_allclose(gradient @ direction, difference, rtol=rtol)
    np.testing.assert_allclose(jax.jvp(rate, (DATA,), (direction,))[1], difference, rtol=rtol)


@pytest.mark.further
def test_jit_and_vmap_fit_each_lane_for_itself():
    scale = jnp.array([0.5, 1.0, 2.0])

    def run(s):
        return js.least_squares_info(decay, js.Solve(x0=START, rtol=1e-9), s * DATA)

    together = jax.jit(jax.vmap(run))(scale)
    for lane, s in enumerate(scale):
        alone = run(s)
        assert together.iterations[lane] == alone.iterations
        np.testing.assert_allclose(together.x["k"][lane], alone.x["k"], rtol=1e-9)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["levenberg-marquardt", "trf"])
def test_complex_residuals_count_by_their_parts(name):
    def signal(amplitude, frequency):
        return amplitude * jnp.exp(1j * frequency * T)

    def fit(frequency):
        guess = {"amplitude": 1.0 + 0.5j, "frequency": 1.1}
        data = signal(2 + 1j, frequency)
        return js.least_squares(lambda p: signal(**p) - data, js.Solve(name, x0=guess, rtol=1e-8))

    found = fit(1.3)
    np.testing.assert_allclose(found["amplitude"], 2 + 1j, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda w: fit(w)["frequency"])(1.3), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["trf", "dogbox", "lm"])
def test_scipy_makes_as_many_steps_as_are_allowed(kind):
    def run(limit):
        request = js.Solve(kind, x0=jnp.full(2, 3.0), max_iterations=limit)
        return js.least_squares_info(lambda x: x**2 - 1, request)

    for limit in (0, 1, 2):
        assert run(limit).status is js.Status.max_iterations
        assert run(limit).iterations == limit
    objectives = [run(limit).objective for limit in (0, 1, 2)]
    assert objectives[0] > objectives[1] > objectives[2]


def test_bounds_hold():
    x = js.least_squares(decay, js.Solve(x0=START), bounds=({"a": 0.0, "k": 0.0, "c": 0.0}, 2.0))
    assert x["a"] <= 2.0
    np.testing.assert_allclose(x["a"], 2.0, atol=1e-4)


@pytest.mark.further
def test_a_rosenbrock_of_a_thousand_unknowns_by_products():
    def residual(x):
        return 10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]

    info = js.least_squares_info(residual, js.Solve(x0=jnp.full(1000, 0.8), rtol=1e-8))
    assert info.converged
    np.testing.assert_allclose(info.x, 1, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: js.least_squares(decay, js.Solve("lm", x0=START), bounds=(0.0, 2.0)),
            ValueError,
            "takes no bounds",
        ),
        (lambda: js.least_squares(decay, js.Solve("lsmr", x0=START)), ValueError, "solves linear systems"),
        (lambda: js.least_squares(decay, js.Solve("levenberg-marquardt")), ValueError, "first guess"),
        (lambda: js.SciPyLeastSquares(options={"loss": "soft_l1"}), ValueError, "use minimize"),
    ],
)
def test_malformed_input_is_refused_in_words(call, error, text):
    with pytest.raises(error, match=text):
        call()
