"""A rule stays with its function: in loops, branches and batches, in derivatives of any order, and transposed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxsolve.core.implicit import Rule, implicit
from tests.gallery.methods import mostly_slow

A = jnp.array([[3.0, 1.0], [0.5, 2.0]])


@dataclasses.dataclass(frozen=True)
class Hidden(Rule):
    """A⁻¹ b, its derivative hidden from JAX as a loop hides it."""

    turned: bool = False
    linear = True

    def value(self, A, b):
        A = A.T if self.turned else A
        return {"x": jnp.linalg.solve(lax.stop_gradient(A), lax.stop_gradient(b)), "steps": jnp.array(3)}

    def tangent(self, args, tangents):
        (A, b), (dA, db) = args, tangents
        out = implicit(self, A, b)
        rhs = jnp.zeros_like(b) if isinstance(db, SymbolicZero) else db
        if not isinstance(dA, SymbolicZero):
            rhs = rhs - (dA.T if self.turned else dA) @ out["x"]
        return out, {"x": implicit(self, A, rhs)["x"], "steps": None}

    def transposed(self, args, places, cotangents):
        # Leaves of a dictionary come in the order of its keys.
        return implicit(Hidden(not self.turned), args[0], cotangents[1])["x"]


def hidden(A, b):
    return implicit(Hidden(), A, b)["x"]


def plain(A, b):
    return jnp.linalg.solve(A, b)


def alone(s, k):
    return s(A + k * jnp.eye(2), k * jnp.ones(2))


TWICE = jnp.arange(1.0, 3.0)


def scanned(s, k):
    return lax.scan(lambda u, t: (s(A + k * t * jnp.eye(2), u), None), k * jnp.ones(2), TWICE)[0]


def mapped_batches(s, k):
    return lax.map(lambda t: jax.vmap(lambda b: s(A + t * k * jnp.eye(2), k * b))(A), TWICE)


PLACES = {
    "alone": alone,
    "scan": scanned,
    "map": lambda s, k: lax.map(lambda t: alone(s, k * t), TWICE),
    "cond": lambda s, k: lax.cond(k > 0, lambda k: alone(s, k), lambda k: k * jnp.ones(2), k),
    "checkpoint": lambda s, k: jax.checkpoint(lambda k: alone(s, k))(k),
    "jit": lambda s, k: jax.jit(lambda k: alone(s, k))(k),
    "vmap": lambda s, k: jax.vmap(lambda t: alone(s, k * t))(TWICE),
    "map of vmap": mapped_batches,
}


@pytest.mark.few(1)
@pytest.mark.parametrize("place", mostly_slow(PLACES, ("scan", "map", "map of vmap")))
def test_derivatives_of_any_order_are_those_of_the_rule(place):
    def loss(s):
        return lambda k: jnp.sum(PLACES[place](s, k) ** 3)

    orders = {
        "value": lambda f: f,
        "grad": jax.grad,
        "jacfwd": jax.jacfwd,
        "forward over reverse": lambda f: jax.jacfwd(jax.grad(f)),
        "reverse over forward": lambda f: jax.grad(jax.jacfwd(f)),
        "reverse over reverse": lambda f: jax.grad(jax.grad(f)),
        "third": lambda f: jax.grad(jax.jacfwd(jax.grad(f))),
    }
    for name, order in orders.items():
        found, expected = order(loss(hidden))(0.3), order(loss(plain))(0.3)
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=f"{name}, {place}")


def test_it_is_transposed_in_its_last_argument_alone():
    y = jnp.array([1.0, -2.0])
    (found,) = jax.linear_transpose(lambda b: hidden(A, b), y)(y)
    np.testing.assert_allclose(found, jnp.linalg.solve(A.T, y))
    # Two lanes of one right-hand side: their cotangents add up.
    matrices = jnp.stack([A, 2 * A])
    (found,) = jax.linear_transpose(lambda b: jax.vmap(hidden, (0, None))(matrices, b), y)(matrices[:, 0])
    np.testing.assert_allclose(found, jnp.linalg.solve(A.T, A[0]) * 2)
    with pytest.raises(NotImplementedError, match=r"linear in its right-hand side alone"):
        jax.linear_transpose(lambda M: hidden(M, y), A)(y)


def test_only_what_is_batched_gets_an_axis():
    out = jax.vmap(lambda t: (hidden(A, jnp.ones(2)), hidden(A, t * jnp.ones(2))), out_axes=(None, 0))(A[0])
    assert out[0].shape == (2,)
    assert out[1].shape == (2, 2)
