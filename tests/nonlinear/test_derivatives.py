"""Derivatives of every nonlinear method under every composition of transformations, beside Newton's method unrolled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxsolve as js
from jaxsolve.solvers.nonlinear_methods import FIT, FIXED_POINT, MINIMUM, ROOT
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from jaxsolve.solvers.scipy_minimisers import SCIPY_MINIMIZERS, SciPyLeastSquares, SciPyMinimize

M = jnp.array([[1.0, 0.4, 0.0], [-0.3, 1.0, 0.2], [0.1, 0.0, 1.0]])
Y = jnp.array([1.0, 2.0, 0.5])
#: A fourth residual, so that a fit leaves something.
ROW = jnp.array([0.5, -0.2, 0.3])


def equations(x, k):
    """Not symmetric, one solution."""
    return M @ x + k * x**3 / 2


def residuals(x, k):
    """Four residuals of three parameters, which stay large."""
    return jnp.append(equations(x, k) - Y, ROW @ x - k)


def energy(x, k):
    """A convex function."""
    return x @ x / 2 + k * jnp.sum(x**4) / 8 - Y @ x + k * x[0] * x[1] / 4


def condition(goal, x, k):
    """What vanishes at the solution."""
    if goal in (ROOT, FIXED_POINT):
        return equations(x, k) - Y
    f = energy if goal == MINIMUM else lambda x, k: jnp.sum(residuals(x, k) ** 2) / 2
    return jax.grad(f)(x, k)


def reference(goal, k):
    """The solution by steps that JAX differentiates."""
    x = jnp.array([0.9, 1.2, 0.4])
    for _ in range(8):
        x = x - jnp.linalg.solve(jax.jacfwd(lambda x: condition(goal, x, k))(x), condition(goal, x, k))
    return x


def solution(goal, method, k, x0, passed="closure", rtol=1e-10):
    """The solution by a method; k reaches the function in one of four ways."""
    solve = js.Solve(method, x0=x0, rtol=rtol, atol=1e-10)
    by = {"closure": ((), {}), "position": ((k,), {}), "keyword": ((), {"k": k}), "y": ((), {})}
    args, kwargs = by[passed]
    if passed == "y":
        # f(x, k) = y as f(x, 1) + (k - 1) = y + (k - 1), with another right-hand side.
        return js.solve_nonlinear(lambda x: equations(x, 1.0), Y * k, solve)
    default = k if passed == "closure" else None
    pick = lambda given: default if given is None else given  # noqa: E731
    if goal == ROOT:
        return js.solve_nonlinear(lambda x, k=None: equations(x, pick(k)), Y, solve, *args, **kwargs)
    if goal == FIXED_POINT:
        return js.solve_fixed_point(
            lambda x, k=None: x - (equations(x, pick(k)) - Y) / 3, solve, *args, **kwargs
        )
    if goal == FIT:
        return js.least_squares(lambda x, k=None: residuals(x, pick(k)), solve, *args, **kwargs)
    return js.minimize(lambda x, k=None: energy(x, pick(k)), solve, *args, **kwargs)


def everywhere(s, k):
    """A function of k through a solve in each place that JAX has, with weights that tell them apart."""
    one = jnp.ones(1)

    def along(total, t):
        return total + jnp.sum(s(k * t) ** 2), None

    return jnp.stack(
        [
            jnp.sum(s(k) ** 2),
            lax.map(lambda t: jnp.sum(s(k * t) ** 2), one)[0],
            lax.scan(along, 0.0 * k, one)[0],
            lax.cond(k > 0, lambda k: jnp.sum(s(k) ** 2), lambda k: k, k),
            jax.checkpoint(lambda k: jnp.sum(s(k) ** 2))(k),
            jax.jit(lambda k: jnp.sum(s(k) ** 2))(k),
            jax.vmap(lambda t: jnp.sum(s(k * t) ** 2))(one)[0],
            lax.map(lambda t: jax.vmap(lambda u: jnp.sum(s(k * t * u) ** 2))(one)[0], one)[0],
        ]
    )


def nested(s, k):
    """The same through one solve inside of all of them."""

    def inner(k):
        return jnp.sum(jax.jit(jax.vmap(lambda t: jnp.sum(s(k * t) ** 2)))(jnp.ones(1)))

    def chosen(k):
        return lax.cond(k > 0, jax.checkpoint(inner), lambda k: k, k)

    def along(total, t):
        return total + chosen(k * t), None

    return lax.map(lambda t: lax.scan(along, 0.0 * k, t[None])[0], jnp.ones(1))[0]


PLACES = ("alone", "map", "scan", "cond", "checkpoint", "jit", "vmap", "map of vmap")
ORDERS = {
    "forward over reverse": lambda f: jax.jacfwd(jax.jacrev(f)),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f)),
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
}
METHODS = [(goal, name) for name, make in NONLINEAR.items() for goal in make().solves]
#: One of each kind of order; all methods share one rule.
QUICK = [(ROOT, "newton", "forward over reverse"), (FIT, "levenberg-marquardt", "reverse over reverse")]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("goal", "name", "order"),
    [
        case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow)
        for case in ((*m, order) for m in METHODS for order in ORDERS)
    ],
)
def test_second_derivatives_are_right_inside_of_everything(goal, name, order):
    exact = ORDERS[order](lambda k: jnp.sum(reference(goal, k) ** 2))(1.0)
    x0 = reference(goal, 1.0)
    found = jax.jit(ORDERS[order](lambda k: nested(lambda k: solution(goal, name, k, x0), k)))(1.0)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("goal", "name"),
    [(ROOT, "newton"), (FIXED_POINT, "anderson"), (FIT, "trf"), (MINIMUM, "L-BFGS"), (MINIMUM, "L-BFGS-B")],
)
def test_second_derivatives_are_right_in_every_place(goal, name, order):
    exact = ORDERS[order](lambda k: jnp.sum(reference(goal, k) ** 2))(1.0)
    x0 = reference(goal, 1.0)
    found = jax.jit(ORDERS[order](lambda k: everywhere(lambda k: solution(goal, name, k, x0), k)))(1.0)
    for place, value in zip(PLACES, found, strict=True):
        np.testing.assert_allclose(value, exact, rtol=1e-6, err_msg=place)


GIVEN = [(goal, name, passed) for goal, name in METHODS for passed in ("position", "keyword")]
GIVEN += [(goal, name, "y") for goal, name in METHODS if goal == ROOT]


@pytest.mark.parametrize(
    ("goal", "name", "passed"),
    [
        case if case == (ROOT, "newton", "y") else pytest.param(*case, marks=pytest.mark.slow)
        for case in GIVEN
    ],
)
def test_second_derivatives_by_all_that_a_function_is_given(goal, name, passed):

    def exact(k):
        if passed != "y":
            return jnp.sum(reference(goal, k) ** 2)
        x = jnp.array([0.9, 1.2, 0.4])
        for _ in range(8):
            gap = equations(x, 1.0) - k * Y
            x = x - jnp.linalg.solve(jax.jacfwd(lambda x: equations(x, 1.0))(x), gap)
        return jnp.sum(x**2)

    x0 = reference(goal, 1.0)

    def looped(k):
        return lax.map(lambda t: jnp.sum(solution(goal, name, k * t, x0, passed) ** 2), jnp.ones(1))[0]

    np.testing.assert_allclose(jax.jit(jax.hessian(looped))(1.0), jax.hessian(exact)(1.0), rtol=1e-6)


# Methods without gradients stop where steps are short: x is exact to √eps at best.
COARSE = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")


def resolved(name):
    """The tolerance that a search reaches: SciPy's stop where f no longer falls, with gradients of √eps."""
    method = NONLINEAR[name]()
    by_values = isinstance(method, SciPyLeastSquares) or (
        isinstance(method, SciPyMinimize) and SCIPY_MINIMIZERS[method.kind][0]
    )
    return 4 * np.sqrt(np.finfo(float).eps) if by_values else 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "name"), METHODS)
