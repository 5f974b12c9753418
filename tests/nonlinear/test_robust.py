"""Losses of a fit: beside SciPy's, derivatives beside differences, and what is no loss."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxsolve as js

T = np.linspace(0, 4, 40)
NOISE = np.random.default_rng(0).normal(size=40)
DATA = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.05 * NOISE + np.where(np.arange(40) % 7 == 0, 3 * NOISE, 0)
START = np.array([1.0, 1.0, 0.0])
LOSSES = ["huber", "cauchy", *(pytest.param(k, marks=pytest.mark.slow) for k in ("soft-l1", "linear"))]
#: Ways to solve without the Jacobian.
LINEAR = {
    "lsmr": js.Solve("lsmr"),
    "CG": js.Solve("CG"),
    "traced": js.Solve("CG", preconditioner="jacobi"),
}


def decay(p, data=DATA):
    return p[0] * jnp.exp(-p[1] * T) + p[2] - data


def fitted(loss, scale=0.1, data=DATA, rtol=1e-9, linear=None, x0=START):
    method = js.LevenbergMarquardt(linear, loss=loss, scale=scale)
    return js.least_squares_info(decay, js.Solve(method, x0=jnp.asarray(x0), rtol=rtol), data)


def scipys(loss, scale=0.1):
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-13}
    return scipy.optimize.least_squares(
        lambda p: np.asarray(decay(p)), START, loss=loss, f_scale=scale, **tight
    )


def sigmoid(z):
    """A loss of one's own: 1 - exp(-z) (Welsch)."""
    return -jnp.expm1(-z)


@pytest.mark.few(1)
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_find_the_fit_of_scipy(loss):
    info, expected = fitted(loss), scipys(loss.replace("-", "_"))
    assert info.converged
    np.testing.assert_allclose(info.x, expected.x, atol=1e-6)
    np.testing.assert_allclose(info.objective, expected.cost, rtol=1e-10)


@pytest.mark.further
def test_a_loss_of_ones_own_finds_the_fit_of_scipy():
    def with_derivatives(z):
        return np.stack([1 - np.exp(-z), np.exp(-z), -np.exp(-z)])

    info, expected = fitted(sigmoid, 1.0), scipys(with_derivatives, 1.0)
    assert info.converged
    np.testing.assert_allclose(info.x, expected.x, atol=1e-6)
    np.testing.assert_allclose(info.objective, expected.cost, rtol=1e-10)


@pytest.mark.further
def test_outliers_do_not_move_the_fit_of_tukey():
    clean = 2.5 * np.exp(-1.3 * T) + 0.5
    spoilt = clean + np.where(np.arange(40) % 5 == 0, 20.0, 0)
    info = fitted("tukey", 1.0, spoilt, x0=np.array([2.0, 1.0, 0.3]))
    assert info.converged
    np.testing.assert_allclose(info.x, [2.5, 1.3, 0.5], atol=1e-8)
    # Of each of the 8 outliers a third of s² / 2 is left.
    np.testing.assert_allclose(info.objective, 8 / 6, rtol=1e-12)


@pytest.mark.further
@pytest.mark.parametrize(
    "name", ["lsmr", *(pytest.param(k, marks=pytest.mark.slow) for k in ("CG", "traced"))]
)
def test_inner_solves_reach_the_same_fit(name):
    info = fitted("huber", linear=LINEAR[name])
    assert info.converged
    np.testing.assert_allclose(info.x, scipys("huber").x, atol=1e-6)


def test_gradients_by_data_and_scale_are_those_of_differences():
    def along(t):
        return fitted("huber", 0.1 + 0.05 * t, DATA + t * np.cos(np.arange(40.0)), 1e-12).x[1]

    difference = (along(jnp.asarray(1e-5)) - along(jnp.asarray(-1e-5))) / 2e-5
    np.testing.assert_allclose(jax.grad(along)(0.0), difference, rtol=1e-6)


@pytest.mark.slow
def test_second_derivatives_inside_a_scan_are_those_of_differences():
    def along(t):
        """By data, scale and what the loss closes over, in the body of a loop."""

        def body(carry, k):
            data = DATA + k * t * np.cos(np.arange(40.0))
            p = fitted(lambda z: jnp.log1p((1 + t) * z) / (1 + t), 0.3 + 0.1 * t, data, 1e-12).x
            return carry + p[1] * p[0], None

        return jax.lax.scan(body, 0.0, jnp.array([0.5, 1.0]))[0]

    h = 1e-4
    points = jnp.array([-h, 0.0, h])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(along)))(points)
    second = jax.jit(jax.hessian(along))(0.0)
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(second, (slopes[2] - slopes[0]) / (2 * h), rtol=1e-5)


