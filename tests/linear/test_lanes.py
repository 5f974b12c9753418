"""Batches of large sparse systems, which a CPU solves lane by lane."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.operators import turns
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from tests.gallery import problems
from tests.gallery.methods import FAMILIES, METHODS, made, mostly_slow

SIDE = 64
N = SIDE * SIDE
B = jnp.asarray(problems.random(N, seed=1)).reshape(SIDE, SIDE)
ON_DEVICE = [name for name in METHODS if made(name).preconditioned and not name.startswith("scipy")]


@pytest.fixture
def few_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.fixture
def small(monkeypatch):
    """Lane by lane whatever the size."""
    monkeypatch.setattr(turns, "BUSY", 0)


def diffusion(u, k, shift=0.01):
    """-div k grad u + shift u on a grid with fixed edges, not symmetric: k acts on the outer side."""
    wide = jnp.pad(u, 1)
    return (4 * u - wide[:-2, 1:-1] - wide[2:, 1:-1] - wide[1:-1, :-2] - wide[1:-1, 2:] + shift * u) * k


def loops(f, *args):
    """For each scan in the program of f its length, and the operations in it."""
    found = {}

    def visit(value, inside):
        if isinstance(value, tuple | list):
            for part in value:
                visit(part, inside)
        elif hasattr(value, "eqns") or hasattr(value, "jaxpr"):
            for eqn in getattr(value, "jaxpr", value).eqns:
                for names in inside:
                    names.add(eqn.primitive.name)
                scan = eqn.primitive.name == "scan"
                own = [found.setdefault(eqn.params["length"], set())] if scan else []
                visit(list(eqn.params.values()), [*inside, *own])

    visit(jax.make_jaxpr(f)(*args), [])
    return found


def chain(n):
    """A function of n unknowns, its parameters for three lanes, and a right-hand side."""

    def f(x, k):
        wide = jnp.pad(x, 1)
        return k * x - 0.4 * wide[:-2] - 0.6 * wide[2:]

    return (
        f,
        jnp.asarray(2 + problems.random(3 * n, seed=n).reshape(3, n) ** 2),
        jnp.asarray(problems.random(n, seed=2)),
    )


@pytest.mark.cpu
@pytest.mark.few(1)
@pytest.mark.parametrize("recipe", [None, "jacobi", "amg", "ilu"])
def test_large_lanes_are_solved_one_after_the_other(recipe, few_cores):
    ks = jnp.asarray([0.5, 1.0, 2.0])[:, None, None] * jnp.ones((3, SIDE, SIDE))

    def solve(k, b):
        return js.solve_linear_info(diffusion, b, js.Solve("CG", rtol=1e-9, preconditioner=recipe), k)

    assert 3 in loops(jax.vmap(solve, (0, None)), ks, B)
    many = jax.jit(jax.vmap(solve, (0, None)))(ks, B)
    assert np.all(many.converged)
    for lane, k in enumerate(ks):
        one = jax.jit(solve)(k, B)
        np.testing.assert_allclose(many.x[lane], one.x, rtol=1e-12, atol=1e-12 * np.abs(one.x).max())
        assert many.iterations[lane] == one.iterations


@pytest.mark.cpu
@pytest.mark.slow
def test_their_memory_is_that_of_one(few_cores):
    def temporaries(count):
        ks = jnp.ones((count, SIDE, SIDE))
        f = jax.jit(
            jax.vmap(lambda k: js.solve_linear(diffusion, B, js.Solve("CG", preconditioner="amg"), k))
        )
        return f.lower(ks).compile().memory_analysis().temp_size_in_bytes

    # Beside the matrices, five diagonals a lane, nothing grows.
    assert temporaries(12) - temporaries(6) < 6 * N * 8 * 10


@pytest.mark.further
@pytest.mark.cpu
def test_small_dense_unknown_and_spread_ones_are_solved_at_once(few_cores, monkeypatch):
    n = 1200
    f, ks, b = chain(n)
    dense = jnp.asarray(problems.poisson(n))
    mixing = jnp.ones((4, n)) / n

    def solve(A):
        return lambda k: js.solve_linear(A, b, js.Solve("biCG-stab"), k)

    assert 3 in loops(jax.vmap(solve(f)), ks)
    tiny, few, c = chain(500)
    assert 3 not in loops(jax.vmap(lambda k: js.solve_linear(tiny, c, js.Solve("biCG-stab"), k)), few)
    assert 3 not in loops(jax.vmap(lambda k: js.solve_linear(dense * k[0], b, js.Solve("CG"))), ks)
    assert 3 not in loops(jax.vmap(solve(lambda x, k: f(x, k) + mixing.T @ (mixing @ x))), ks)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert 3 not in loops(jax.vmap(lambda k: js.solve_linear(f, 2 * b, js.Solve("CGS"), k)), ks)
    monkeypatch.undo()
    inverse = jnp.eye(n)
    given = js.Solve("biCG-stab", preconditioner=inverse)
    assert 3 not in loops(jax.vmap(lambda k: js.solve_linear(f, b, given, k)), ks)


@pytest.mark.cpu
def test_a_shared_preconditioner_is_built_once(few_cores):
    ks, bs = jnp.ones((4, SIDE, SIDE)), jnp.stack([B, 2 * B, B**2])

    def solve(k, b):
        return js.solve_linear(diffusion, b, js.Solve("CG", preconditioner="amg"), k)

    # LU factorises the coarsest level of a hierarchy.
    assert "lu" not in loops(jax.vmap(solve, (None, 0)), ks[0], bs)[3]
    assert "lu" in loops(jax.vmap(solve, (0, None)), ks, B)[4]


@pytest.mark.slow
def test_lanes_in_lanes(few_cores):
    ks = jnp.asarray([0.5, 1.0])[:, None, None] * jnp.ones((2, SIDE, SIDE))
    bs = jnp.stack([B, 2 * B, B**2])

    def solve(k, b):
        return js.solve_linear(diffusion, b, js.Solve("CG", rtol=1e-10, preconditioner="jacobi"), k)

    alone = jax.jit(solve)
    nested = jax.vmap(jax.vmap(solve, (None, 0)), (0, None))(ks, bs)
    other = jax.vmap(jax.vmap(solve, (0, None)), (None, 0))(ks, bs)
    for i, k in enumerate(ks):
        for j, b in enumerate(bs):
            one = alone(k, b)
            np.testing.assert_allclose(nested[i, j], one, atol=1e-9 * np.abs(one).max())
            np.testing.assert_allclose(other[j, i], one, atol=1e-9 * np.abs(one).max())


@pytest.mark.further
def test_gradients_of_lanes_are_those_of_each(few_cores):
    ks = jnp.exp(0.1 * jnp.asarray(problems.random(3 * N, seed=4).reshape(3, SIDE, SIDE)))

    def loss(k, b):
        x = js.solve_linear(diffusion, b, js.Solve("biCG-stab", rtol=1e-12, preconditioner="jacobi"), k)
        return jnp.sum(x**3)

    alone = jax.jit(jax.grad(loss))
    inner = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(ks, B)
    outer = jax.jit(jax.grad(lambda ks: jax.vmap(loss, (0, None))(ks, B).sum()))(ks)
    forward = jax.jit(lambda ks, t: jax.jvp(lambda ks: jax.vmap(loss, (0, None))(ks, B), (ks,), (t,))[1])(
        ks, ks
    )
    for lane, k in enumerate(ks):
        one = alone(k, B)
        size = np.abs(one).max()
        np.testing.assert_allclose(inner[lane], one, atol=1e-7 * size)
        np.testing.assert_allclose(outer[lane], one, atol=1e-7 * size)
        np.testing.assert_allclose(forward[lane], jnp.sum(one * k), rtol=1e-6)


@pytest.mark.further
def test_each_lane_ends_by_itself(small):
    n = 41
    f, ks, b = chain(n)
    bs = jnp.stack([b, 0 * b, b.at[3].set(jnp.nan)])
    limits = jnp.array([200, 200, 200])

    def solve(k, b, limit):
        return js.solve_linear_info(f, b, js.Solve("GMres", rtol=1e-8, max_iterations=limit), k)

    info = jax.vmap(solve)(ks, bs, limits)
    assert [js.Status(s).name for s in np.asarray(info.code)] == ["converged", "converged", "invalid_input"]
    assert info.iterations[0] > 0 == info.iterations[1]
    assert not np.any(info.x[1])
    with pytest.raises(js.ConvergenceException, match="1 of 3 systems failed"):
        js.jit(jax.vmap(lambda k, b: js.solve_linear(f, b, js.Solve("GMres", rtol=1e-8), k)))(ks, bs)


@pytest.mark.cpu
@pytest.mark.few(1)
@pytest.mark.parametrize("method", mostly_slow(ON_DEVICE, FAMILIES))
def test_every_method_gives_in_lanes_what_it_gives_alone(method, small):
    n = 43
    f, ks, b = chain(n)
    hermitian = lambda x, k: f(x, k) + jax.linear_transpose(lambda x: f(x, k), x)(x)[0]  # noqa: E731
    solve = jax.jit(lambda k: js.solve_linear_info(hermitian, b, js.Solve(method, rtol=1e-9), k))
    many = jax.jit(jax.vmap(solve))(ks)
    assert 3 in loops(jax.vmap(solve), ks)
    assert np.all(many.converged)
    for lane, k in enumerate(ks):
        np.testing.assert_allclose(many.x[lane], solve(k).x, rtol=1e-9)


@pytest.mark.further
@pytest.mark.parametrize("name", mostly_slow(sorted(PRECONDITIONERS), ["jacobi", "ilu", "amg", "fsai"]))
def test_every_preconditioner_is_built_in_lanes(name, small):
    n = 47
    f, ks, b = chain(n)

    def solve(k):
        return js.solve_linear_info(f, b, js.Solve("GMres", rtol=1e-9, preconditioner=name), k)

    many = jax.jit(jax.vmap(solve))(ks)
    assert np.all(many.converged)
    for lane, k in enumerate(ks):
        np.testing.assert_allclose(many.x[lane], solve(k).x, rtol=1e-7)


class Sweeps(AbstractPreconditioner):
    """A user's recipe, whose numbers steer Python code."""

    count: int
    damping: float

    def build(self, A):
        total = self.damping * js.Jacobi().build(A)
        return sum((total for _ in range(self.count - 1)), total)


@pytest.mark.slow
def test_numbers_of_recipes_stay_numbers(small):
    n = 53
    f, ks, b = chain(n)
    ks, b = ks.astype(np.float32), b.astype(np.float32)

    def solve(recipe):
        return lambda k: js.solve_linear(f, b, js.Solve("GMres", rtol=1e-4, preconditioner=recipe), k)

    for recipe in (Sweeps(2, 0.4), js.SSOR(1.2), js.Chebyshev(2)):
        alone = jnp.stack([jax.jit(solve(recipe))(k) for k in ks])
        many = jax.jit(jax.vmap(solve(recipe)))(ks)
        assert many.dtype == alone.dtype == np.float32
        np.testing.assert_allclose(many, alone, rtol=1e-3, atol=1e-4)
        stack = jnp.stack(
            [jax.vmap(lambda x, k=k: f(x, k), out_axes=1)(jnp.eye(n, dtype=b.dtype)) for k in ks]
        )
        many = js.solve_linear(stack, b, js.Solve("GMres", rtol=1e-4, preconditioner=recipe))
        np.testing.assert_allclose(many, alone, rtol=1e-3, atol=1e-4)
