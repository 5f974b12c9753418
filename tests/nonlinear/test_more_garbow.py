"""The problems of Moré, Garbow and Hillstrom from their standard starting points: solved, or honestly not."""

import jax.numpy as jnp
import pytest

import jaxsolve as js
from jaxsolve.core.status import Status
from tests.gallery.more_garbow import PROBLEMS

#: Those that end where rounding lets no step lower the cost, at the published minimum.
ROUNDED = {16, 26}
#: Of different kinds: a curved valley, parameters of any unit, a large remainder.
QUICK, FURTHER = [1, 16], [2, 3, 6, 10, 11, 13, 18, 19]
REST = sorted(set(PROBLEMS) - {*QUICK, *FURTHER})


@pytest.mark.parametrize(
    "number",
    [
        *QUICK,
        *(pytest.param(k, marks=pytest.mark.further) for k in FURTHER),
        *(pytest.param(k, marks=pytest.mark.slow) for k in REST),
    ],
)
def test_a_published_minimum_is_found(number):
    problem = PROBLEMS[number]
    x0 = jnp.asarray(problem.start, float)
    info = js.least_squares_info(
        problem.residuals, js.Solve("levenberg-marquardt", x0=x0, rtol=1e-8, max_iterations=1000)
    )
    assert problem.solved(2 * float(info.objective)), info.message
    allowed = {Status.converged, Status.stagnation} if number in ROUNDED else {Status.converged}
    assert info.status in allowed
