"""Derivatives of solves under a tape that records trajectories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from tests.gallery.methods import distance

A = jnp.array([[3.0, 1.0], [0.0, 2.0]])
B = jnp.array([1.0, 2.0])
INVERSE = np.linalg.inv(np.asarray(A))


def solve(b):
    return js.solve_linear(A, b, js.Solve("GMres", rtol=1e-10))


@pytest.mark.parametrize("record", [False, True])
def test_eager_derivatives_are_those_without_a_tape(record):
    with js.SolveTape(record_trajectories=record) as tape:
        x, dx = jax.jvp(solve, (B,), (B,))
        gradient = jax.grad(lambda b: solve(b).sum())(B)
    assert distance(x, INVERSE @ B) < 1e-10
    assert distance(dx, INVERSE @ B) < 1e-10
    assert distance(gradient, INVERSE.sum(0)) < 1e-10
    assert [info.kind for info in tape] == ["solve", "tangent", "solve", "adjoint"]
    assert all((info.trajectory is not None) == record for info in tape)
