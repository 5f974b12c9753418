"""Trajectories: what they hold, how much of it, and that they cost nothing where they are not asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.telemetry.history import MEMORY, History, Wish
from tests.telemetry.systems import CG, A, b

n = 40
LONG = 2.001 * jnp.eye(n) - jnp.eye(n, k=1) - jnp.eye(n, k=-1)
ONES = jnp.ones(n)
FINE = js.Solve("CG", rtol=1e-8, rank_deficiency=0)


def test_a_trajectory_holds_every_iterate_and_its_residual():
    with js.SolveTape(record_trajectories=True) as solves:
        x = js.solve_linear(LONG, ONES, FINE)
    (info,) = solves
    steps, norms, xs = info.trajectory.iterations, info.trajectory.residual_norm, info.trajectory.x
    assert steps.tolist() == list(range(int(info.iterations) + 1))
    assert xs.shape == (len(info.trajectory), n)
    np.testing.assert_array_equal(xs[-1], x)
    np.testing.assert_array_equal(xs[0], 0)
    true = np.linalg.norm(ONES - xs @ LONG.T, axis=1)
    np.testing.assert_allclose(norms, true, rtol=1e-6, atol=1e-9)
    assert norms[0] == np.linalg.norm(ONES)
    assert norms[-1] == info.residual_norm


def test_every_and_norms_only_keep_less_and_always_both_ends():
    with js.SolveTape(record_trajectories=True) as whole:
        with js.SolveTape(record_trajectories=True, every=7, norms_only=True):
            js.solve_linear(LONG, ONES, FINE)
        with js.SolveTape(record_trajectories=True, norms_only=True) as norms:
            js.solve_linear(LONG, ONES, FINE)
    assert norms[0].trajectory.x is None
    assert whole[1].trajectory.x is not None
    last = int(whole[0].iterations)
    with js.SolveTape(record_trajectories=True, every=7, norms_only=True) as seldom:
        js.solve_linear(LONG, ONES, FINE)
    steps = seldom[0].trajectory.iterations.tolist()
    assert steps == sorted({*range(0, last + 1, 7), last})
    assert seldom[0].trajectory.residual_norm[-1] == seldom[0].residual_norm


def test_a_failed_solve_shows_where_it_stood_still():
    with js.SolveTape(record_trajectories=True, norms_only=True) as solves:
        js.solve_linear_info(LONG, ONES, js.Solve("CG", rtol=1e-8, max_iterations=5, rank_deficiency=0))
    assert solves[0].trajectory.iterations.tolist() == [0, 1, 2, 3, 4, 5]
    assert solves[0].trajectory.residual_norm[-1] == solves[0].residual_norm


def test_lanes_end_where_their_system_ended_in_the_structure_of_x():
    def f(x):
        return {"u": 2 * x["u"], "v": x["v"] @ A}

    def solved(k):
        rhs = {"u": k * jnp.ones(2), "v": k * jnp.array([[1.0, 0.0, 2.0]])}
        return js.solve_linear(f, rhs, CG)

    with js.SolveTape(record_trajectories=True) as solves:
        x = jax.vmap(solved)(jnp.array([1.0, 0.0]))
    trajectory = solves[0].trajectory
    assert trajectory.x["v"].shape == (2, len(trajectory), 1, 3)
    assert trajectory.iterations[1].tolist() == [0] + [-1] * (len(trajectory) - 1)
    assert np.isnan(trajectory.residual_norm[1, 1:]).all()
    np.testing.assert_array_equal(trajectory.x["v"][0, -1], x["v"][0])


def test_a_traced_limit_ends_in_a_buffer_of_the_default_size():
    def f(limit):
        return js.solve_linear(A, b, js.Solve("CG", max_iterations=limit, rank_deficiency=0))

    with js.SolveTape(record_trajectories=True, norms_only=True) as solves:
        jax.jit(f)(50)
    assert solves[0].trajectory.iterations.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("norms_only", "rows"), [(True, 1001), (False, 268)])
def test_buffers_are_bounded(norms_only, rows):
    vector = 1_000_000
    history = History.fitting(Wish(1, norms_only), 1000, vector)
    assert history.rows <= rows
    assert history.rows * history.every > 1000
    assert norms_only or history.rows * vector <= MEMORY
    endless = History.fitting(Wish(3, True), 10**9, vector)
    assert endless.rows <= 2**16


def test_records_beyond_the_buffer_renew_the_last():
    history = History(every=2, rows=3, norms_only=False)
    seen = history.start(jnp.zeros(1), jnp.array(9.0))
    for k in range(1, 12):
        before, now = jnp.array(k - 1), jnp.array(k)
        seen = history.note(seen, before, now, 10.0 - now, lambda now=now: now * jnp.ones(1))
    assert history.end(seen).trimmed().iterations.tolist() == [0, 2, 4]
    seen = history.end(history.settle(seen, jnp.array(11), jnp.array(0.5), jnp.array([11.0]))).trimmed()
    assert seen.iterations.tolist() == [0, 2, 11]
    assert seen.residual_norm.tolist() == [9, 8, 0.5]
    assert seen.x[:, 0].tolist() == [0, 2, 11]
