"""continuation: solutions along a load beside formulas, limit points, derivatives, and what is no path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js

PATH = np.array([0.0, 2.0, 10.0])


def spring(x, load, k=1.0):
    """x + k x³ = load: x = 0, 1, 2 along `PATH`."""
    return x + k * x**3 - load


def snap(x, load):
    """x² = 1 - load: no solution beyond 1."""
    return x**2 + load - 1


def sharp(x, load):
    """arctan(50 (x - load²)) = 0, where Newton's method from a far guess overshoots without a line search."""
    return jnp.arctan(50 * (x["u"] - load**2)), x["v"] - 3 * x["u"] * load


def test_points_are_solutions_and_derivatives_those_of_their_equations():
    def solution(k, path):
        return js.continuation(spring, jnp.zeros(()), js.Solve(rtol=1e-10), path, k).x

    info = js.continuation(spring, jnp.zeros(()), js.Solve(rtol=1e-10), PATH)
    assert info.converged.all()
    np.testing.assert_allclose(info.x, [0, 1, 2], atol=1e-9)
    np.testing.assert_array_equal(info.load, PATH)
    assert info.residual.shape == info.iterations.shape == (3,)
    by_k, by_path = jax.jit(jax.jacrev(solution, (0, 1)))(1.0, PATH)
    slopes = 1 / (1 + 3 * np.array([0.0, 1, 2]) ** 2)
    np.testing.assert_allclose(by_k, -np.array([0.0, 1, 8]) * slopes, atol=1e-9)
    np.testing.assert_allclose(by_path, np.diag(slopes), atol=1e-9)


@pytest.mark.further
def test_a_path_ends_at_a_limit_point_and_says_so():
    info = js.continuation(
        snap, jnp.zeros(()), js.Solve(x0=1.0, rtol=1e-8), np.array([0.0, 0.5, 0.9, 1.5, 0.0])
    )
    np.testing.assert_array_equal(info.converged, [True, True, True, False, False])
    np.testing.assert_allclose(info.x[:3], [1, 0.5**0.5, 0.1**0.5], rtol=1e-6)
    assert 0.99 < float(info.load[3]) <= 1
    # What is returned for points that were not reached is the last solution.
    np.testing.assert_allclose(snap(info.x[3], info.load[3]), 0, atol=1e-7)
    assert info.x[4] == info.x[3]
    assert "followed up to the load 0.99" in info.message


@pytest.mark.slow
def test_second_derivatives_in_a_scan_and_lanes():
    def last(k):
        def body(total, path):
            return total + js.continuation(spring, jnp.zeros(()), js.Solve(rtol=1e-12), path, k).x[-1], None

        return jax.lax.scan(body, 0.0, jnp.asarray(np.stack([PATH, PATH / 2])))[0]

    points = jnp.array([1 - 1e-4, 1.0, 1 + 1e-4])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(last)))(points)
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / 2e-4, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.hessian(last))(1.0), (slopes[2] - slopes[0]) / 2e-4, rtol=1e-6)


@pytest.mark.further
def test_trees_there_and_back():
    x0 = {"u": jnp.zeros(2), "v": jnp.zeros(2)}
    y = (jnp.zeros(2), jnp.zeros(2))
    info = js.continuation(sharp, y, js.Solve(x0=x0, rtol=1e-8), [0.0, 1.0, 3.0, 1.0])
    assert info.converged.all()
    np.testing.assert_allclose(info.x["u"], np.array([0.0, 1, 9, 1])[:, None] * np.ones(2), atol=1e-6)
    np.testing.assert_allclose(info.x["v"], 3 * np.array([0.0, 1, 27, 1])[:, None] * np.ones(2), atol=1e-5)


@pytest.mark.further
def test_a_step_that_fails_is_made_in_shorter_ones():
    # Two unknowns in two dimensions, where a solve from zero ends in a point of no slope.
    def twist(x, load):
        c, s = jnp.cos(3 * load), jnp.sin(3 * load)
        turned = jnp.stack([x[0] * c - x[1] * s, x[0] * s + x[1] * c])
        return turned + 0.2 * turned**3 - 1.2

    solve = js.Solve(x0=jnp.ones(2), rtol=1e-9, max_iterations=3)
    assert not js.solve_nonlinear_info(twist, jnp.zeros(2), solve, 1.0).converged
    info = js.continuation(twist, jnp.zeros(2), solve, [0.0, 1.0])
    assert info.converged.all()
    assert info.iterations[1] > 3
    angle = -3.0
    expected = [np.cos(angle) - np.sin(angle), np.sin(angle) + np.cos(angle)]
    np.testing.assert_allclose(info.x[1], expected, atol=1e-7)


@pytest.mark.slow
def test_single_precision_is_not_widened_by_the_path():
    info = js.continuation(spring, jnp.zeros((), jnp.float32), js.Solve(), PATH)
    assert info.x.dtype == jnp.float32
    np.testing.assert_allclose(info.x, [0, 1, 2], atol=1e-4)


@pytest.mark.further
@pytest.mark.parametrize("load", [np.nan, np.inf])
def test_a_load_that_is_no_number_ends_the_path(load):
    info = js.continuation(spring, jnp.zeros(()), js.Solve(), [0.0, 2.0, load])
    np.testing.assert_array_equal(info.converged, [True, True, False])
    first = js.continuation(spring, jnp.zeros(()), js.Solve(), [load, 2.0])
    assert not first.converged.any()
    assert "No solution was found at the first load" in first.message


@pytest.mark.further
def test_tapes_hear_of_paths():
    with js.SolveTape() as solves:
        js.continuation(spring, jnp.zeros(()), js.Solve(), PATH)
    assert len(solves) == 1
    assert solves[0].x.shape == (3,)


@pytest.mark.parametrize(
    ("path", "solve", "error", "words"),
    [
        ([], None, ValueError, "one load or more"),
        (0.5, None, ValueError, "one load or more"),
        ([1j], None, TypeError, "real loads"),
        ("up", None, TypeError, "path"),
        ([1.0], js.Solve("CG"), ValueError, "newton"),
    ],
)
def test_what_is_no_path_is_refused(path, solve, error, words):
    with pytest.raises(error, match=words):
        js.continuation(spring, jnp.zeros(()), solve, path)
