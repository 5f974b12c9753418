"""Under vmap every system stops by itself and harms no other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.status import Status
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.solvers.driver import iterate
from jaxsolve.solvers.nullspace import NullSpace
from tests.gallery import problems
from tests.solvers.krylov.systems import METHODS, SIZE, control, every_kind, solve


@eqx.filter_jit
def together(method, A, b, x0, limits):
    def one(A, b, x0):
        return iterate(method, DenseMatrix(A), None, b, x0, limits, NullSpace())

    return jax.vmap(one)(A, b, x0)


@pytest.mark.few(1)
@every_kind
def test_lanes_do_not_touch_each_other(name):
    easy = problems.definite(SIZE, 5160)
    hopeless = problems.hilbert(SIZE)
    b = problems.random(SIZE, seed=5161)
    solution = np.linalg.solve(easy, b)
    # A lane that is solved at the start, one that is not a number, one out of reach, a zero one, two ordinary ones.
    A = np.stack([easy, easy, hopeless, easy, 2 * easy, easy])
    rhs = np.stack([b, np.where(np.arange(SIZE) == 2, np.nan, b), b, 0 * b, 1e8 * b, b])
    guess = np.stack([solution, *([0 * b] * 5)])
    ends = together(
        METHODS[name], jnp.asarray(A), jnp.asarray(rhs), jnp.asarray(guess), control(b, max_iterations=60)
    )
    assert np.asarray(ends.status)[[0, 3, 4, 5]].tolist() == [Status.converged] * 4
    assert ends.status[1] == Status.invalid_input
    assert ends.status[2] not in (Status.converged, Status.least_squares)
    assert np.asarray(ends.iterations)[[0, 1, 3]].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(ends.x[0], solution)
    np.testing.assert_allclose(ends.x[5], solution, rtol=1e-6)
    np.testing.assert_allclose(ends.x[4], 0.5e8 * solution, rtol=1e-6)
    alone = solve(METHODS[name], easy, b, x0=guess[5], max_iterations=60)
    assert abs(int(ends.iterations[5]) - int(alone.iterations)) <= 1
    np.testing.assert_allclose(ends.x[5], alone.x, rtol=1e-6)