def test_second_derivatives_where_the_search_had_to_go_somewhere(goal, name):
    if (goal, name) in ((ROOT, "picard"), (ROOT, "anderson")):
        pytest.skip("x + y - f(x) is no contraction here")
    x0 = jnp.array([0.8, 1.0, 0.3])

    def looped(k):
        x = lambda t: solution(goal, name, k * t, x0, rtol=resolved(name))  # noqa: E731
        return lax.map(lambda t: jnp.sum(x(t) ** 2), jnp.ones(1))[0]

    exact = jax.hessian(lambda k: jnp.sum(reference(goal, k) ** 2))(1.0)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(looped))(1.0), exact, rtol=1e-5 if name in COARSE else 1e-6
    )


HANDED = [("picard", 1.0)]


@pytest.mark.parametrize(
    ("goal", "name", "x0"),
    [
        pytest.param(goal, name, x0, marks=[pytest.mark.slow] * ((name, x0) not in HANDED))
        for goal, name in METHODS
        for x0 in (1.0, 0.7)
        if (goal, name) not in ((ROOT, "picard"), (ROOT, "anderson"))
    ],
)  # fmt: skip
def test_a_cubic_by_hand(goal, name, x0):
    # x + k x³ = 2 with k = 1: x = 1, x' = -1/4, x'' = 9/32.
    solve = js.Solve(name, x0=jnp.array(x0), rtol=1e-10 if x0 == 1.0 else resolved(name), atol=1e-10)
    problems = {
        ROOT: lambda k: js.solve_nonlinear(lambda x, k: x + k * x**3, jnp.array(2.0), solve, k),
        FIXED_POINT: lambda k: js.solve_fixed_point(lambda x, k: x - (x + k * x**3 - 2) / 4, solve, k),
        FIT: lambda k: js.least_squares(lambda x, k: x + k * x**3 - 2, solve, k),
        MINIMUM: lambda k: js.minimize(lambda x, k: x**2 / 2 + k * x**4 / 4 - 2 * x, solve, k),
    }

    def looped(k):
        return lax.map(lambda t: problems[goal](k * t), jnp.ones(1))[0]

    coarse = 1e-4 if name in COARSE and x0 != 1.0 else 1e-6
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.grad(looped)))(1.0), 0.28125, rtol=coarse)


