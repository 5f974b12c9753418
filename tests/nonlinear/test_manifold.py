"""Fits on manifolds: known solutions, derivatives beside differences, sparse patterns, and what is no retraction."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import jaxsolve as js
from jaxsolve.nonlinear import rotations
from jaxsolve.nonlinear.manifold import KNOWN, on_manifold
from jaxsolve.nonlinear.nonlinear_problem import state
from jaxsolve.nonlinear.residual_jacobian import residual_jacobian
from jaxsolve.solvers.nonlinear_methods import FIT

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(12, 3))
TURN = scipy.linalg.expm(np.cross(np.eye(3), np.array([2.0, -0.9, 0.7])))
SEEN = POINTS @ TURN.T + 0.05 * RNG.normal(size=(12, 3))
START = {"quaternion": np.array([1.0, 0, 0, 0]), "SO3": np.eye(3), "SE3": np.eye(4)}


def rotated(name, x, v):
    """Points moved by a rotation or a pose."""
    if name == "quaternion":
        across = jnp.cross(x[1:], v)
        return v + 2 * (x[0] * across + jnp.cross(x[1:], across))
    return v @ x[:3, :3].T + (x[:3, 3] if name == "SE3" else 0)


def fitted(name, seen=SEEN, rtol=1e-10, **options):
    def residual(x, seen):
        return rotated(name, x, POINTS) - seen

    solve = js.Solve(js.LevenbergMarquardt(**options), x0=START[name], rtol=rtol)
    return js.least_squares_info(residual, solve, seen, retract=name)


def kabsch(a, b):
    """The rotation that brings a nearest to b."""
    U, _, V = np.linalg.svd(b.T @ a)
    return U @ np.diag([1, 1, np.linalg.det(U @ V)]) @ V


@pytest.mark.parametrize("name", ["quaternion", "SE3", pytest.param("SO3", marks=pytest.mark.further)])
def test_rotations_and_poses_are_those_of_singular_values(name):
    info = fitted(name)
    centre = (POINTS.mean(0), SEEN.mean(0)) if name == "SE3" else (0, 0)
    R = kabsch(POINTS - centre[0], SEEN - centre[1])
    assert info.converged
    np.testing.assert_allclose(
        rotated(name, info.x, np.zeros((1, 3)))[0], centre[1] - R @ (centre[0] * np.ones(3)), atol=1e-8
    )
    turned = rotated(name, info.x, np.eye(3)) - rotated(name, info.x, np.zeros((3, 3)))
    np.testing.assert_allclose(turned.T, R, atol=1e-8)
    assert KNOWN[name].off(info.x) < 1e-14
    assert info.residual.shape == (KNOWN[name].step,)


@pytest.mark.parametrize("size", [1e-9, 0.99, 1.01, 3.2, pytest.param(7.0, marks=pytest.mark.further)])
def test_steps_are_exponentials(size):
    w = size * np.array([2.0, -1.0, 2.0]) / 3
    turn = scipy.linalg.expm(np.cross(np.eye(3), w))
    np.testing.assert_allclose(KNOWN["SO3"].move(jnp.asarray(TURN), jnp.asarray(w)), TURN @ turn, atol=1e-14)
    q = KNOWN["quaternion"].move(jnp.asarray(START["quaternion"]), jnp.asarray(w))
    np.testing.assert_allclose(rotated("quaternion", q, POINTS), POINTS @ turn.T, atol=1e-13)
    step = np.concatenate([[0.3, -2.0, 1.0], w])
    twist = np.zeros((4, 4))
    twist[:3, :3], twist[:3, 3] = np.cross(np.eye(3), w), step[:3]
    np.testing.assert_allclose(
        KNOWN["SE3"].move(jnp.eye(4), jnp.asarray(step)), scipy.linalg.expm(twist), atol=1e-13
    )


@pytest.mark.parametrize("name", KNOWN)
def test_the_derivative_at_rest_is_that_of_the_step(name):
    known = KNOWN[name]
    x = known.move(jnp.asarray(START[name]), jnp.linspace(0.3, -1.2, known.step))
    d = jnp.linspace(-1.0, 2.0, known.step)
    expected = jax.jit(lambda x, d: jax.jvp(lambda s: known.move(x, s), (0 * d,), (d,))[1])(x, d)
    np.testing.assert_allclose(known.along(x, d), expected, atol=1e-14)


@pytest.mark.parametrize(("first", "of"), [(1, "_sine"), (2, "_versine"), (3, "_third")])
def test_steps_have_derivatives_of_every_order_at_zero(first, of):
    # Σ (-1)ᵏ sᵏ / (2k + first)!
    derivative = getattr(rotations, of)
    for order in range(4):
        expected = (-1) ** order * math.factorial(order) / math.factorial(2 * order + first)
        np.testing.assert_allclose(derivative(jnp.zeros(1))[0], expected, rtol=1e-14)
        derivative = jax.jacfwd(lambda s, f=derivative: f(s).sum())


@pytest.mark.parametrize(
    "name",
    ["quaternion", *(pytest.param(k, marks=pytest.mark.further) for k in ("SO3", "SE3"))],
)
def test_derivatives_are_those_of_differences(name):
    def position(seen):
        return rotated(name, fitted(name, seen, 1e-12).x, jnp.ones((1, 3)))[0]

    d = RNG.normal(size=SEEN.shape)
    h = 1e-5
    expected = (position(SEEN + h * d) - position(SEEN - h * d)) / (2 * h)
    forward = jax.jvp(position, (SEEN,), (d,))[1]
    np.testing.assert_allclose(forward, expected, atol=1e-8)
    w = jnp.array([1.0, -2.0, 0.5])
    reverse = jax.grad(lambda seen: w @ position(seen))(SEEN)
    np.testing.assert_allclose(jnp.sum(reverse * d), w @ expected, atol=1e-8)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("quaternion", marks=pytest.mark.further),
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("SO3", "SE3")),
    ],
)
def test_second_and_third_derivatives(name):
    d = jnp.asarray(RNG.normal(size=SEEN.shape))

    def position(t):
        return rotated(name, fitted(name, SEEN + t * d, 1e-13).x, jnp.ones((1, 3)))[0] @ jnp.array(
            [1.0, -2, 0.5]
        )

    first = jax.jit(jax.grad(position))
    second = jax.jit(jax.grad(jax.grad(position)))
    h = 1e-4
    np.testing.assert_allclose(second(0.0), (first(h) - first(-h)) / (2 * h), rtol=1e-5)
    third = jax.jit(jax.grad(jax.grad(jax.grad(position))))
    np.testing.assert_allclose(third(0.0), (second(h) - second(-h)) / (2 * h), rtol=1e-4)


@pytest.mark.slow
def test_derivatives_inside_loops_and_batches():
    seen = jnp.stack([SEEN, SEEN + 0.1, 1.1 * SEEN])

    def position(seen):
        return rotated("SE3", fitted("SE3", seen, 1e-11).x, jnp.ones((1, 3))).sum()

    one_by_one = jnp.stack([jax.grad(position)(s) for s in seen])
    batch = jax.grad(lambda seen: jax.vmap(position)(seen).sum())(seen)
    mapped = jax.grad(lambda seen: jax.lax.map(position, seen).sum())(seen)
    walked = jax.grad(lambda seen: jax.lax.scan(lambda c, s: (c + position(s), None), 0.0, seen)[0])(seen)
    for other in (batch, mapped, walked):
        np.testing.assert_allclose(other, one_by_one, atol=1e-9)


#: A ring of poses with a chord, the first held by a residual of its own.
COUNT = 6
A, B = np.r_[np.arange(COUNT), 0], np.r_[(np.arange(COUNT) + 1) % COUNT, 3]
TRUTH = np.stack(
    [
        scipy.linalg.expm(np.block([[np.cross(np.eye(3), w[3:]), w[:3, None]], [np.zeros((1, 4))]]))
        for w in RNG.normal(size=(COUNT, 6))
    ]
)
MOTIONS = np.linalg.inv(TRUTH[A]) @ TRUTH[B]


def ring(T, motions=MOTIONS):
    """What differs from the measured motions."""
    inverse = jnp.swapaxes(T[A, :3, :3], -1, -2)
    turn = inverse @ T[B, :3, :3] - motions[:, :3, :3]
    moved = (inverse @ (T[B, :3, 3:] - T[A, :3, 3:]))[..., 0] - motions[:, :3, 3]
    return turn, moved, (T[0] - TRUTH[0])[:3]


def near(T, size, seed=1):
    return KNOWN["SE3"].move(jnp.asarray(T), size * np.random.default_rng(seed).normal(size=(len(T), 6)))


@pytest.mark.parametrize(
    "linear", ["sparse-direct", *(pytest.param(k, marks=pytest.mark.slow) for k in (None, "lsmr"))]
)
def test_poses_of_a_graph_are_found(linear):
    method = js.LevenbergMarquardt(None if linear is None else js.Solve(linear))
    info = js.least_squares_info(ring, js.Solve(method, x0=near(TRUTH, 0.2), rtol=1e-9), retract="SE3")
    assert info.converged
    np.testing.assert_allclose(info.x, TRUTH, atol=1e-6)


@pytest.mark.further
def test_steps_keep_the_sparsity_of_the_residuals():
    statement, given, x = on_manifold(*state(FIT, ring, jnp.asarray(TRUTH), None, (), {}), "SE3")
    J = residual_jacobian(statement, given, x)
    assert J.shape == (len(A) * 12 + 12, 6 * COUNT)
    # A residual reads the steps of two poses at most.
    assert np.diff(J.pattern.indptr).max() <= 12
    chart, there, z = statement.near(given, x)
    dense = jax.jacfwd(lambda z: chart.value(there, z))(z)
    np.testing.assert_allclose(J.todense(), dense, atol=1e-13)


@pytest.mark.further
def test_a_leaf_is_eliminated_beside_poses():
    seen = np.nonzero(np.ones((4, 10)))
    points = RNG.normal(size=(10, 3))

    def residual(p):
        X = (p["cameras"][seen[0], :3, :3] @ p["points"][seen[1]][..., None])[..., 0]
        X = X + p["cameras"][seen[0], :3, 3] + jnp.array([0, 0, 8.0])
        return X[:, :2] / X[:, 2:]

    truth = {"cameras": jnp.asarray(near(np.stack([np.eye(4)] * 4), 0.1, 3)), "points": jnp.asarray(points)}
    data = residual(truth) + 1e-3 * RNG.normal(size=(40, 2))
    prior = lambda p: (p["cameras"][:2] - truth["cameras"][:2]) * 10  # noqa: E731
    x0 = {"cameras": near(truth["cameras"], 0.02), "points": points + 0.02 * RNG.normal(size=(10, 3))}

    def fit(eliminate):
        solve = js.Solve(js.LevenbergMarquardt(eliminate=eliminate), x0=x0, rtol=1e-8)
        return js.least_squares_info(
            lambda p: (residual(p) - data, prior(p)), solve, retract={"cameras": "SE3"}
        )

    plain, eliminated = fit(None), fit("points")
    assert plain.converged
    assert eliminated.converged
    np.testing.assert_allclose(eliminated.x["points"], plain.x["points"], atol=1e-5)
    assert eliminated.residual["cameras"].shape == (4, 6)


@pytest.mark.further
def test_losses_and_lines_work_on_manifolds():
    spoilt = SEEN.copy()
    spoilt[:2] += 5
    robust = fitted("SO3", spoilt, 1e-8, loss="cauchy", scale=0.1)
    assert robust.converged
    np.testing.assert_allclose(robust.x, kabsch(POINTS[2:], SEEN[2:]), atol=2e-2)
    line = js.least_squares_info(
        lambda R: POINTS @ R.T - SEEN, js.Solve("gauss-newton", x0=np.eye(3), rtol=1e-9), retract="SO3"
    )
    assert line.converged
    np.testing.assert_allclose(line.x, kabsch(POINTS, SEEN), atol=1e-7)


def test_a_retraction_of_ones_own():
    t = jnp.linspace(0, 4, 20)
    data = 3 * jnp.exp(-0.5 * t) + 0.01 * jnp.sin(9 * t)

    def residual(p):
        return p["size"] * jnp.exp(-p["rate"] * t) - data

    x0 = {"size": 1.0, "rate": 1.0}
    free = js.least_squares(residual, js.Solve(x0=x0, rtol=1e-9))
    positive = lambda x, step: x * jnp.exp(step)  # noqa: E731
    one = js.least_squares(residual, js.Solve(x0=x0, rtol=1e-9), retract={"rate": positive})
    np.testing.assert_allclose(one["rate"], free["rate"], rtol=1e-7)


@pytest.mark.further
def test_a_retraction_whose_steps_have_another_shape():
    # A direction on the sphere, by steps of two numbers along columns that are orthogonal to it.
    def on_sphere(x, step):
        axis = jnp.eye(3)[0] * jnp.where(x[0] < 0, -1, 1)
        v = x + axis
        columns = jnp.eye(3)[:, 1:] - jnp.outer(v, v[1:]) * 2 / (v @ v)
        y = x + columns @ step
        return y / jnp.linalg.norm(y)

    target = jnp.array([0.3, -2.0, 1.0])
    info = js.least_squares_info(
        lambda x: x - target,
        js.Solve(x0=jnp.array([1.0, 0, 0]), rtol=1e-9),
        retract=(on_sphere, jnp.zeros(2)),
    )
    assert info.converged
    np.testing.assert_allclose(info.x, target / jnp.linalg.norm(target), atol=1e-8)


@pytest.mark.further
def test_the_covariance_is_that_of_steps():
    info = fitted("SO3")
    J = jax.jacfwd(lambda s: (POINTS @ KNOWN["SO3"].move(info.x, s).T).ravel())(jnp.zeros(3))
    expected = 2 * info.objective / (36 - 3) * np.linalg.inv(J.T @ J)
    np.testing.assert_allclose(js.covariance(info), expected, rtol=1e-9)


@pytest.mark.further
def test_single_precision():
    with jax.enable_x64(False):
        seen = jnp.asarray(SEEN, jnp.float32)
        info = js.least_squares_info(
            lambda R: jnp.asarray(POINTS, jnp.float32) @ R.T - seen, js.Solve(x0=jnp.eye(3)), retract="SO3"
        )
    assert info.converged
    assert info.x.dtype == jnp.float32
    np.testing.assert_allclose(info.x, kabsch(POINTS, SEEN), atol=1e-3)


def residual_of(x):
    return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(x)])


REFUSED = {
    "another shape": (np.ones(3), lambda x, step: x[:2] + step[:2], r"array\(2,\)"),
    "another tree": (np.ones(3), lambda x, step: {"x": x + step}, "same structure"),
    "complex": (np.ones(3), lambda x, step: x + 1j * step, "complex"),
    "moves at rest": (np.ones(3), lambda x, step: (x + step) / 2, "off its manifold by 0.5"),
    "no quaternion": (2 * np.ones(4), "quaternion", "unit quaternions"),
    "a reflection": (-np.eye(3), "SO3", "determinant one"),
    "no pose": (np.ones((5, 4, 4)), "SE3", r"poses \[R t; 0 1\]"),
    "quaternions of three": (np.ones(3), "quaternion", r"shape \(3,\)"),
    "a strange name": (np.ones(3), "SO4", "SO3"),
    "a strange leaf": ({"a": np.ones(3)}, {"b": "SO3"}, "no 'b'"),
    "a number": (np.ones(3), 3.0, "got 3.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_retraction_is_refused_in_words(case):
    x0, retract, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=words):
        js.least_squares(residual_of, js.Solve(x0=x0), retract=retract)


def test_other_methods_and_bounds_are_refused():
    with pytest.raises(ValueError, match="levenberg-marquardt or gauss-newton"):
        js.least_squares(residual_of, js.Solve("trf", x0=np.eye(3)), retract="SO3")
    with pytest.raises(ValueError, match="not both"):
        js.least_squares(residual_of, js.Solve(x0=np.eye(3)), retract="SO3", bounds=(0, 1))


@pytest.mark.further
def test_a_start_off_the_manifold_shows_in_compiled_programs():
    def converged(x0):
        return js.least_squares_info(residual_of, js.Solve(x0=x0), retract="quaternion").converged

    assert not jax.jit(converged)(jnp.full(4, 2.0))
