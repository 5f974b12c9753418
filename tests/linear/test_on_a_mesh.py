"""Solves of arrays that are spread over a mesh: x lies where b does."""

import pytest

from tests.gallery.several_devices import run
from tests.linear import on_a_mesh


@pytest.mark.further
def test_x_lies_where_b_does():
    run(on_a_mesh.__file__, "one_of_each")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["automatic_axes", "explicit_axes", "matrices"])
def test_every_placement(name):
    run(on_a_mesh.__file__, name)
