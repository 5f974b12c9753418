"""Elimination of a leaf: the same fit as without, its derivatives, and leaves that cannot be eliminated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxsolve as js


def turned(w, X):
    """X turned by the rotation vectors w (Rodrigues)."""
    square = jnp.sum(w * w, -1, keepdims=True) + 1e-20
    angle = jnp.sqrt(square)
    across = jnp.cross(w, X)
    return X + jnp.sin(angle) / angle * across + (1 - jnp.cos(angle)) / square * jnp.cross(w, across)


class Pictures:
    """Cameras that see half of the points; the first two are held, which fixes place and size."""

    def __init__(self, cameras, points, seed=0):
        rng = np.random.default_rng(seed)
        seen = rng.random((cameras, points)) < 0.5
        seen[:3] = True
        self.camera, self.point = np.nonzero(seen)
        centres = np.stack(
            [rng.normal(size=cameras), rng.normal(size=cameras), 8 + rng.normal(size=cameras)], 1
        )
        all_cameras = np.concatenate([0.1 * rng.normal(size=(cameras, 3)), centres], 1)
        self.held = all_cameras[:2]
        self.truth = {"cameras": all_cameras[2:], "points": rng.normal(size=(points, 3))}
        self.seen = np.asarray(self.project(self.truth)) + 1e-3 * rng.normal(size=(len(self.camera), 2))
        self.start = jax.tree.map(lambda v: v + 0.02 * rng.normal(size=v.shape), self.truth)

    def project(self, p):
        cameras = jnp.concatenate([self.held, p["cameras"]])[self.camera]
        X = turned(cameras[:, :3], p["points"][self.point]) + cameras[:, 3:]
        return X[:, :2] / X[:, 2:]

    def residual(self, p, seen=None):
        return self.project(p) - (self.seen if seen is None else seen)

    def fitted(self, eliminate="points", seen=None, rtol=1e-7, **options):
        solve = js.Solve(js.LevenbergMarquardt(eliminate=eliminate, **options), x0=self.start, rtol=rtol)
        return js.least_squares_info(self.residual, solve, seen)


SMALL = Pictures(4, 12)
WHO, WHAT = np.nonzero(np.ones((3, 8)))
PLACES = np.array([0.1, 0.5, -0.5])
LINES = 1 + WHAT + np.cos(WHAT) * np.exp(PLACES[WHO]) + 0.1 * np.sin(7 * np.arange(24.0))


def lines(p, data=LINES):
    """Eight lines seen from three places, which are known to some degree."""
    seen = p["rows"][WHAT, 0] + p["rows"][WHAT, 1] * jnp.exp(p["place"][WHO])
    return seen - data, 0.3 * (p["place"] - PLACES)


def at_lines(eliminate="rows", data=LINES, **options):
    x0 = {"place": jnp.zeros(3), "rows": jnp.ones((8, 2))}
    solve = js.Solve(js.LevenbergMarquardt(eliminate=eliminate, **options), x0=x0, rtol=1e-10)
    return js.least_squares_info(lines, solve, data)


def test_the_fit_is_that_without_elimination():
    def flat(v):
        return np.concatenate(lines({"place": v[:3], "rows": v[3:].reshape(8, 2)}))

    info = at_lines()
    expected = scipy.optimize.least_squares(
        flat, np.concatenate([np.zeros(3), np.ones(16)]), gtol=1e-13, xtol=1e-15, ftol=1e-15
    )
    assert info.converged
    np.testing.assert_allclose(info.objective, expected.cost, rtol=1e-10)
    np.testing.assert_allclose(info.x["place"], expected.x[:3], atol=1e-6)
    np.testing.assert_allclose(info.x["rows"].reshape(-1), expected.x[3:], atol=1e-6)


@pytest.mark.slow
def test_a_few_cameras_take_the_same_steps():
    info, expected = SMALL.fitted(rtol=1e-9), SMALL.fitted(None, rtol=1e-9)
    assert info.converged
    assert info.iterations == expected.iterations
    np.testing.assert_allclose(info.objective, expected.objective, rtol=1e-12)
    for leaf in SMALL.truth:
        np.testing.assert_allclose(info.x[leaf], expected.x[leaf], atol=1e-7)


@pytest.mark.slow
def test_ten_cameras_and_200_points():
    many = Pictures(10, 200)
    info, expected = many.fitted(), many.fitted(None)
    assert info.converged
    np.testing.assert_allclose(info.objective, expected.objective, rtol=1e-8)
    np.testing.assert_allclose(info.x["points"], expected.x["points"], atol=1e-4)


@pytest.mark.slow
def test_outliers_derivatives_and_lanes():
    spoilt = LINES.copy()
    spoilt[::7] += 5.0

    def place(t, eliminate="rows"):
        info = at_lines(eliminate, spoilt + t * np.cos(np.arange(24.0)), loss="soft-l1", scale=0.3)
        return info.x["place"][1]

    points = jnp.array([-1e-4, 0.0, 1e-4])
    values = jax.jit(jax.vmap(place))(points)
    np.testing.assert_allclose(values[1], place(0.0, None), atol=1e-6)
    slope = jax.jit(jax.grad(place))(0.0)
    np.testing.assert_allclose(slope, (values[2] - values[0]) / 2e-4, rtol=1e-3)


def chain(p):
    """Depths, each joined to the next."""
    return p["a"] + p["depth"], p["depth"][1:] - p["depth"][:-1]


@pytest.mark.slow
def test_single_precision_keeps_its_dtype():
    x0 = {"place": jnp.zeros(3, jnp.float32), "rows": jnp.ones((8, 2), jnp.float32)}
    data = jnp.asarray(LINES, jnp.float32)
    solve = js.Solve(js.LevenbergMarquardt(eliminate="rows"), x0=x0, rtol=1e-4)
    info = js.least_squares_info(
        lambda p: (lines(p, data)[0], p["place"] - jnp.asarray(PLACES, jnp.float32)), solve
    )
    assert info.converged
    assert info.x["rows"].dtype == jnp.float32


@pytest.mark.further
def test_rows_of_one_number_and_positions_in_a_tuple():
    def residual(p):
        return (p[1] * (1 + p[0]) - jnp.arange(5.0), p[0] + p[1][1:2] - 2)

    solve = js.Solve(js.LevenbergMarquardt(eliminate=1), x0=(jnp.ones(()), jnp.ones(5)), rtol=1e-9)
    x = js.least_squares(residual, solve)
    expected = js.least_squares(residual, js.Solve("levenberg-marquardt", x0=solve.x0, rtol=1e-9))
    np.testing.assert_allclose(x[1], expected[1], atol=1e-7)


@pytest.mark.parametrize(
    ("residual", "eliminate", "options", "error", "words"),
    [
        (chain, "depth", {}, js.StructureError, "residual 4 reads rows 0 and 1"),
        (chain, "depths", {}, js.StructureError, "it has a, depth"),
        (chain, "a", {}, js.StructureError, r"shape \(\)"),
        (chain, 1.5, {}, js.StructureError, "the name of a leaf"),
        (chain, "depth", {"linear": js.Solve("lsmr")}, ValueError, "leave out `linear`"),
    ],
)
def test_what_cannot_be_eliminated_is_refused(residual, eliminate, options, error, words):
    x0 = {"a": jnp.ones(()), "depth": jnp.ones(4)}
    with pytest.raises(error, match=words):
        js.least_squares(residual, js.Solve(js.LevenbergMarquardt(eliminate=eliminate, **options), x0=x0))


def test_equations_and_single_arrays_have_no_leaf_to_eliminate():
    solve = js.Solve(js.LevenbergMarquardt(eliminate="points"), x0=jnp.ones(3))
    with pytest.raises(ValueError, match="not for equations"):
        js.solve_nonlinear(jnp.sin, jnp.zeros(3), solve)
    with pytest.raises(js.StructureError, match="one array of shape"):
        js.least_squares(jnp.sin, solve)
