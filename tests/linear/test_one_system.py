"""Solves inside `jax.shard_map`: one system over the devices of a mesh, or a system a device."""

import pytest

from tests.gallery.several_devices import run
from tests.linear import one_system


@pytest.mark.further
def test_one_system_over_the_devices():
    run(one_system.__file__, "a_solve_and_its_verdict", "refusals")


@pytest.mark.further
def test_gradients_failures_and_preconditioners():
    run(one_system.__file__, "gradients", "failures", "preconditioners")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["methods", "derivatives_inside", "a_system_a_device", "singular_and_small", "other_structures"]
)
def test_every_method_and_derivative(name):
    run(one_system.__file__, name)
