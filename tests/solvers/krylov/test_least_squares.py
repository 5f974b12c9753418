"""LSQR and LSMR on systems of any shape."""

import numpy as np
import pytest
import scipy.sparse.linalg as spla

import jaxsolve as js
from jaxsolve.core.status import Status
from tests.gallery import problems
from tests.gallery.methods import distance
from tests.solvers.krylov.systems import RECTANGULAR, solve, status

both = pytest.mark.parametrize("method", RECTANGULAR.values(), ids=RECTANGULAR)
SIZES = (31, 17)


def matrix(dtype, shape=SIZES):
    return problems.random(*shape, seed=5180, dtype=dtype)


@pytest.mark.few(3)
@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_a_tall_system_is_solved_in_the_sense_of_least_squares(method, dtype):
    A, b = matrix(dtype), problems.random(SIZES[0], seed=5181, dtype=dtype)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    outcome = solve(method, A, b, rtol=rtol)
    assert status(outcome) is Status.least_squares
    assert distance(outcome.x, np.linalg.lstsq(A, b)[0]) < 100 * rtol
    slope = np.linalg.norm(A.conj().T @ outcome.residual)
    assert slope <= 2 * rtol * np.linalg.norm(A, 2) * np.linalg.norm(outcome.residual)


@both
def test_a_tall_system_with_a_solution_is_converged(method):
    A, x = matrix(np.complex128), problems.random(SIZES[1], seed=5182, dtype=np.complex128)
    outcome = solve(method, A, A @ x, rtol=1e-12)
    assert status(outcome) is Status.converged
    assert distance(outcome.x, x) < 1e-10


@both
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_a_wide_system_gets_its_shortest_solution(method, dtype):
    A, b = matrix(dtype, SIZES[::-1]), problems.random(SIZES[1], seed=5183, dtype=dtype)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    outcome = solve(method, A, b, rtol=rtol)
    assert status(outcome) is Status.converged
    assert distance(outcome.x, np.linalg.lstsq(A, b)[0]) < 100 * rtol


@both
def test_a_wide_system_without_a_solution_says_so_at_rounding_only(method):
    A, b = matrix(np.float64, SIZES[::-1]), problems.random(SIZES[1], seed=5184)
    A[-1] = A[0] + A[1]
    outcome = solve(method, A, b)
    assert status(outcome) is Status.least_squares
    assert distance(outcome.x, np.linalg.lstsq(A, b)[0]) < 1e-8
    # Nearly dependent rows are no obstacle: the system has a solution, and it is found.
    A[-1] += 1e-5 * problems.random(SIZES[0], seed=5185)
    near = solve(method, A, b, rtol=1e-4)
    assert status(near) is Status.converged


@both
def test_columns_are_equilibrated_with_and_without_being_asked(method):
    scales = np.logspace(0, 4, SIZES[1])
    A, b = matrix(np.complex128) * scales, problems.random(SIZES[0], seed=5186, dtype=np.complex128)
    plain = solve(method, A, b, rtol=1e-10, max_iterations=2000)
    scaled = solve(method, A, b, rtol=1e-10, M=np.diag(1 / scales).astype(A.dtype))
    assert status(scaled) is Status.least_squares
    assert distance(scales * scaled.x, scales * np.linalg.lstsq(A, b)[0]) < 1e-8
    assert status(plain) is Status.least_squares
    assert distance(scales * plain.x, scales * np.linalg.lstsq(A, b)[0]) < 1e-8
    assert plain.iterations <= scaled.iterations


@both
def test_a_first_guess_keeps_the_least_squares_solution(method):
    A, b = matrix(np.float64), problems.random(SIZES[0], seed=5187)
    x = np.linalg.lstsq(A, b)[0]
    outcome = solve(method, A, b, rtol=1e-10, x0=x + 1)
    assert status(outcome) is Status.least_squares
    assert distance(outcome.x, x) < 1e-8


@both
def test_the_zero_matrix_leaves_the_shortest_vector(method):
    outcome = solve(method, np.zeros(SIZES), np.ones(SIZES[0]))
    assert status(outcome) is Status.least_squares
    assert not outcome.x.any()


@pytest.mark.few(3)
@both
@pytest.mark.parametrize("shape", [SIZES, SIZES[::-1], (1, 5), (5, 1)])
@pytest.mark.parametrize("size", [1, 1e-20, 1e20])
def test_a_rectangular_function_is_solved_like_its_matrix(method, shape, size):
    A, b = matrix(np.float32, shape), problems.random(shape[0], seed=5190, dtype=np.float32)
    info = js.solve_linear_info(
        lambda x, A: A @ x, b, js.Solve(method, x0=np.zeros(shape[1], np.float32)), A * np.float32(size)
    )
    assert info.converged
    assert distance(size * info.x, np.linalg.lstsq(A, b)[0]) < 1e-3


@both
def test_a_rectangular_function_that_maps_constants_to_zero_is_solved(method):
    b = problems.random(10, seed=5191)
    info = js.solve_linear_info(lambda x: x[1:] - x[:-1], b, js.Solve(method, x0=np.zeros(11), rtol=1e-12))
    assert info.status is Status.converged
    assert distance(info.x, np.linalg.lstsq(np.diff(np.eye(11), axis=0), b)[0]) < 1e-10


@pytest.mark.few(4)
@pytest.mark.parametrize(("name", "solver"), [("lsqr", spla.lsqr), ("lsmr", spla.lsmr)])
def test_iterations_are_as_many_as_those_of_scipy(name, solver):
    A = problems.random(200, 80, seed=5188) * np.linspace(1, 5, 80)
    b = problems.random(200, seed=5189)
    theirs = solver(A, b, atol=1e-8, btol=0)[2]
    outcome = solve(RECTANGULAR[name], A, b, rtol=1e-8)
    assert status(outcome) is Status.least_squares
    assert abs(int(outcome.iterations) - theirs) <= 0.25 * theirs
