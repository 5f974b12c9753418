"""The memory of quasi-Newton methods: the inverse Hessian of BFGS from the last pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.nonlinear.inverse_hessian import Memory

N, ROOM = 12, 4


def bfgs(pairs, v):
    """H v by H ← (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ from γ I (Nocedal & Wright, 6.17)."""
    s, y = pairs[-1]
    H = (s @ y) / (y @ y) * np.eye(N)
    for s, y in pairs:
        V = np.eye(N) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return H @ v


@pytest.mark.parametrize("unit", [2.0**-60, 1.0, 2.0**60])
def test_products_are_those_of_the_last_pairs_of_positive_curvature(unit):
    random = np.random.default_rng(318)
    Q = random.standard_normal((N, N))
    Q = Q @ Q.T + np.eye(N)
    memory, pairs = Memory.empty(ROOM, jnp.zeros(N)), []
    noted = jax.jit(lambda memory, s, y: memory.noted(s, y))
    for k in range(11):
        s = unit * random.standard_normal(N) * 10.0 ** random.integers(-3, 3)
        y = (-1 if k % 4 == 2 else 1) * Q @ s / unit**2
        memory = noted(memory, jnp.asarray(s), jnp.asarray(y))
        pairs = ([*pairs, (s, y)] if s @ y > 0 else pairs)[-ROOM:]
        v = random.standard_normal(N)
        found, expected = memory.applied(jnp.asarray(v), 1.0), bfgs(pairs, v)
        np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())
    assert memory.count == 8


def test_what_is_forgotten_has_no_weight():
    random = np.random.default_rng(52)
    s, y, v = (jnp.asarray(random.standard_normal(N)) for _ in range(3))
    memory = Memory.empty(ROOM, s)
    np.testing.assert_array_equal(memory.applied(v, 0.3), 0.3 * v)
    for _ in range(3):
        memory = memory.noted(s, y * jnp.sign(s @ y))
    assert memory.known
    empty = memory.forgotten(jnp.array(True))
    assert not empty.known
    np.testing.assert_array_equal(empty.applied(v, 0.3), 0.3 * v)
    again = empty.noted(v, 2 * v)
    np.testing.assert_allclose(again.applied(s, 0.3), s / 2, rtol=1e-12)
