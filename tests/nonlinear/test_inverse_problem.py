"""A conductivity field from temperatures: gradients through a vmap of solves, and the fit."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.further
def test_the_gradient_is_that_of_differences():
    direction = jnp.asarray(np.random.default_rng(17).standard_normal((N, N)))
    along = jax.jit(lambda t: loss(t * direction))
    difference = (8 * (along(1e-3) - along(-1e-3)) - (along(2e-3) - along(-2e-3))) / 12e-3
    slope = jnp.vdot(jax.jit(jax.grad(loss))(jnp.zeros((N, N))), direction)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


@pytest.mark.slow
def test_the_field_is_recovered():
    info = js.minimize_info(loss, js.Solve("L-BFGS", x0=jnp.zeros((N, N)), rtol=1e-4))
    assert info.converged
    assert np.linalg.norm(info.x - TRUE) < 0.1 * np.linalg.norm(TRUE)


@pytest.mark.slow
def test_a_field_of_64_by_64_is_recovered_from_noise_within_two_minutes():
    n, random = 64, np.random.default_rng(4)
    X, Y = jnp.meshgrid(*[(jnp.arange(n) + 0.5) / n] * 2, indexing="ij")

    def blob(x, y, width):
        return jnp.exp(-((X - x) ** 2 + (Y - y) ** 2) / width)

    heat = jnp.stack([blob(x, y, 0.005) for x, y in random.uniform(0.1, 0.9, (20, 2))])
    true = 1.2 * blob(0.35, 0.6, 0.02) - 1.0 * blob(0.7, 0.3, 0.03)

    def measured(m, rtol):
        solve = js.Solve("CG", rtol=rtol)
        return jax.vmap(lambda s: js.solve_linear(diffusion, s, solve, jnp.exp(m)))(heat)[:, ::2, ::2]

    clean = measured(true, 1e-6)
    noise = 0.01 * jnp.std(clean)
    data = clean + noise * jnp.asarray(random.standard_normal(clean.shape))

    def misfit(m, rtol=1e-6):
        rough = jnp.sum(jnp.diff(m, axis=0) ** 2) + jnp.sum(jnp.diff(m, axis=1) ** 2)
        return (jnp.sum(((measured(m, rtol) - data) / noise) ** 2) + 10 * rough) / data.size

    start, direction = jnp.zeros((n, n)), jnp.asarray(random.standard_normal((n, n)))
    along = jax.jit(lambda t: misfit(t * direction, 1e-12))
    difference = (8 * (along(1e-3) - along(-1e-3)) - (along(2e-3) - along(-2e-3))) / 12e-3
    slope = jnp.vdot(jax.jit(jax.grad(lambda m: misfit(m, 1e-12)))(start), direction)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)
    begun = time.perf_counter()
    info = js.minimize_info(misfit, js.Solve("L-BFGS", x0=start, rtol=3e-3, max_iterations=60))
    took = time.perf_counter() - begun
    print(f"{took:.0f} s, {info.iterations} iterations, {info.function_evaluations} gradients")
    assert info.converged
    assert jnp.linalg.norm(info.x - true) < 0.2 * jnp.linalg.norm(true)
    assert took < 120
