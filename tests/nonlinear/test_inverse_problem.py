"""A conductivity field from temperatures: gradients through a vmap of solves, and the fit."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxsolve as js

N = 12
HEAT = jnp.asarray(np.random.default_rng(91).uniform(0, 1, (3, N, N)))
TRUE = jnp.asarray(np.sin(np.arange(N) / 3)[:, None] * np.cos(np.arange(N) / 4))


def diffusion(u, k):
    p, K = jnp.pad(u, 1), jnp.pad(k, 1, mode="edge")

    def flux(shift, axis):
        there = jnp.roll(K, shift, axis)[1:-1, 1:-1]
        return 2 * k * there / (k + there) * (u - jnp.roll(p, shift, axis)[1:-1, 1:-1])

    return flux(1, 0) + flux(-1, 0) + flux(1, 1) + flux(-1, 1)


def temperatures(m):
    solve = js.Solve("CG", rtol=1e-10)
    return jax.vmap(lambda s: js.solve_linear(diffusion, s, solve, jnp.exp(m)))(HEAT)


DATA = temperatures(TRUE)


def loss(m):
    return jnp.mean((temperatures(m) - DATA) ** 2)


def test_the_gradient_is_that_of_differences():
    direction = jnp.asarray(np.random.default_rng(17).standard_normal((N, N)))
    along = jax.jit(lambda t: loss(t * direction))
    difference = (8 * (along(1e-3) - along(-1e-3)) - (along(2e-3) - along(-2e-3))) / 12e-3
    slope = jnp.vdot(jax.jit(jax.grad(loss))(jnp.zeros((N, N))), direction)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_the_field_is_recovered():
    info = js.minimize_info(loss, js.Solve("L-BFGS", x0=jnp.zeros((N, N)), rtol=1e-4))
    assert info.converged
    assert np.linalg.norm(info.x - TRUE) < 0.1 * np.linalg.norm(TRUE)
