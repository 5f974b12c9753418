"""Covariances of fitted parameters: beside SciPy's, through transformations, and where there are none."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxsolve as js

T = np.linspace(0, 4, 25)
DATA = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.05 * np.random.default_rng(1).normal(size=25)
START = {"rate": 1.0, "sizes": np.array([1.0, 0.0])}


def decay(p, data=DATA):
    return p["sizes"][0] * jnp.exp(-p["rate"] * T) + p["sizes"][1] - data


def fitted(data=DATA, x0=START, method="levenberg-marquardt", rtol=1e-9):
    return js.least_squares_info(decay, js.Solve(method, x0=x0, rtol=rtol), data)


def flat(blocks):
    return np.block(
        [
            [blocks["rate"]["rate"], blocks["rate"]["sizes"]],
            [blocks["sizes"]["rate"][:, None], blocks["sizes"]["sizes"]],
        ]
    )


def scipys(**options):
    def model(t, k, a, c):
        return a * np.exp(-k * t) + c

    return scipy.optimize.curve_fit(model, T, DATA, [1.0, 1.0, 0.0], ftol=1e-14, xtol=1e-14, **options)[1]


def test_blocks_and_variances_are_those_of_curve_fit_in_and_out_of_jit():
    info = jax.jit(fitted)(DATA)
    blocks, expected = js.covariance(info), scipys()
    np.testing.assert_allclose(flat(blocks), expected, rtol=1e-4)
    assert jax.tree.map(jnp.shape, blocks) == {
        "rate": {"rate": (), "sizes": (2,)}, "sizes": {"rate": (2,), "sizes": (2, 2)},
    }  # fmt: skip
    variances = jax.jit(lambda data: js.covariance(fitted(data), diagonal=True))(DATA)
    np.testing.assert_allclose([variances["rate"], *variances["sizes"]], np.diag(expected), rtol=1e-4)
    known = js.covariance(info, noise=0.05)
    np.testing.assert_allclose(flat(known), scipys(sigma=np.full(25, 0.05), absolute_sigma=True), rtol=1e-4)


@pytest.mark.further
@pytest.mark.parametrize("loss", ["huber", pytest.param("cauchy", marks=pytest.mark.slow)])
def test_with_a_loss_it_is_that_of_scipy(loss):
    info = fitted(method=js.LevenbergMarquardt(loss=loss, scale=0.05))
    expected = scipys(method="trf", loss=loss, f_scale=0.05, gtol=1e-12)
    np.testing.assert_allclose(flat(js.covariance(info)), expected, rtol=1e-3)


@pytest.mark.further
def test_it_is_differentiable_through_the_fit():
    direction = np.cos(np.arange(25.0))

    def spread(t):
        return jnp.sqrt(js.covariance(fitted(DATA + t * direction, rtol=1e-12))["rate"]["rate"])

    difference = (spread(1e-4) - spread(-1e-4)) / 2e-4
    np.testing.assert_allclose(jax.jit(jax.grad(spread))(0.0), difference, rtol=1e-5)


@pytest.mark.slow
def test_a_batch_has_its_axes_first():
    batch = np.stack([DATA, DATA[::-1].copy(), DATA * 2])
    infos = jax.vmap(fitted)(batch)
    blocks = js.covariance(infos)
    assert blocks["sizes"]["rate"].shape == (3, 2)
    one = js.covariance(fitted(batch[2]))
    np.testing.assert_allclose(blocks["sizes"]["sizes"][2], one["sizes"]["sizes"], rtol=1e-5)


@pytest.mark.further
def test_what_the_data_do_not_determine_is_named():
    def residual(p):
        return (p["a"] + 2 * p["b"]) * T + p["c"] - DATA

    solve = js.Solve(x0={"a": 0.0, "b": 1.0, "c": 0.0})
    info = js.least_squares_info(residual, solve)
    assert info.converged
    with pytest.raises(ValueError, match=r"one way .*: \(a by 1, b by -0.5\)\. Hold some"):
        js.covariance(info)
    blocks = jax.jit(js.covariance)(info)
    assert jnp.isposinf(blocks["a"]["a"])
    assert jnp.isposinf(blocks["b"]["b"])
    assert jnp.isnan(blocks["a"]["c"])
    design = np.stack([T, np.ones(25)], 1)
    left = DATA - design @ np.linalg.lstsq(design, DATA)[0]
    expected = np.linalg.inv(design.T @ design)[1, 1] * (left @ left) / (25 - 3)
    np.testing.assert_allclose(blocks["c"]["c"], expected, rtol=1e-8)


@pytest.mark.slow
def test_a_parameter_that_no_residual_reads_is_named():
    info = js.least_squares_info(
        lambda x: x[:2, 0] * T[:, None] - DATA[:, None], js.Solve(x0=np.ones((3, 1)))
    )
    with pytest.raises(ValueError, match=r"\(x\[2, 0\] by 1\)"):
        js.covariance(info, diagonal=True)


@pytest.mark.slow
def test_single_precision_keeps_its_dtype():
    data = jnp.asarray(DATA, jnp.float32)
    times = jnp.asarray(T, jnp.float32)
    info = js.least_squares_info(lambda x: x[0] * times + x[1] - data, js.Solve(x0=jnp.zeros(2, jnp.float32)))
    found = js.covariance(info)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.polyfit(T, DATA, 1, cov=True)[1], rtol=1e-3)


def test_a_result_can_still_be_stored_and_copied():
    info = fitted()
    assert copy.deepcopy(info).fit is info.fit
    stored = pickle.loads(pickle.dumps(info))
    np.testing.assert_array_equal(stored.x["sizes"], info.x["sizes"])
    with pytest.raises(TypeError, match="was stored"):
        js.covariance(stored)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: jnp.eye(2), TypeError, "SolveInfo of a fit"),
        (
            lambda: js.minimize_info(lambda x: x**2, js.Solve("GD", x0=1.0)),
            TypeError,
            "another kind of problem",
        ),
        (lambda: fit_of(lambda x: jnp.stack([x - 1j, 2 * x]), 1j), TypeError, "complex"),
        (lambda: fit_of(lambda x: x - 1.0, jnp.zeros(2)), js.StructureError, "Give it as noise="),
        (
            lambda: fit_of(lambda x: x[:1] - 1.0, jnp.zeros(2)),
            js.StructureError,
            "1 residuals do not determine 2",
        ),
        (
            lambda: fit_of(lambda x: jnp.stack([jnp.exp(x), jnp.exp(x)]), jnp.ones(()), max_iterations=1),
            ValueError,
            "found no minimum",
        ),
    ],
)
def test_what_has_no_covariance_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        js.covariance(make())


def fit_of(residual, x0, **options):
    return js.least_squares_info(residual, js.Solve(x0=x0, **options))


@pytest.mark.slow
def test_noise_is_one_number_above_zero():
    info = fitted()
    for noise in (0.0, -1.0, np.ones(3)):
        with pytest.raises(js.StructureError, match="above 0"):
            js.covariance(info, noise=noise)
    unfinished = jax.jit(lambda d: js.covariance(fitted(d, rtol=0.0), diagonal=True))(DATA * 1e-3)
    assert jnp.isnan(unfinished["rate"]) or fitted(DATA * 1e-3, rtol=0.0).converged
