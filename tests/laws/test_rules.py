"""Solves inside of what JAX and Equinox build on functions that they transpose, linearise or take rules from."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance, made, mostly_slow

N = 5
TIGHT = 1e-12
#: A method, and a matrix that it solves.
CASES = {
    "CG": problems.definite(N, 1),
    "GMres": problems.dominant(N, 1),
    "lsmr": problems.dominant(N, 1),
    "LU": problems.dominant(N, 1),
    "sparse-direct": problems.dominant(N, 1),
    "auto": problems.dominant(N, 1),
}
cases = pytest.mark.parametrize("method", mostly_slow(CASES, ["CG", "LU"]))
B, W = (jnp.asarray(problems.random(N, seed=k)) for k in (2, 3))


def recipe(method, **options):
    return js.Solve(method if method == "auto" else made(method), rtol=TIGHT, **options)


def by(method):
    A = jnp.asarray(CASES[method])
    return A, lambda b: js.solve_linear(A, b, recipe(method))


@pytest.mark.few(2)
@cases
@pytest.mark.parametrize("compile", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_solve_is_transposed_as_the_linear_function_that_it_is(method, compile):
    A, solve = by(method)
    transposed = compile(lambda w: jax.linear_transpose(solve, B)(w)[0])
    assert distance(transposed(W), jnp.linalg.solve(A.T, W)) < 1e-9
    lanes = jax.vmap(transposed)(jnp.stack([W, B]))
    assert distance(lanes[1], jnp.linalg.solve(A.T, B)) < 1e-9
    twice = jax.linear_transpose(lambda w: transposed(w), W)
    assert distance(twice(B)[0], jnp.linalg.solve(A, B)) < 1e-9


def test_a_complex_solve_is_transposed_without_conjugation():
    A, b = (jnp.asarray(problems.dominant(N, 1, np.complex128)), B + 1j * W)
    found = jax.linear_transpose(lambda b: js.solve_linear(A, b, recipe("GMres")), b)(b)[0]
    assert distance(found, jnp.linalg.solve(A.T, b)) < 1e-9


def test_a_solve_of_real_and_complex_numbers_is_transposed():
    # A complex, b real: x is complex, and what comes back for b is the real part.
    A, c = jnp.asarray(problems.dominant(N, 1, np.complex128)), B + 1j * W
    found = jax.linear_transpose(lambda b: js.solve_linear(A, b, recipe("GMres")), B)(c)[0]
    assert found.dtype == B.dtype
    assert distance(found, jnp.linalg.solve(A.T, c).real) < 1e-9


@pytest.mark.few(1)
@pytest.mark.parametrize("shape", [(N + 2, N), (N, N + 2)], ids=["tall", "wide"])
@pytest.mark.parametrize("method", ["lsmr", "QR"])
def test_a_rectangular_solve_is_transposed(method, shape):
    A = jnp.asarray(problems.random(*shape, seed=4))
    b, w = problems.random(shape[0], seed=5), problems.random(shape[1], seed=6)
    found = jax.linear_transpose(lambda b: js.solve_linear(A, b, recipe(method)), b)(w)[0]
    assert distance(found, jnp.linalg.pinv(A).T @ w) < 1e-9


def test_a_solution_and_its_residual_are_transposed_together():
    # x = A⁺ b and r = b - A x of a tall system; complex, so that a conjugate in the wrong place shows.
    A = jnp.asarray(problems.random(N + 2, N, seed=4, dtype=np.complex128))
    b, v, w = (jnp.asarray(problems.random(n, seed=n, dtype=np.complex128)) for n in (N + 2, N + 2, N))

    def both(b):
        info = js.solve_linear_info(A, b, recipe("QR"))
        return info.x, info.residual

    found = jax.linear_transpose(both, b)((w, v))[0]
    pinv = jnp.linalg.pinv(A)
    assert distance(found, pinv.T @ (w - A.T @ v) + v) < 1e-9


@pytest.mark.parametrize("axis", [0, 1])
def test_cotangents_of_lanes_stand_where_the_lanes_do(axis):
    # As many lanes as unknowns: a batch axis in the wrong place would not show in shapes.
    A, B, W = jnp.asarray(CASES["GMres"]), *(jnp.asarray(problems.random(N, N, seed=k)) for k in (7, 8))
    solve = jax.vmap(lambda b: js.solve_linear(A, b, recipe("LU")), in_axes=axis, out_axes=axis)
    found = jax.grad(lambda B: jnp.sum(W * solve(B)))(B)
    expected = jnp.linalg.solve(A.T, W) if axis else jnp.linalg.solve(A.T, W.T).T
    assert distance(found, expected) < 1e-9


@pytest.mark.parametrize("form", ["pytree", "affine", "factorisation", "many", "residual"])
def test_every_linear_door_is_transposed(form):
    A = jnp.asarray(CASES["GMres"])
    solve = recipe("GMres")

    def pytree(b):
        x = js.solve_linear(lambda x: {"u": A @ x["u"]}, {"u": b}, solve)
        return x["u"]

    doors = {
        "pytree": pytree,
        "affine": lambda b: js.solve_linear(lambda x: A @ x + 0 * x, b, solve),
        "factorisation": js.factorize(A).solve,
        "many": lambda b: js.solve_linear_many(A, jnp.stack([b, 2 * b], 1), solve) @ jnp.array([-1.0, 1.0]),
        "residual": lambda b: b - A @ js.solve_linear(A, b, solve) + js.solve_linear_info(A, b, solve).x,
    }
    found = jax.linear_transpose(doors[form], B)(W)[0]
    assert distance(found, jnp.linalg.solve(A.T, W)) < 1e-8


@pytest.mark.further
@cases
def test_a_rule_of_custom_jvp_may_solve(method):
    A, solve = by(method)

    @jax.custom_jvp
    def x(b):
        return jnp.linalg.solve(A, jnp.sin(b))

    x.defjvp(lambda primals, tangents: (x(*primals), solve(jnp.cos(primals[0]) * tangents[0])))

    def dense(b):
        return jnp.linalg.solve(A, jnp.sin(b))

    assert distance(jax.jacfwd(x)(B), jax.jacfwd(dense)(B)) < 1e-9
    assert distance(jax.jacrev(x)(B), jax.jacrev(dense)(B)) < 1e-9
    assert distance(jax.jacfwd(jax.jacrev(x))(B), jax.hessian(dense)(B)) < 1e-8
    assert distance(jax.jacrev(jax.jacrev(x))(B), jax.hessian(dense)(B)) < 1e-8


@pytest.mark.further
@cases
def test_a_rule_of_custom_vjp_may_solve(method):
    A, solve = by(method)

    @jax.custom_vjp
    def x(b):
        return solve(b)

    x.defvjp(lambda b: (solve(b), None), lambda _, c: (jax.linear_transpose(solve, B)(c)[0],))
    found = jax.grad(lambda b: W @ jnp.sin(x(b)))(B)
    assert distance(found, jax.grad(lambda b: W @ jnp.sin(jnp.linalg.solve(A, b)))(B)) < 1e-9


@pytest.mark.further
@cases
def test_the_tangent_solve_of_a_custom_root_may_be_ours(method):
    A = jnp.asarray(CASES[method])

    def root(p):
        def f(x):
            return A @ x + 0.1 * x**3 - p

        def newton(f, x):
            return lax.fori_loop(0, 8, lambda _, x: x - jnp.linalg.solve(jax.jacobian(f)(x), f(x)), x)

        return lax.custom_root(f, p / 4, newton, lambda g, y: js.solve_linear(g, y, recipe(method)))

    x = root(B)
    J = A + jnp.diag(0.3 * x**2)
    assert distance(jax.jacfwd(root)(B), jnp.linalg.inv(J)) < 1e-8
    assert distance(jax.jacrev(root)(B), jnp.linalg.inv(J)) < 1e-8
    assert distance(jax.grad(lambda p: W @ root(p))(B), jnp.linalg.solve(J.T, W)) < 1e-8


@pytest.mark.further
@cases
def test_custom_linear_solve_may_be_around_ours(method):
    A, solve = by(method)

    def x(b):
        return lax.custom_linear_solve(
            lambda v: A @ v, b, lambda _, b: solve(b), lambda mv, b: js.solve_linear(mv, b, recipe(method))
        )

    assert distance(jax.jacrev(x)(B), jnp.linalg.inv(A)) < 1e-9


@pytest.mark.few(1)
@cases
def test_linearised_solves_are_those_of_the_rule(method):
    A = jnp.asarray(CASES[method])

    def loss(s):
        return js.solve_linear(A * s[0], B * s[1], recipe(method))

    s, v = jnp.array([1.5, 0.7]), jnp.array([0.3, -0.4])
    x, moved = jax.linearize(loss, s)
    expected = jnp.linalg.solve(A, B) * (v[1] / s[0] - s[1] * v[0] / s[0] ** 2)
    assert distance(x, jnp.linalg.solve(A, B) * s[1] / s[0]) < 1e-9
    assert distance(moved(v), expected) < 1e-9
    assert distance(jax.jit(moved)(v), expected) < 1e-9
    assert distance(jax.vmap(moved)(jnp.stack([v, 2 * v]))[1], 2 * expected) < 1e-9
    back = jax.linear_transpose(moved, s)(W)[0]
    assert abs(back @ v - W @ expected) < 1e-8


class Model(eqx.Module):
    """What Equinox differentiates: arrays, and things that are none."""

    A: jax.Array
    solve: js.Solve
    power: int = 2

    def __call__(self, b):
        return jnp.sum(js.solve_linear(self.A, b, self.solve) ** self.power)


@pytest.mark.further
@cases
def test_filtered_transformations_of_equinox(method):
    A = jnp.asarray(CASES[method])
    model = Model(A, recipe(method))
    dense = jax.grad(lambda A: jnp.sum(jnp.linalg.solve(A, B) ** 2))(A)
    assert distance(eqx.filter_grad(lambda m: m(B))(model).A, dense) < 1e-8
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(lambda m: m(B)))(model)
    assert distance(gradient.A, dense) < 1e-8
    assert abs(value - model(B)) < 1e-9
    # A symmetric direction, for methods that demand it.
    along = jax.tree.map(lambda leaf: jnp.eye(N) if leaf is A else None, eqx.filter(model, eqx.is_array))
    _, moved = eqx.filter_jvp(lambda m: m(B), (model,), (along,))
    assert abs(moved - jnp.trace(dense)) < 1e-8
    lanes = eqx.filter_vmap(lambda b: eqx.filter_grad(lambda m: m(b))(model).A)(jnp.stack([B, 2 * B]))
    assert distance(lanes[1], 4 * dense) < 1e-8
    remade = eqx.filter_checkpoint(lambda m: m(B))
    assert distance(eqx.filter_grad(remade)(model).A, dense) < 1e-8


@cases
def test_gradients_of_bound_and_partial_solves(method):
    A = jnp.asarray(CASES[method])
    bound = jax.tree_util.Partial(js.solve_linear, A, solve=recipe(method))
    found = jax.grad(lambda f, b: W @ f(b), 1)(bound, B)
    assert distance(found, jnp.linalg.solve(A.T, W)) < 1e-9
