"""What all methods obey under vmap, jit and differentiation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import (
    SIZE,
    distance,
    every_family,
    hermitian_only,
    made,
    matrix,
    relative_residual,
    system,
)


def band_of(name, A):
    """The part of a matrix that a banded method may see."""
    width = {"tridiagonal": 1, "banded": 2}.get(name, SIZE)
    return np.triu(np.tril(A, width), -width)


def lanes(name):
    """Systems beside each other: ordinary, tiny and huge, solved from the start, hopeless, zero, and broken."""
    A, b = system(name, dtype=np.float32)
    x = np.linalg.solve(A.astype(float), b)
    zero = np.zeros(SIZE)
    # On skew-symmetric rows pᵀAp = 0: definite methods fail there, others may not.
    hopeless = band_of(name, problems.skew(SIZE))
    return {
        "ordinary": (A, b, zero, 1e-4, 200),
        "other matrix": (matrix(name, seed=55), b, zero, 1e-4, 200),
        "solved": (A, b, x, 1e-3, 200),
        "tiny": (A, b * 2.0**-60, zero, 1e-4, 200),
        "huge": (A * 2.0**40, b * 2.0**30, zero, 1e-4, 200),
        "loose": (A, b, zero, 0.9, 200),
        "limited": (A, b, zero, 1e-5, 0),
        "zero": (A, 0 * b, x, 1e-4, 200),
        "nan": (A, np.where(np.arange(SIZE) == 3, np.nan, b), zero, 1e-4, 200),
        "infinite matrix": (np.where(np.eye(SIZE), np.inf, A), b, zero, 1e-4, 200),
        "zero matrix": (0 * A, b, zero, 1e-4, 200),
        "hopeless": (hopeless, b, zero, 1e-4, 200),
    }


@functools.cache
def in_lanes(name):
    cases = lanes(name)
    A, b, x0, rtol = (
        jnp.asarray(np.stack([case[k] for case in cases.values()]), np.float32) for k in range(4)
    )
    limits = jnp.asarray([case[4] for case in cases.values()])

    def one(A, b, x0, rtol, limit):
        return js.solve_linear_info(A, b, js.Solve(made(name), rtol=rtol, x0=x0, max_iterations=limit))

    info = jax.vmap(one)(A, b, x0, rtol, limits)
    return {kind: jax.tree.map(lambda v, k=k: v[k], info) for k, kind in enumerate(cases)}


@pytest.mark.few(1)
@every_family
def test_each_lane_of_a_vmap_ends_by_its_own_tolerance(name):
    cases, infos = lanes(name), in_lanes(name)
    for kind in ("ordinary", "other matrix", "solved", "tiny", "huge", "loose"):
        A, b, _, rtol, _ = cases[kind]
        assert infos[kind].status is js.Status.converged, kind
        assert relative_residual(A, infos[kind].x, b) <= 1.02 * rtol, kind
    assert infos["loose"].iterations <= infos["ordinary"].iterations
    assert infos["solved"].iterations == 0
    np.testing.assert_array_equal(infos["solved"].x, np.float32(cases["solved"][2]))
    assert infos["zero"].iterations == 0
    assert not np.any(infos["zero"].x)
    assert infos["limited"].status is js.Status.max_iterations


@pytest.mark.few(1)
@every_family
def test_a_lane_that_fails_says_so_and_harms_no_other(name):
    infos = in_lanes(name)
    assert infos["nan"].status is js.Status.invalid_input
    assert infos["infinite matrix"].status is js.Status.invalid_input
    for kind in ("zero matrix", "hopeless"):
        info = infos[kind]
        A, b, *_ = lanes(name)[kind]
        assert np.all(np.isfinite(info.x)), kind
        assert bool(info.converged) == (relative_residual(A, info.x, b) <= 1.01e-4), kind
    assert not infos["zero matrix"].converged


@every_family
def test_lanes_that_differ_in_units_do_bitwise_the_same(name):
    infos = in_lanes(name)
    for kind in ("tiny", "huge"):
        # Powers of two change nothing: the lanes do bitwise what the ordinary one does.
        assert infos[kind].iterations == infos["ordinary"].iterations
    np.testing.assert_array_equal(infos["tiny"].x, infos["ordinary"].x * np.float32(2.0**-60))
    np.testing.assert_array_equal(infos["huge"].x, infos["ordinary"].x * np.float32(2.0**-10))


@every_family
def test_a_lane_does_what_the_same_system_does_alone(name):
    infos = in_lanes(name)
    A, b, _, rtol, limit = lanes(name)["ordinary"]
    alone = js.solve_linear_info(A, b, js.Solve(made(name), rtol=rtol, max_iterations=limit))
    assert alone.status is js.Status.converged
    assert abs(int(alone.iterations) - int(infos["ordinary"].iterations)) <= made(name).stride
    assert distance(alone.x, infos["ordinary"].x) < 1e-3


@functools.cache
def complex_gradients(name):
    """x and its cotangents under jit, for a complex system that is as general as the method allows."""
    A, b = system(name, dtype=np.complex128)
    w = problems.random(SIZE, seed=31, dtype=np.complex128)

    @jax.jit
    def pull(A, b, w):
        x, back = jax.vjp(lambda A, b: js.solve_linear(A, b, js.Solve(made(name), rtol=1e-12)), A, b)
        return x, *back(w)

    return A, b, w, *pull(A, b, w)


@pytest.mark.few(1)
@every_family
def test_compiled_solves_give_what_eager_ones_give(name):
    A, b, _, x, _, _ = complex_gradients(name)
    assert distance(x, np.linalg.solve(A, b)) < 1e-9


@pytest.mark.few(1)
@every_family
def test_reverse_gradients_are_those_of_the_inverse(name):
    A, _, w, x, in_A, in_b = complex_gradients(name)
    # JAX's convention: no conjugation, x̄ᵀ dx = (A⁻ᵀ x̄)ᵀ (db - dA x).
    adjoint = np.linalg.solve(A.T, w)
    assert distance(in_b, adjoint) < 1e-9
    expected = -np.outer(adjoint, x)
    if name in ("tridiagonal", "banded"):
        in_A, expected = band_of(name, np.asarray(in_A)), band_of(name, expected)
    assert distance(in_A, expected) < 1e-9


@pytest.mark.few(1)
@every_family
def test_forward_gradients_are_those_of_the_inverse(name):
    A, b = system(name)
    dA, db = band_of(name, problems.random(SIZE, SIZE, seed=41)), problems.random(SIZE, seed=42)
    if hermitian_only(name):
        dA = dA + dA.T
    solve = js.Solve(made(name), rtol=1e-12)
    x, dx = jax.jvp(lambda A, b: js.solve_linear(A, b, solve), (A, b), (dA, db))
    assert distance(dx, np.linalg.solve(A, db - dA @ x)) < 1e-9
    # The same program serves finite differences.
    h = 1e-5
    ahead, behind = (js.solve_linear(A + s * h * dA, b + s * h * db, solve) for s in (1, -1))
    assert distance(dx, (ahead - behind) / (2 * h)) < 1e-6
