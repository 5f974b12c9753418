"""Failures are raised with their class and result, or suppressed, on every way through JAX."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from tests.gallery import problems

N = 6
A = jnp.asarray(problems.convection(N))
B = jnp.asarray(problems.random(N, seed=2))
GIVEN_UP = js.Solve("biCG-stab", rtol=1e-12, max_iterations=1)
BROKEN = B.at[2].set(jnp.nan)
PATIENT = js.Solve("biCG-stab", rtol=1e-12)


def test_an_eager_failure_has_class_message_and_result():
    with pytest.raises(js.NotConverged, match="max_iterations") as caught:
        js.solve_linear(A, B, GIVEN_UP)
    result = caught.value.result
    assert isinstance(result, js.SolveInfo)
    assert result.status is js.Status.max_iterations
    assert result.iterations == 1
    assert result.solve is not None
    assert str(caught.value) == result.message
    np.testing.assert_allclose(result.residual, B - A @ result.x)


def test_an_eager_divergence_has_its_own_class():
    with pytest.raises(js.Diverged, match="invalid_input") as caught:
        js.solve_linear(A, BROKEN, PATIENT)
    assert caught.value.result.diverged


def test_our_jit_raises_the_same_as_eager_mode():
    with pytest.raises(js.NotConverged, match="max_iterations") as eager:
        js.solve_linear(A, B, GIVEN_UP)
    solve = js.jit(lambda b: js.solve_linear(A, b, GIVEN_UP))
    for _ in range(2):
        with pytest.raises(js.NotConverged, match="max_iterations") as caught:
            solve(B)
        assert str(caught.value) == str(eager.value)
        assert caught.value.result.status is js.Status.max_iterations
        np.testing.assert_allclose(caught.value.result.x, eager.value.result.x)
        np.testing.assert_allclose(caught.value.result.residual, eager.value.result.residual)
    with pytest.raises(js.Diverged, match="invalid_input"):
        solve(BROKEN)


def test_plain_jit_raises_the_message():
    with pytest.raises(js.NotConverged, match="max_iterations") as eager:
        js.solve_linear(A, B, GIVEN_UP)
    with pytest.raises(Exception, match="biCG-stab did not converge") as caught:
        jax.block_until_ready(jax.jit(lambda b: js.solve_linear(A, b, GIVEN_UP))(B))
    assert str(eager.value) in str(caught.value)


def test_a_compiled_solve_that_succeeds_after_a_failure():
    solve = js.jit(
        lambda b, limit: js.solve_linear(A, b, js.Solve("biCG-stab", rtol=1e-12, max_iterations=limit))
    )
    with pytest.raises(js.NotConverged, match="max_iterations"):
        solve(B, jnp.asarray(1))
    np.testing.assert_allclose(A @ solve(B, jnp.asarray(100)), B, atol=1e-10)


def test_a_batch_raises_for_its_failed_lanes():
    batch = jnp.stack([0 * B, B, 2 * B])
    text = r"2 of 3 systems failed \(lanes 1, 2\); the worst, lane 2: did not converge \[max_iterations\]"
    for run in (
        lambda: js.solve_linear(A, batch, GIVEN_UP),
        lambda: js.solve_linear(jnp.stack([A, A, A]), batch, GIVEN_UP),
        lambda: jax.vmap(lambda b: js.solve_linear(A, b, GIVEN_UP))(batch),
        lambda: js.jit(jax.vmap(lambda b: js.solve_linear(A, b, GIVEN_UP)))(batch),
    ):
        with pytest.raises(js.NotConverged, match=text) as caught:
            run()
        assert np.shape(caught.value.result.x) == (3, N)
        assert np.asarray(caught.value.result.converged).tolist() == [True, False, False]


def test_the_worst_class_of_a_batch_is_raised():
    batch = jnp.stack([B, BROKEN])
    with pytest.raises(js.Diverged, match=r"2 of 2 systems failed"):
        js.solve_linear(A, batch, GIVEN_UP)
    with pytest.raises(js.NotConverged, match="2 of 2 systems failed"):
        js.solve_linear(A, batch, js.Solve("biCG-stab", rtol=1e-12, max_iterations=1, suppress=js.Diverged))


@pytest.mark.parametrize(
    "suppress", [js.NotConverged, (js.NotConverged,), [js.NotConverged, js.Diverged], js.ConvergenceException]
)
def test_what_is_suppressed_is_not_raised(suppress):
    solve = js.Solve("biCG-stab", rtol=1e-12, max_iterations=1, suppress=suppress)
    expected = js.solve_linear_info(A, B, GIVEN_UP).x
    np.testing.assert_allclose(js.solve_linear(A, B, solve), expected)
    np.testing.assert_allclose(jax.jit(js.solve_linear)(A, B, solve), expected, rtol=1e-12)
    np.testing.assert_allclose(
        jax.vmap(lambda b: js.solve_linear(A, b, solve))(B[None])[0], expected, rtol=1e-12
    )


def test_the_other_class_is_still_raised():
    with pytest.raises(js.NotConverged, match="max_iterations"):
        js.solve_linear(A, B, js.Solve("biCG-stab", rtol=1e-12, max_iterations=1, suppress=js.Diverged))
    with pytest.raises(js.Diverged, match="invalid_input"):
        js.solve_linear(A, BROKEN, js.Solve("biCG-stab", suppress=js.NotConverged))


def test_information_never_raises():
    for b, limit in ((B, 1), (BROKEN, 10)):
        solve = js.Solve("biCG-stab", rtol=1e-12, max_iterations=limit)
        for info in (
            js.solve_linear_info(A, b, solve),
            jax.jit(lambda b, solve=solve: js.solve_linear_info(A, b, solve))(b),
            jax.vmap(lambda b, solve=solve: js.solve_linear_info(A, b, solve))(b[None]),
        ):
            assert not np.any(info.converged)
            assert not np.all(np.asarray(info.code) == 0)


def test_iterations_and_residuals_leave_jit():
    info = jax.jit(lambda b: js.solve_linear_info(A, b, PATIENT))(B)
    eager = js.solve_linear_info(A, B, PATIENT)
    assert info.iterations == eager.iterations
    assert info.function_evaluations == eager.function_evaluations
    np.testing.assert_allclose(info.residual, B - A @ info.x, atol=1e-14)
    assert info.status is js.Status.converged


def test_failures_in_threads_do_not_mix():
    solve = js.jit(lambda b: js.solve_linear(A, b, GIVEN_UP))
    found, errors = {}, []

    def work(k):
        for _ in range(3):
            try:
                solve(k * B)
            except js.NotConverged as error:
                found.setdefault(k, []).append(np.asarray(error.result.x))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for k, results in found.items():
        assert len(results) == 3
        for x in results:
            np.testing.assert_allclose(x, k * found[1][0], rtol=1e-9)


def test_a_failure_inside_a_scan_is_raised():
    with pytest.raises(js.NotConverged, match="max_iterations"):
        js.jit(
            lambda b: jax.lax.scan(lambda x, _: (js.solve_linear(A, x, GIVEN_UP), None), b, None, length=2)[0]
        )(B)


def test_a_branch_not_taken_is_not_raised():
    solve = js.jit(lambda b, go: jax.lax.cond(go, lambda: js.solve_linear(A, b, GIVEN_UP), lambda: b))
    np.testing.assert_array_equal(solve(B, False), B)
    with pytest.raises(js.NotConverged, match="max_iterations"):
        solve(B, True)


def test_a_retry_in_plain_python_needs_only_the_exception():
    try:
        x = js.solve_linear(A, B, GIVEN_UP)
    except js.NotConverged as error:
        x = js.solve_linear(A, B, js.Solve("GMres", rtol=1e-10, x0=error.result.x))
    np.testing.assert_allclose(A @ x, B, atol=1e-8)


def test_a_definite_method_says_that_the_matrix_is_not():
    with pytest.raises(js.NotConverged, match=r"CG did not converge \[negative_curvature\].*Use `minres`"):
        js.solve_linear(
            problems.saddle(9), problems.random(9, seed=1), js.Solve("CG", rtol=1e-10, max_iterations=4)
        )
    with pytest.raises(js.NotConverged, match=r"Cholesky .*\[not_positive_definite\].*Use `LU`"):
        js.solve_linear(problems.saddle(9), problems.random(9, seed=1), js.Solve("Cholesky"))


def test_a_preconditioner_of_the_wrong_sign_is_not_called_a_success():
    # A loop that runs while rᵀMr > 0 stops at once and calls x = 0 the solution.
    D = problems.poisson(N)
    info = js.solve_linear_info(D, B, js.Solve("CG", rtol=1e-8, preconditioner=lambda r: -r))
    residual = np.linalg.norm(B - D @ np.asarray(info.x)) / np.linalg.norm(B)
    assert bool(info.converged) == (residual <= 1.01e-8)
    assert info.iterations > 0


def test_a_tolerance_below_rounding_ends_as_stagnation_and_says_so():
    # Not a right-hand side of ones: its solution is a float32 vector, and is found.
    b = problems.random(60, seed=5100, dtype=np.float32)
    info = js.solve_linear_info(np.float32(problems.poisson(60)), b, js.Solve("LU", rtol=1e-12))
    assert info.status is js.Status.stagnation
    assert "rounding level" in info.message
    assert not bool(info.diverged)
    assert float(info.residual_norm) < 1e-2


@pytest.mark.parametrize("method", ["GMres", "CG"])
def test_a_tolerance_below_rounding_is_called_so(method):
    A = np.float32(problems.poisson(20) + np.eye(20))
    info = js.solve_linear_info(A, np.ones(20, np.float32), js.Solve(method, rtol=1e-12))
    assert info.status is js.Status.stagnation
    assert "A relative residual of 1e-12 can't be reached in float32: on this system rounding" in info.message
    # Where the residual is far above rounding, that is not what is wrong.
    cut = js.solve_linear_info(A, np.ones(20, np.float32), js.Solve(method, rtol=1e-12, max_iterations=2))
    assert "can't be reached" not in cut.message


@pytest.mark.further
def test_what_needs_a_symmetric_matrix_says_that_it_is_none():
    solve = js.Solve("CG", rtol=1e-10, max_iterations=4)
    text = r"CG needs a symmetric matrix and A is not: ‖A - Aᵀ‖ is roughly 0\.\d+ of ‖A‖\. Use `GMres`"
    with pytest.raises(js.NotConverged, match=text) as eager:
        js.solve_linear(A, B, solve)
    with pytest.raises(js.NotConverged, match="A is not") as compiled:
        js.jit(lambda b: js.solve_linear(A, b, solve))(B)
    assert str(compiled.value) == str(eager.value)
    # Of a batch, each system is measured; the symmetric one of these fails for another reason.
    pair = js.solve_linear_info(jnp.stack([A, problems.poisson(N) + jnp.diag(B)]), jnp.stack([B, B]), solve)
    assert not pair.converged.any()
    assert pair.asymmetry[0] == pytest.approx(eager.value.result.asymmetry)
    assert pair.asymmetry[1] < 1e-13
    skew = js.solve_linear_info(A + 1j * jnp.eye(N), B, js.Solve("minres", rtol=1e-10, max_iterations=4))
    assert "minres needs a Hermitian matrix and A is not: ‖A - Aᴴ‖" in skew.message


def test_other_methods_and_other_failures_say_nothing_of_symmetry():
    assert js.solve_linear_info(A, B, GIVEN_UP).asymmetry is None
    info = js.solve_linear_info(problems.poisson(N), B, js.Solve("CG", max_iterations=2))
    assert not info.converged
    assert "symmetric" not in info.message
