"""A system of a batch ends as it does alone, beside whatever neighbours, in every method."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.status import Status
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.solvers.driver import Control, iterate
from jaxsolve.solvers.method import AbstractMethod, State
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nullspace import NullSpace
from tests.gallery.methods import FAMILIES, SIZE, made, matrix, mostly_slow, system

#: One of SciPy's too: it solves the lanes of a batch in turn.
every_kind = pytest.mark.parametrize(
    "name", mostly_slow(METHODS, [*FAMILIES, "scipy-GMres", "sparse-direct"])
)
FIELDS = ("code", "iterations", "function_evaluations", "x", "residual", "target")


@pytest.mark.few(3)
@every_kind
@pytest.mark.parametrize("turn", [0, 2])
def test_a_lane_ends_as_it_does_alone(name, turn):
    method = made(name)
    A, b = system(name)
    other = matrix(name, seed=7631)
    nan = np.where(np.arange(SIZE) == 3, np.nan, b)
    # Loose, tight, zero, not a number, out of reach, cut short: in two orders, since the first lane is the likely leak.
    lanes = [
        (A, b, 1e-2, 200),
        (other, 1e5 * b, 1e-9, 200),
        (A, 0 * b, 1e-9, 200),
        (A, nan, 1e-9, 200),
        (other, b, 1e-30, 200),
        (A, b, 1e-9, 2),
    ]
    lanes = lanes[turn:] + lanes[:turn]

    @jax.jit
    def solve(A, b, rtol, limit):
        info = js.solve_linear_info(A, b, js.Solve(method, rtol=rtol, max_iterations=limit))
        return {field: getattr(info, field) for field in FIELDS}

    together = jax.vmap(solve)(*(jnp.asarray(np.stack(part)) for part in zip(*lanes, strict=True)))
    for k, lane in enumerate(lanes):
        alone = solve(*map(jnp.asarray, lane))
        shared = jax.tree.map(lambda v, k=k: v[k], together)
        assert Status(int(shared["code"])) is Status(int(alone["code"]))
        # The order of sums differs, and with it where rounding ends a solve that cannot succeed.
        slack = SIZE if lane[2] == 1e-30 else 1
        assert abs(int(shared["iterations"]) - int(alone["iterations"])) <= slack
        if shared["iterations"] == alone["iterations"] and lane[2] != 1e-30:
            assert shared["function_evaluations"] == alone["function_evaluations"]
        scale = np.nanmax(np.abs(alone["x"]), initial=0)
        np.testing.assert_allclose(shared["x"], alone["x"], atol=1e-7 * scale)
        np.testing.assert_allclose(shared["target"], alone["target"], rtol=1e-12)


class CountdownState(State):
    """Steps still to make before the pass ends."""

    x: Any
    left: Any
    residual_norm: Any
    halt: Any


class Countdown(AbstractMethod):
    """Passes of a given length, which take a given part of the residual away."""

    length: Any
    gain: Any
    count: list = eqx.field(static=True)

    def start(self, A, M, r):
        return CountdownState(self.gain * r, self.length, jnp.linalg.norm(r), jnp.array(0))

    def step(self, A, M, s):
        jax.debug.callback(lambda: self.count.append(1))
        left = s.left - 1
        return CountdownState(s.x, left, s.residual_norm, jnp.where(left > 0, 0, int(Status.breakdown)))


def test_a_lane_that_is_done_keeps_no_other_one_waiting():
    count: list[int] = []

    @jax.jit
    @jax.vmap
    def solve(length, gain):
        limits = Control(jnp.asarray(1e-6), jnp.asarray(0.0), jnp.asarray(10_000))
        b = jnp.ones(3)
        return iterate(
            Countdown(length, gain, count), DenseMatrix(jnp.eye(3)), None, b, None, limits, NullSpace()
        )

    # One long pass that gains nothing and ends the lane, beside many short ones.
    ends = solve(jnp.array([50, 1]), jnp.array([0.0, 0.5]))
    jax.block_until_ready(ends)
    jax.effects_barrier()
    assert ends.status.tolist() == [Status.breakdown, Status.converged]
    assert ends.iterations.tolist() == [50, 20]
    assert len(count) == 50 + 20 - 1
