"""Every outcome has a message, and a class of its own."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.results import ConvergenceException, Diverged, NotConverged, is_any_of
from jaxsolve.core.status import CONVERGED, DIVERGED, Status


@pytest.mark.parametrize("status", Status, ids=str)
def test_every_status_has_a_message_of_its_own(status):
    assert status.message.endswith(".")
    assert 20 < len(status.message) < 300
    assert [s for s in Status if s.message == status.message] == [status]


@pytest.mark.parametrize("status", [s for s in Status if s not in CONVERGED], ids=str)
def test_every_failure_says_what_to_do(status):
    advice = ("use ", "raise ", "check ", "remove ", "loosen ", "pass ", "start ")
    assert any(word in status.message.lower() for word in advice)


def test_no_status_counts_as_solved_and_diverged():
    assert not set(CONVERGED) & set(DIVERGED)
    assert int(Status.converged) == 0


def test_codes_in_arrays_are_told_apart():
    codes = np.array([Status.converged, Status.nonfinite, Status.max_iterations])
    np.testing.assert_array_equal(is_any_of(codes, CONVERGED), [True, False, False])
    np.testing.assert_array_equal(is_any_of(jnp.asarray(codes), DIVERGED), [False, True, False])


def test_the_exceptions_are_runtime_errors_and_siblings():
    assert issubclass(NotConverged, ConvergenceException)
    assert issubclass(Diverged, ConvergenceException)
    assert issubclass(ConvergenceException, RuntimeError)
    assert not issubclass(Diverged, NotConverged)
