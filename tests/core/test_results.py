"""SolveInfo and its exceptions: readable, picklable, and pytrees."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.results import Frozen

A = jnp.array([[3.0, 1.0], [0.5, 2.0]])
b = jnp.array([1.0, -2.0])
GIVEN_UP = js.Solve("biCG-stab", max_iterations=0)


def test_a_result_says_how_it_went():
    info = js.solve_linear_info(A, b, js.Solve("biCG-stab", rtol=1e-9))
    text = repr(info)
    assert text.startswith("SolveInfo(biCG-stab converged after 2 iterations with residual ")
    assert "(tolerance 2.24e-09)" in text
    assert info.status is js.Status.converged
    assert "message" not in text
    assert bool(info.converged)
    assert not bool(info.diverged)


def test_a_failure_says_what_to_do():
    info = js.solve_linear_info(A, b, GIVEN_UP)
    assert js.Status.max_iterations.message in info.message
    assert info.message.startswith(
        "biCG-stab did not converge [max_iterations] after 0 iterations with residual 2.24"
    )


def test_the_message_of_a_batch_names_the_failed_lanes():
    info = js.solve_linear_info(A, jnp.stack([b, 0 * b, 3 * b]), GIVEN_UP)
    assert "2 of 3 systems failed (lanes 0, 2); the worst, lane 2:" in info.message
    assert info.status.tolist() == [2, 0, 2]
    assert info.converged.tolist() == [False, True, False]


def test_nan_counts_as_the_worst_lane():
    info = js.solve_linear_info(A, jnp.stack([1e9 * b, np.nan * b]), GIVEN_UP)
    assert "the worst, lane 1: diverged [invalid_input]" in info.message


def test_the_fields_are_those_documented():
    info = js.solve_linear_info(A, b, js.Solve("biCG-stab"))
    outcome = "iterations function_evaluations converged diverged status method message solve_time trajectory"
    for name in ["solve", "x", "residual", *outcome.split()]:
        assert hasattr(info, name), name
    assert isinstance(info.solve, js.Solve)
    assert info.method == "biCG-stab"
    assert 0 < info.solve_time < 60
    np.testing.assert_allclose(info.residual, b - A @ info.x, atol=1e-14)


def test_a_result_is_a_pytree_that_passes_through_jit_and_vmap():
    info = jax.jit(lambda b: js.solve_linear_info(A, b, js.Solve("biCG-stab")))(b)
    assert info.status is js.Status.converged
    assert np.isnan(info.solve_time)
    again = jax.jit(lambda info: info)(info)
    assert repr(again) == repr(info)
    batch = jax.vmap(lambda b: js.solve_linear_info(A, b, js.Solve("biCG-stab")))(jnp.stack([b, 2 * b]))
    assert batch.iterations.shape == batch.status.shape == (2,)
    assert jax.tree.leaves(jax.tree.map(lambda v: v, info))


def test_a_traced_result_prints_without_values():
    seen = []

    @jax.jit
    def f(b):
        info = js.solve_linear_info(A, b, js.Solve("biCG-stab"))
        seen.extend([repr(info), info.message])
        return info.x

    f(b)
    assert seen[0] == "SolveInfo(biCG-stab, traced)"
    assert "traced" in seen[1]


def test_an_exception_survives_pickling_and_copying():
    with pytest.raises(js.NotConverged, match="max_iterations") as caught:
        js.solve_linear(A, b, GIVEN_UP)
    for error in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert type(error) is js.NotConverged
        assert str(error) == str(caught.value)
        assert error.result.status is js.Status.max_iterations
        np.testing.assert_array_equal(error.result.x, [0, 0])


def test_requests_are_equal_when_all_but_their_arrays_is():
    one, other = Frozen(js.Solve("CG", x0=jnp.ones(2))), Frozen(js.Solve("CG", x0=jnp.zeros(2)))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Frozen(js.Solve("minres", x0=jnp.ones(2)))
    assert one != Frozen(js.Solve("CG"))


def test_a_request_is_split_into_arrays_and_the_rest_and_joined_again():
    solve = js.Solve("CG", rtol=jnp.asarray(1e-3), x0={"u": jnp.ones(2)}, preconditioner=lambda r: r)
    request = Frozen(solve)
    back = request.join(request.split(solve))
    assert back.preconditioner is solve.preconditioner
    assert back.x0["u"] is solve.x0["u"]
    assert repr(back) == repr(solve)
