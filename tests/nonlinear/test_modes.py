"""Functions that have one mode of differentiation: every kind of problem is solved with them, and differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import pallas as pl

import jaxsolve as js


@jax.custom_vjp
def cube_backward(x):
    return x**3


cube_backward.defvjp(lambda x: (x**3, x), lambda x, ct: (3 * x**2 * ct,))


def cube_forward(x):
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, jnp.ones_like(x)))[1]


CUBES = {"custom_vjp": cube_backward, "while_loop": cube_forward, "plain": lambda x: x**3}
Y = jnp.array([1.0, 2.0, 3.0])


def solution(goal, cube, k, name="auto"):
    """The x of x + k x³ = y, each component by itself."""
    solve = js.Solve(name, x0=jnp.ones(3), rtol=1e-12)

    def gap(x):
        return x + k * cube(x) - Y

    if goal == "equations":
        return js.solve_nonlinear(lambda x: gap(x) + Y, Y, solve)
    if goal == "fixed point":
        return js.solve_fixed_point(lambda x: x - gap(x) / 10, solve)
    if goal == "fit":
        return js.least_squares(gap, solve)
    return js.minimize(lambda x: jnp.sum(gap(x) ** 2), solve)


CASES = [
    (kind, goal, name)
    for kind in ("custom_vjp", "while_loop")
    for goal, name in (
        ("equations", "newton"),
        ("equations", "pseudo-transient"),
        ("equations", "broyden"),
        ("equations", "levenberg-marquardt"),
        ("fixed point", "anderson"),
        ("fit", "auto"),
        ("fit", "gauss-newton"),
        ("fit", "trf"),
        ("fit", "lm"),
        ("minimum", "L-BFGS"),
        ("minimum", "GD"),
        ("minimum", "Newton-CG"),
        ("minimum", "L-BFGS-B"),
        ("minimum", "trust-ncg"),
    )
]
#: Quick ones, in which every way from one mode to the other is gone.
QUICK = [("custom_vjp", "equations", "newton"), ("while_loop", "fit", "auto")]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("kind", "goal", "name"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_one_mode_is_enough(kind, goal, name):
    def f(k, kind=kind):
        return solution(goal, CUBES[kind], k, name)

    k = 0.7
    x = f(k)
    np.testing.assert_allclose(x + k * x**3, Y, rtol=1e-6)
    first = -(x**3) / (1 + 3 * k * x**2)
    np.testing.assert_allclose(jax.jacrev(f)(k), first, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(f))(k), first, rtol=1e-5)


@pytest.mark.further
@pytest.mark.parametrize(
    ("kind", "outer"),
    [
        ("custom_vjp", jax.jacfwd),
        ("while_loop", jax.jacrev),
        pytest.param("custom_vjp", jax.jacrev, marks=pytest.mark.slow),
        pytest.param("while_loop", jax.jacfwd, marks=pytest.mark.slow),
    ],
)
def test_second_derivatives_in_one_mode(kind, outer):
    def f(k, kind=kind):
        return jnp.sum(solution("equations", CUBES[kind], k, "newton"))

    np.testing.assert_allclose(
        jax.jit(outer(jax.grad(f)))(0.7), jax.hessian(lambda k: f(k, "plain"))(0.7), rtol=1e-8
    )


def test_complex_parameters_in_forward_mode():
    def f(k):
        def g(x, k):
            return x + abs(k) ** 2 * cube_forward(x).real

        return js.solve_nonlinear(g, jnp.array(2.0), js.Solve("newton", x0=1.0, rtol=1e-12), k)

    k = 0.6 + 0.8j
    np.testing.assert_allclose(f(k), 1, rtol=1e-10)
    # dx = -x³ / (1 + 3 x²) d|k|², and JAX's gradient is the conjugate.
    np.testing.assert_allclose(jax.grad(f)(k), -0.25 * 2 * k.conjugate(), rtol=1e-8)


def test_neither_mode_is_refused_in_words_where_it_is_needed():
    def g(x):
        return 0.1 * cube_backward(x) + 0.1 * cube_forward(x) + 0.5

    assert js.solve_fixed_point_info(g, js.Solve("anderson", x0=jnp.zeros(2))).converged
    with pytest.raises(TypeError, match="neither forward nor in reverse"):
        js.solve_fixed_point(g, js.Solve("newton", x0=jnp.zeros(2)))


def kernel(x):
    def body(x, o):
        o[...] = x[...] ** 3

    return pl.pallas_call(body, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)


@pytest.mark.parametrize(("goal", "name"), [("equations", "newton"), ("fit", "auto"), ("minimum", "L-BFGS")])
def test_kernels_are_differentiated_as_far_as_jax_can(goal, name):
    # Forward, and not in a product whose values are batched with the tangents, as those of jax.jacfwd are.
    found = solution(goal, kernel, 0.5, name)
    np.testing.assert_allclose(found, solution(goal, CUBES["plain"], 0.5, name), rtol=1e-6)


@pytest.mark.parametrize("goal", ["equations", "fit", "minimum"])
@pytest.mark.parametrize("kind", [lambda f: f, jax.jit])
def test_operations_without_derivative_are_named(goal, kind):
    def hosted(x):
        return jax.pure_callback(lambda v: v**3, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(TypeError, match=r"neither forward nor in reverse.* holds `pure_callback`"):
        kind(lambda k: solution(goal, hosted, k))(0.5)
