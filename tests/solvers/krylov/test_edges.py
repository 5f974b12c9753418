"""Systems on the edge: one or two unknowns, nothing to do, nothing to find, numbers that are none."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.status import Status
from jaxsolve.solvers.krylov.adaptive_cg import AdaptiveCG
from jaxsolve.solvers.krylov.bicgstab import BiCGStab
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.krylov.cr import CR
from jaxsolve.solvers.krylov.fgmres import FGMRES
from jaxsolve.solvers.krylov.gmres import GMRES
from jaxsolve.solvers.krylov.idr import IDR
from jaxsolve.solvers.krylov.minres import MINRES
from tests.gallery import problems
from tests.solvers.krylov.systems import METHODS, RECTANGULAR, every_kind, solve, status

ZERO_SUM = np.array([1, -1, 1, -1, 2, -2, 3, -3.0])
ZERO = np.zeros(8)
HOPELESS = (Status.breakdown, Status.singular, Status.inconsistent)


@every_kind
def test_one_unknown_takes_one_step(name):
    outcome = solve(METHODS[name], np.array([[-3.0]]), np.array([2.0]), rtol=1e-14)
    assert status(outcome) is Status.converged
    assert outcome.iterations == 1
    np.testing.assert_allclose(outcome.x, [-2 / 3])


@pytest.mark.parametrize(
    "method",
    [CG(), AdaptiveCG(), MINRES(), CR(), GMRES(), BiCGStab(1), BiCGStab(2), BiCGStab(4), IDR(4)],
    ids=repr,
)
def test_an_exchange_of_two_unknowns_is_solved(method):
    exchange = np.array([[0, 1], [1, 0.0]])
    for b in ([2, 3.0], [3, -1.0]):
        outcome = solve(method, exchange, np.array(b), rtol=1e-12)
        assert status(outcome) is Status.converged
        np.testing.assert_allclose(outcome.x, b[::-1], rtol=1e-11)


@pytest.mark.parametrize("method", [AdaptiveCG(), MINRES(), CR(), GMRES(), BiCGStab(2), IDR(4)], ids=repr)
def test_a_residual_without_curvature_is_no_end(method):
    exchange = np.array([[0, 1], [1, 0.0]])
    outcome = solve(method, exchange, np.array([1, 0.0]), rtol=1e-12)
    assert status(outcome) is Status.converged
    np.testing.assert_allclose(outcome.x, [0, 1], atol=1e-12)


@every_kind
def test_a_right_hand_side_of_zero_sum_is_like_any_other(name):
    outcome = solve(METHODS[name], problems.poisson(8), ZERO_SUM, x0=ZERO)
    assert status(outcome) is Status.converged
    np.testing.assert_allclose(problems.poisson(8) @ outcome.x, ZERO_SUM, atol=1e-6)


@every_kind
def test_nothing_is_done_where_there_is_nothing_to_do(name):
    A = problems.poisson(8)
    zero = solve(METHODS[name], A, ZERO, x0=ZERO + 1)
    assert (status(zero), int(zero.iterations)) == (Status.converged, 0)
    assert not zero.x.any()
    none = solve(METHODS[name], A, ZERO_SUM, x0=ZERO, max_iterations=0)
    assert (status(none), int(none.iterations)) == (Status.max_iterations, 0)
    assert not none.x.any()
    one = solve(METHODS[name], A, ZERO_SUM, x0=ZERO, max_iterations=1)
    assert int(one.iterations) == 1


@every_kind
def test_the_solution_as_first_guess_is_returned_untouched(name):
    A = problems.poisson(8)
    x = np.linalg.solve(A, ZERO_SUM)
    outcome = solve(METHODS[name], A, ZERO_SUM, x0=x)
    assert (status(outcome), int(outcome.iterations)) == (Status.converged, 0)
    np.testing.assert_array_equal(outcome.x, x)
    shifted = solve(METHODS[name], A, ZERO_SUM, x0=x + 1.0)
    assert status(shifted) is Status.converged
    np.testing.assert_allclose(shifted.x, x, atol=1e-5)


@every_kind
def test_a_multiple_of_the_identity_takes_one_step(name):
    outcome = solve(METHODS[name], 3 * np.eye(8), ZERO_SUM, x0=ZERO)
    assert (status(outcome), int(outcome.iterations)) == (Status.converged, 1)
    np.testing.assert_allclose(outcome.x, ZERO_SUM / 3)


@every_kind
def test_the_zero_matrix_is_given_up_at_once(name):
    outcome = solve(METHODS[name], np.zeros((8, 8)), ZERO_SUM, x0=ZERO)
    assert status(outcome) in HOPELESS
    assert outcome.iterations <= 1
    assert not outcome.x.any()


@every_kind
def test_a_singular_system_with_a_solution_is_solved(name):
    A = problems.neumann(8)
    outcome = solve(METHODS[name], A, A @ np.arange(8.0) ** 2, x0=ZERO)
    assert status(outcome) is Status.converged


@every_kind
def test_a_singular_system_without_a_solution_is_not_called_solved(name):
    outcome = solve(METHODS[name], problems.neumann(8), ZERO_SUM + 1, x0=ZERO)
    assert status(outcome) not in (Status.converged, Status.least_squares)
    assert np.isfinite(outcome.x).all()


# With the rounding of an H100 minres ends with `stagnation` beside the least residual, and CR with `divergence`.
@pytest.mark.cpu
@pytest.mark.parametrize("name", ["minres", "CR", *RECTANGULAR])
def test_a_square_system_without_a_solution_is_called_inconsistent(name):
    A, b = problems.neumann(8), ZERO_SUM + 1
    outcome = solve(METHODS[name], A, b, x0=ZERO)
    assert status(outcome) is Status.inconsistent
    assert outcome.iterations < 20
    # The least residual is the part of b in the null space.
    np.testing.assert_allclose(outcome.residual, np.ones(8), atol=1e-8)


@every_kind
def test_numbers_that_are_none_are_refused(name):
    for wrong in (np.nan, np.inf):
        outcome = solve(
            METHODS[name], problems.poisson(8), np.where(np.arange(8) == 3, wrong, ZERO_SUM), x0=ZERO
        )
        assert (status(outcome), int(outcome.iterations)) == (Status.invalid_input, 0)


@pytest.mark.further
@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, np.float64) for name in METHODS),
        ("CG", np.float32),
        ("GMres", np.float32),
        ("lsqr", np.float32),
    ],
)
def test_a_tolerance_below_rounding_ends_soon(name, dtype):
    A, b = problems.poisson(8).astype(dtype), ZERO_SUM.astype(dtype)
    outcome = solve(METHODS[name], A, b, x0=ZERO.astype(dtype), rtol=1e-30)
    # Some reach a residual of exactly zero.
    assert status(outcome) in (Status.stagnation, Status.converged)
    assert outcome.iterations < 100
    assert outcome.residual_norm <= 20 * jnp.finfo(dtype).eps * np.linalg.norm(b)


@pytest.mark.parametrize("method", [BiCGStab(1), BiCGStab(3), BiCGStab(8), IDR(1), IDR(8)], ids=repr)
def test_any_order_serves_any_number_of_unknowns(method):
    for seed in range(5):
        A, b = problems.dominant(3, 5140 + seed), problems.random(3, seed=5150 + seed)
        outcome = solve(method, A, b, rtol=1e-12)
        assert status(outcome) is Status.converged
        np.testing.assert_allclose(A @ outcome.x, b, atol=1e-11)


@pytest.mark.parametrize("value", [0, -1, 2.5, float("nan"), "two", True, (1,)], ids=repr)
def test_options_that_make_no_sense_are_refused(value):
    with pytest.raises(ValueError, match="order l has to be at least 1"):
        BiCGStab(value)
    with pytest.raises(ValueError, match="dimension s of the shadow space"):
        IDR(value)
    for method in (GMRES, FGMRES):
        with pytest.raises(ValueError, match="at least 1 step"):
            method(restart=value)