@pytest.mark.slow
def test_the_cost_has_the_derivative_of_its_envelope():
    def cost(scale):
        return fitted("soft-l1", scale, rtol=1e-11).objective

    difference = (cost(0.1 + 1e-5) - cost(0.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(cost)(0.1), difference, rtol=1e-7)


@pytest.mark.slow
def test_each_lane_has_its_own_scale():
    scales = jnp.array([0.05, 0.1, 1.0])
    infos = jax.jit(jax.vmap(lambda s: fitted("huber", s)))(scales)
    assert infos.converged.all()
    for scale, x in zip(scales, infos.x, strict=True):
        np.testing.assert_allclose(x, fitted("huber", float(scale)).x, atol=1e-7)


@pytest.mark.slow
def test_single_precision_and_one_parameter_keep_their_dtype():
    data = jnp.asarray([1.0, 1.1, 0.9, 50.0], jnp.float32)
    solve = js.Solve(js.LevenbergMarquardt(loss="cauchy", scale=0.2), x0=jnp.float32(0.5))
    x = js.least_squares(lambda x: x - data, solve)
    assert x.dtype == jnp.float32
    assert abs(float(x) - 1.0) < 0.02


@pytest.mark.slow
def test_complex_residuals_cost_by_their_parts():
    target = np.array([1 + 2j, 1.1 + 2.1j, 0.9 + 1.9j, 30 - 40j])
    solve = js.Solve(js.LevenbergMarquardt(loss="huber", scale=0.1), x0=0j, rtol=1e-9)
    info = js.least_squares_info(lambda z: z - target, solve)
    parts = np.concatenate([target.real, target.imag])

    def residual(v):
        return np.concatenate([v[0] - parts[:4], v[1] - parts[4:]])

    expected = scipy.optimize.least_squares(residual, [0.0, 0.0], loss="huber", f_scale=0.1, gtol=1e-14)
    assert info.converged
    np.testing.assert_allclose(info.x, expected.x[0] + 1j * expected.x[1], atol=1e-6)


@pytest.mark.further
def test_where_no_residual_has_weight_nothing_is_called_a_fit():
    info = fitted("tukey", 1e-3)
    assert info.status is js.Status.unweighted
    assert not info.converged
    assert "Raise `scale`" in info.message


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: js.LevenbergMarquardt(loss="hubert"), ValueError, "Did you mean 'huber'"),
        (lambda: js.LevenbergMarquardt(loss=3.0), TypeError, "a function rho"),
        (lambda: js.LevenbergMarquardt(scale=0.0), js.StructureError, "above 0; got 0.0"),
        (lambda: js.LevenbergMarquardt(scale=jnp.ones(3)), js.StructureError, "one real number"),
        (lambda: fitted(lambda z: jnp.sum(z)), js.StructureError, "of shape (40,); got float64 of shape ()"),
        (lambda: fitted(lambda z: jnp.stack([z, z, z])), js.StructureError, "Return rho alone"),
        (
            lambda: fitted(lambda z: z / (1 + jnp.mean(z))),
            js.StructureError,
            "each squared residual by itself",
        ),
        (lambda: fitted(lambda z: None), js.StructureError, "got a NoneType"),
        (lambda: fitted(lambda z: -z), js.StructureError, "must not fall, since"),
        (lambda: fitted(lambda z: jnp.where(z < 1, z, 2 - z)), js.StructureError, "at z = 1 is -1."),
        (
            lambda: js.solve_nonlinear(jnp.sin, jnp.zeros(1), js.Solve(js.LevenbergMarquardt(loss="huber"))),
            ValueError,
            "residuals of least_squares",
        ),
    ],
)
def test_what_is_no_loss_is_refused(make, error, words):
    with pytest.raises(error, match=re.escape(words)):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [lambda z, s: s * z, "huber"])
def test_a_falling_loss_or_a_scale_that_shows_to_be_none_fits_nothing(loss):
    info = jax.jit(lambda s: fitted(lambda z: loss(z, s)) if callable(loss) else fitted(loss, s))(-1.0)
    assert not info.converged
