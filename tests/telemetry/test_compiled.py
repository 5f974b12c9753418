"""Tapes and compiled programs: order, caches, threads, and tapes opened inside traced functions."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxsolve as js
from tests.telemetry.systems import CG, FINE, A, b, kinds, loss, tolerances


@jax.jit
def two(b):
    return js.solve_linear(A, b, FINE) + js.solve_linear(A, 3 * b, CG)


@pytest.mark.further
def test_a_program_compiled_before_is_heard_and_compiled_for_tapes_once(compilations):
    two(b)
    doubled = 2 * b
    with js.SolveTape() as solves:
        two(b)
    assert tolerances(solves) == [1e-9, 1e-5]
    np.testing.assert_allclose(3 * solves[0].x, solves[1].x, rtol=1e-4)
    assert solves[0].status is js.Status.converged
    assert np.isnan(solves[0].solve_time)
    assert solves[CG] is solves[1]
    with compilations() as seen:
        with js.SolveTape() as again:
            two(doubled)
            two(b)
        two(b)
    assert seen == []
    assert tolerances(again) == [1e-9, 1e-5] * 2
    assert len(solves) == 2


@pytest.mark.further
def test_gradients_come_after_what_they_are_of():
    def chained(b):
        return js.solve_linear(A, js.solve_linear(A, b, FINE), CG).sum()

    with js.SolveTape() as solves:
        jax.jit(jax.grad(chained))(b)
    assert tolerances(solves) == [1e-9, 1e-5, 1e-5, 1e-9]
    assert kinds(solves) == ["solve", "solve", "adjoint", "adjoint"]


@pytest.mark.further
def test_loops_and_batches_inside_programs():
    def step(x, _):
        return js.solve_linear(A, x, CG), None

    with js.SolveTape() as solves:
        x, _ = jax.jit(lambda b: lax.scan(step, b, length=3))(b)
        jax.jit(jax.vmap(jax.grad(lambda b: loss(b) ** 2)))(jnp.stack([b, 2 * b]))
    assert kinds(solves) == ["solve"] * 4 + ["adjoint"]
    np.testing.assert_array_equal(solves[2].x, x)
    assert [np.shape(s.iterations) for s in solves] == [()] * 3 + [(2,), (2,)]


def test_a_solve_whose_solution_is_unused_is_heard():
    with js.SolveTape() as solves:
        jax.jit(lambda b: [js.solve_linear_info(A, b, FINE), b][1])(b)
    assert tolerances(solves) == [1e-9]


def test_traced_settings_are_heard_by_their_effect():
    def f(b, rtol):
        return js.solve_linear(A, b, js.Solve("CG", rtol=rtol, rank_deficiency=0))

    with js.SolveTape() as solves:
        jax.jit(f)(b, 1e-2)
    assert solves[0].target == pytest.approx(1e-2 * np.linalg.norm(b))
    assert solves[js.Solve("CG", rtol=1e-2, rank_deficiency=0)] is solves[0]


@pytest.mark.further
def test_each_thread_has_its_tapes():
    heard, barrier = {}, threading.Barrier(2)
    one = jax.jit(lambda b: js.solve_linear(A, b, FINE))

    def work(k):
        with js.SolveTape() as solves:
            barrier.wait()
            for _ in range(k + 1):
                one((k + 1) * b)
            js.solve_linear(A, b, CG)
            barrier.wait()
        heard[k] = solves

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    with js.SolveTape() as mine:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(mine) == 0
    for k in range(2):
        assert tolerances(heard[k]) == [1e-9] * (k + 1) + [1e-5]
        expected = (k + 1) * np.linalg.solve(A, b)
        for info in heard[k][: k + 1]:
            np.testing.assert_allclose(info.x, expected, rtol=1e-6)


def test_a_tape_inside_a_traced_function_holds_what_it_may_return():
    def f(b):
        with js.SolveTape(record_trajectories=True, norms_only=True) as solves:
            jax.grad(loss)(b)
            js.solve_linear(A, b, FINE)
        assert repr(solves[0]) == "SolveInfo(CG, traced)"
        return solves[CG], solves[1].iterations

    info, steps = jax.jit(f)(b)
    assert info.status is js.Status.converged
    assert int(steps) == 3
    trajectory = info.trajectory.trimmed()
    assert trajectory.iterations.tolist() == [0, 1, 2, 3]
    assert trajectory.residual_norm[-1] == info.residual_norm


@pytest.mark.further
def test_rectangular_gradients_are_heard():
    tall = jnp.array([[1.0, 2.0], [0.0, 1.0], [1.0, 1.0]])
    solve = js.Solve("lsqr", rtol=1e-8, rank_deficiency=0)
    with js.SolveTape() as solves:
        jax.grad(lambda b: js.solve_linear(tall, b, solve).sum())(b)
    # b moves alone: one solve with Aᵀ.
    assert kinds(solves) == ["solve", "adjoint"]
    assert [s.x.shape for s in solves] == [(2,), (3,)]