@pytest.mark.parametrize("limit", [100, 1])
def test_what_a_search_leaves_moves_with_what_it_is_given(limit):
    t = jnp.linspace(0.0, 1.0, 6)
    data = jnp.exp(-0.5 * t) + 0.1 * jnp.cos(7 * t)

    def fit(data, limit):
        solve = js.Solve(x0=jnp.array(1.0), rtol=1e-12, max_iterations=limit)
        return js.least_squares_info(lambda k: jnp.exp(-k * t) - data, solve)

    def by_hand(data, x):
        r = jnp.exp(-x * t) - data
        return jnp.sum(r**2) / 2, t * jnp.exp(-x * t) @ r

    info = fit(data, limit)
    assert info.converged == (limit == 100)
    value, residual = by_hand(data, info.x)
    np.testing.assert_allclose([info.objective, info.residual], [value, residual], atol=1e-14)
    found = jax.jit(jax.jacrev(lambda d: (lambda i: (i.x, i.objective, i.residual))(fit(d, limit))))(data)
    # dx by the implicit rule at the iterate, and everything else by the chain rule.
    objective, left = jax.jacrev(lambda d: by_hand(d, info.x + found[0] @ (d - data)))(data)
    np.testing.assert_allclose(found[1], objective, atol=1e-9)
    np.testing.assert_allclose(found[2], left, atol=1e-9)


@pytest.mark.slow
def test_under_constraints_the_residual_moves():
    solve = js.Solve("SLSQP", x0=jnp.full(2, 0.1), rtol=1e-9)

    def info(a):
        disc = {"type": "ineq", "fun": lambda x: 2.25 - jnp.sum(x**2)}
        return js.minimize_info(lambda x: jnp.sum((x - a) ** 2), solve, constraints=disc)

    a = jnp.array([3.0, 4.0])
    # x = 1.5 a / ‖a‖, and -∇f = 2 (a - x).
    expected = jax.jacfwd(lambda a: 2 * (a - 1.5 * a / jnp.linalg.norm(a)))(a)
    np.testing.assert_allclose(jax.jit(jax.jacrev(lambda a: info(a).residual))(a), expected, atol=1e-6)
    norm = jax.grad(lambda a: jnp.linalg.norm(2 * (a - 1.5 * a / jnp.linalg.norm(a))))(a)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda a: info(a).residual_norm))(a), norm, atol=1e-6)


@pytest.mark.parametrize("goal", [ROOT, *(pytest.param(g, marks=pytest.mark.slow) for g in (FIT, MINIMUM))])
def test_input_that_is_no_number_gives_no_number(goal):
    name = {ROOT: "newton", FIT: "levenberg-marquardt", MINIMUM: "L-BFGS"}[goal]

    def x(k):
        solve = js.Solve(name, x0=jnp.ones(3), suppress=(js.NotConverged, js.Diverged))
        if goal == ROOT:
            return js.solve_nonlinear(lambda x: equations(x, k), Y, solve)
        if goal == FIT:
            return js.least_squares(lambda x: residuals(x, k), solve)
        return js.minimize(lambda x: energy(x, k), solve)

    together, slopes = jax.jit(jax.vmap(lambda k: (x(k), jax.jacfwd(x)(k))))(jnp.array([1.0, jnp.nan]))
    assert jnp.isnan(together[1]).all()
    assert jnp.isnan(slopes[1]).all()
    np.testing.assert_allclose(together[0], reference(goal, 1.0), rtol=1e-3)
    np.testing.assert_allclose(slopes[0], jax.jacfwd(lambda k: reference(goal, k))(1.0), rtol=1e-2)


def test_a_singular_jacobian_has_no_derivative_and_an_unfinished_search_has_that_of_its_iterate():
    def x(k, f, limit):
        return js.solve_nonlinear_info(
            lambda x: f(x, k), Y, js.Solve("newton", x0=jnp.ones(3), max_iterations=limit)
        ).x

    flat = jax.jit(jax.jacrev(lambda k: x(k, lambda x, k: k * jnp.ones(3) + 0 * x, 3)))(1.0)
    assert jnp.isnan(flat).all()
    stopped = x(1.0, equations, 1)
    J = jax.jacfwd(lambda x: equations(x, 1.0))(stopped)
    expected = -jnp.linalg.solve(J, stopped**3 / 2)
    np.testing.assert_allclose(jax.jacrev(lambda k: x(k, equations, 1))(1.0), expected, rtol=1e-9)
