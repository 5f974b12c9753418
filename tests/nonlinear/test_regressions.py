"""NIST's certified regressions: data that are large beside what is left of them, and parameters of any unit."""

import jax.numpy as jnp
import pytest

import jaxsolve as js
from jaxsolve.core.status import Status
from tests.gallery.regressions import REGRESSIONS


def fitted(name, start, **options):
    problem = REGRESSIONS[name]
    x0 = jnp.asarray(problem.starts[start - 1])
    request = js.Solve("levenberg-marquardt", x0=x0, rtol=1e-10, **options)
    return problem, js.least_squares_info(problem.residuals, request)


# Each of these ended by `stagnation` two digits early when the rounding of ½‖r‖² was taken for that of r alone.
STALLED = [("Misra1a", 1), pytest.param("Thurber", 1, marks=pytest.mark.further)]
OTHERS = [("Misra1a", 2), ("Thurber", 2), ("MGH09", 1), ("MGH09", 2), ("Eckerle4", 1), ("Eckerle4", 2)]


@pytest.mark.parametrize(
    ("name", "start"), [*STALLED, *(pytest.param(*case, marks=pytest.mark.further) for case in OTHERS)]
)
def test_certified_digits(name, start):
    problem, info = fitted(name, start, max_iterations=2000)
    assert info.status == Status.converged, info.message
    assert problem.error(info.x) < 1e-9
    assert 2 * float(info.objective) == pytest.approx(problem.squares, rel=1e-9)


def test_a_gradient_that_grows_while_the_cost_falls_is_no_divergence():
    problem, info = fitted("MGH10", 1, max_iterations=150)
    assert info.status == Status.max_iterations
    start = jnp.sum(problem.residuals(jnp.asarray(problem.starts[0])) ** 2) / 2
    assert info.objective < 1e-5 * start
