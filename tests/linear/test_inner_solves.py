"""Functions that solve a system of their own: Schur complements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.errors import NotLinearError, TraceError
from jaxsolve.front.request import Solve
from jaxsolve.linear.linear_solve import solve_linear, solve_linear_info
from jaxsolve.tracer.assembly import matrix_from_function

N = 12
INNER = Solve("CG", rtol=1e-12)


def laplace(x, shift=0.5):
    p = jnp.pad(x, 1)
    return (2 + shift) * x - p[2:] - p[:-2]


def schur(x, k=3.0):
    return k * x - solve_linear(laplace, x + 1.0, INNER)


DENSE = 3 * np.eye(N) - np.linalg.inv(np.asarray(jax.jacobian(laplace)(jnp.zeros(N))))


def expected(b):
    return np.linalg.solve(DENSE, b - np.asarray(schur(jnp.zeros(N))))


@pytest.mark.further
@pytest.mark.parametrize(
    "solve",
    [
        pytest.param(Solve("GMres", rtol=1e-10), marks=pytest.mark.slow),
        Solve("GMres", rtol=1e-10, preconditioner="ilu"),
        Solve(rtol=1e-10),
    ],
    ids=["matrix-free", "read", "auto"],
)
def test_a_schur_complement_is_solved(solve):
    b = np.random.default_rng(3).normal(size=N)
    np.testing.assert_allclose(solve_linear(schur, b, solve), expected(b), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(
        jax.jit(lambda b: solve_linear(schur, b, solve))(b), expected(b), rtol=1e-8, atol=1e-8
    )


@pytest.mark.slow
def test_its_parameters_have_gradients():
    b = np.random.default_rng(4).normal(size=N)
    solve = Solve("GMres", rtol=1e-11, gradient_solve=Solve("GMres", rtol=1e-11))

    def dense(k):
        return jnp.sum(jnp.linalg.solve(DENSE + (k - 3) * np.eye(N), b - schur(jnp.zeros(N))) ** 2)

    actual = jax.grad(lambda k: jnp.sum(solve_linear(schur, b, solve, k) ** 2))(3.0)
    np.testing.assert_allclose(actual, jax.grad(dense)(3.0), rtol=1e-7)


@pytest.mark.further
def test_its_matrix_is_that_of_its_derivative():
    A, offset = matrix_from_function(schur, jnp.zeros(N))
    np.testing.assert_allclose(A.todense(), DENSE, atol=1e-9)
    np.testing.assert_allclose(offset, schur(jnp.zeros(N)))


def residual_norm(x):
    return x * solve_linear_info(laplace, x, INNER).residual_norm


def shift(x):
    return solve_linear(lambda y: laplace(y) + x * y, jnp.ones(N), INNER)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("f", [residual_norm, shift])
def test_all_but_the_right_hand_side_and_the_solution_is_refused(f):
    with pytest.raises(NotLinearError, match="solve"):
        matrix_from_function(f, jnp.zeros(N))
    with pytest.raises(NotLinearError, match="not linear"):
        solve_linear(f, jnp.ones(N), Solve("GMres"))


def test_functions_with_derivatives_of_their_own_are_not_taken_at_their_word():
    @jax.custom_jvp
    def rounded(x):
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), tangents[0]))
    with pytest.raises(NotLinearError, match="`round`"):
        matrix_from_function(rounded, jnp.zeros(N))
    with pytest.raises(NotLinearError, match="`round`"):
        solve_linear(rounded, jnp.ones(N), Solve("GMres"))


@pytest.mark.slow
def test_long_right_hand_sides_are_left_matrix_free():
    def f(x):
        return 3 * x - solve_linear(laplace, x, INNER)

    with pytest.raises(TraceError, match="repeated for each of 2000 elements"):
        matrix_from_function(f, jnp.zeros(2000))
    x = solve_linear(f, jnp.ones(2000), Solve(rtol=1e-8))
    np.testing.assert_allclose(f(x), np.ones(2000), rtol=1e-6)
