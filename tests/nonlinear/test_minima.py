"""minimize: native and SciPy's methods, bounds, constraints, gradients, batches, and what SciPy raises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxsolve as js
from jaxsolve.solvers.scipy_minimisers import SCIPY_MINIMIZERS

DISC = {"type": "ineq", "fun": lambda x: 2 - jnp.sum(x**2)}
START = jnp.array([-1.2, 1.0])
NATIVE = ("L-BFGS", "Newton-CG")
#: A few of SciPy's, one of each kind of question; the others differ in SciPy only.
HOSTED = ("L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead")
OTHERS = tuple(kind for kind in SCIPY_MINIMIZERS if kind not in HOSTED)
host = pytest.mark.parametrize(
    "kind", [*HOSTED, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]
)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def pair(p, a=1.0):
    return 0.5 * jnp.sum((p[0] - a) ** 2) + 0.5 * jnp.sum((p[1] + 1) ** 2)


def quartic(x, a):
    return jnp.sum((x - a) ** 4 + (x * a) ** 2) + jnp.sum(x[1:] * x[:-1])


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_native_methods_reach_the_minimum_of_rosenbrock(name, dtype):
    info = js.minimize_info(rosenbrock, js.Solve(name, x0=START.astype(dtype)))
    assert info.converged
    assert info.x.dtype == dtype
    assert info.iterations < 60
    np.testing.assert_allclose(info.x, 1, atol=5e-3)
    np.testing.assert_allclose(info.residual, -jax.grad(rosenbrock)(info.x), atol=1e-5)
    # f = 100 d² + ... with d the difference of two numbers near one: rounding is 200 d eps, twice.
    rounding = 40 * jnp.finfo(dtype).eps * jnp.sqrt(info.objective)
    np.testing.assert_allclose(info.objective, rosenbrock(info.x), atol=rounding)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("name", [*NATIVE, "L-BFGS-B"])
def test_the_least_of_a_function_of_complex_numbers(name):
    target = jnp.array([1 + 2j, -1.0])

    def f(z, scale):
        # The second derivative of JAX's |z| is not finite at zero.
        there = z - scale * target
        return jnp.sum((there * there.conj() * (1 + z * z.conj())).real)

    info = js.minimize_info(f, js.Solve(name, x0=jnp.zeros(2, complex), rtol=1e-9, max_iterations=2), 1.0)
    slope = jax.grad(f)(info.x, 1.0)
    # JAX's gradient is ∂f/∂Re z - i ∂f/∂Im z; the way down is what steps are taken along.
    np.testing.assert_allclose(info.residual, -slope.conj(), rtol=1e-9)
    least = js.minimize(f, js.Solve(name, x0=0.9 * target, rtol=1e-9), 1.0)
    np.testing.assert_allclose(least, target, atol=1e-7)
    along = jax.jacfwd(lambda s: js.minimize(f, js.Solve(name, x0=0.9 * target, rtol=1e-9), s))(1.0)
    np.testing.assert_allclose(along, target, atol=1e-6)


def test_descent_needs_few_steps_for_a_parabola():
    info = js.minimize_info(lambda x: x**2, js.Solve("GD", x0=3.0))
    assert info.converged
    assert info.iterations <= 20
    assert abs(info.x) < 1e-4


@host
def test_scipy_finds_what_it_finds_alone_eager_and_compiled(kind):
    solve = js.Solve(js.SciPyMinimize(kind), x0=START, max_iterations=3000)

    def run(x0):
        return js.minimize_info(rosenbrock, js.Solve(js.SciPyMinimize(kind), x0=x0, max_iterations=3000))

    info, compiled = js.minimize_info(rosenbrock, solve), jax.jit(run)(START)
    if kind != "COBYLA":
        assert info.converged
        np.testing.assert_allclose(info.x, 1, atol=1e-4)
    np.testing.assert_allclose(compiled.x, info.x, rtol=1e-9)
    assert compiled.iterations == info.iterations
    assert compiled.function_evaluations == info.function_evaluations


def test_the_case_of_two_points_takes_four_iterations():
    info = js.minimize_info(pair, js.Solve("L-BFGS-B", x0=(0.0, 0.0)))
    assert info.converged
    assert info.iterations <= 4
    np.testing.assert_allclose(info.x[0], 1, atol=1e-6)
    np.testing.assert_allclose(info.x[1], -1, atol=1e-6)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["L-BFGS", "L-BFGS-B"])
def test_lanes_of_a_vmap_are_minimised_each_for_itself(name):
    a = jnp.array([0.5, 1.0, 3.0])

    def run(a):
        return js.minimize_info(quartic, js.Solve(name, x0=jnp.ones(3), rtol=1e-9), a)

    together = jax.jit(jax.vmap(run))(a)
    alone = [run(v) for v in a]
    assert together.converged.all()
    np.testing.assert_allclose(together.x, jnp.stack([i.x for i in alone]), atol=1e-7)
    if name == "L-BFGS-B":
        np.testing.assert_array_equal(together.iterations, [int(i.iterations) for i in alone])


def test_methods_that_hold_a_lock_run_their_lanes_one_after_the_other():
    def limit(c):
        return {"type": "ineq", "fun": lambda x: c - jnp.sum(x**2)}

    def run(c):
        return js.minimize(
            lambda x: jnp.sum((x - 2) ** 2), js.Solve("COBYQA", x0=jnp.zeros(2)), constraints=limit(c)
        )

    np.testing.assert_allclose(jax.jit(jax.vmap(run))(jnp.array([2.0, 0.5])), [[1, 1], [0.5, 0.5]], atol=1e-3)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["L-BFGS", "L-BFGS-B", "Nelder-Mead"])
def test_gradients_follow_from_the_minimum_alone(name):
    rtol = 1e-6 if name == "Nelder-Mead" else 1e-11

    def f(a):
        return js.minimize(quartic, js.Solve(name, x0=jnp.ones(3), rtol=rtol), a).sum()

    def exact(a):
        return js.minimize(quartic, js.Solve("Newton-CG", x0=jnp.ones(3), rtol=1e-13), a).sum()

    difference = (exact(1.3 + 1e-4) - exact(1.3 - 1e-4)) / 2e-4
    for derivative in (jax.grad(f)(1.3), jax.jvp(f, (1.3,), (1.0,))[1], jax.jit(jax.grad(f))(1.3)):
        np.testing.assert_allclose(derivative, difference, rtol=1e-4 if name == "Nelder-Mead" else 1e-6)


@pytest.mark.further
def test_second_derivatives_and_the_envelope():
    solve = js.Solve("L-BFGS", x0=jnp.ones(3), rtol=1e-12)

    def f(a):
        return js.minimize(quartic, solve, a).sum()

    difference = (jax.grad(f)(1.3 + 1e-4) - jax.grad(f)(1.3 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.hessian(f)(1.3), difference, rtol=1e-5)

    def value(a):
        return js.minimize_info(quartic, solve, a).objective

    np.testing.assert_allclose(
        jax.grad(value)(1.3), (value(1.3 + 1e-5) - value(1.3 - 1e-5)) / 2e-5, rtol=1e-6
    )


def test_bounds_hold_and_are_differentiated():
    def run(a, top):
        solve = js.Solve("L-BFGS-B", x0=jnp.zeros(3), rtol=1e-10)
        return js.minimize(lambda x: jnp.sum((x - a) ** 2 * (1 + x**2)), solve, bounds=(None, top))

    a = jnp.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(run(a, 1.5), [0.5, 1.0, 1.5], atol=1e-8)
    np.testing.assert_allclose(jax.jacrev(run)(a, 1.5), jnp.diag(jnp.array([1.0, 1.0, 0.0])), atol=1e-6)
    np.testing.assert_allclose(jax.jacfwd(run, 1)(a, 1.5), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(jax.jit(run)(a, 1.5), run(a, 1.5), atol=1e-8)


@pytest.mark.parametrize("kind", ["L-BFGS-B", "trust-constr"])
def test_bounds_are_reached_to_the_tolerance(kind):
    solve = js.Solve(kind, x0=jnp.zeros(2))
    info = js.minimize_info(lambda x: jnp.sum((x - jnp.array([2.0, 0.3])) ** 2), solve, bounds=(-1.0, 1.0))
    assert info.converged
    np.testing.assert_allclose(info.x, [1.0, 0.3], atol=1e-5)


@pytest.mark.further
def test_an_obstacle_holds_what_lies_on_it():
    n = 10
    h, x = 1 / (n + 1), jnp.arange(1, n + 1) / (n + 1) - 0.5
    dome = 0.2 - 2 * (x[:, None] ** 2 + x**2)

    def energy(u):
        # The 4-Laplacian under a load.
        p = jnp.pad(u, 1)
        slopes = (p[1:, :-1] - p[:-1, :-1]) ** 2 + (p[:-1, 1:] - p[:-1, :-1]) ** 2
        return h**2 * (jnp.sum((slopes / h**2 + 1e-4) ** 2) / 4 + jnp.sum(5 * u))

    u = js.minimize(energy, js.Solve("L-BFGS-B", x0=jnp.zeros((n, n)), rtol=1e-7), bounds=(dome, None))
    force = jax.jit(jax.grad(energy))(u)
    touching = u <= dome + 1e-9
    assert 0 < touching.sum() < n * n
    assert jnp.all(u >= dome)
    size = jnp.abs(force).max()
    assert jnp.all(force >= -1e-5 * size)
    assert jnp.all(jnp.where(touching, 0, jnp.abs(force)) <= 1e-5 * size)


@pytest.mark.parametrize("name", ["GD", "L-BFGS"])
def test_units_of_the_unknown_do_not_matter(name):
    def f(x, unit):
        return jnp.sum((x / unit - 1) ** 2 * (1 + (x / unit) ** 2))

    counts = set()
    for unit in (2.0**-66, 1.0, 2.0**66):
        info = js.minimize_info(f, js.Solve(name, x0=unit * jnp.array([2.0, 3.0])), unit)
        assert info.converged
        np.testing.assert_allclose(info.x / unit, 1, atol=1e-4)
        counts.add(int(info.iterations))
    assert len(counts) == 1


def test_a_kink_is_no_minimum_of_what_is_beside_it():
    def f(x):
        return 5 * jnp.abs(x[0] - 1) + (x[1] - 7) ** 2

    info = js.minimize_info(f, js.Solve("GD", x0=jnp.array([3.0, 0.0]), max_iterations=300))
    assert info.status is js.Status.stagnation
    assert info.residual_norm > 1


@pytest.mark.parametrize("kind", ["L-BFGS-B", "TNC", "trust-ncg", "Powell", "COBYQA"])
def test_no_more_iterations_than_allowed(kind):
    def run(limit, x0=START):
        return js.minimize_info(rosenbrock, js.Solve(js.SciPyMinimize(kind), x0=x0, max_iterations=limit))

    assert run(0).iterations == 0
    np.testing.assert_array_equal(run(0).x, START)
    assert run(2).status is js.Status.max_iterations
    assert run(2).iterations <= 2
    if kind == "trust-ncg":
        # It goes on for ever from where nothing is to be gained.
        assert run(50, jnp.ones(2)).iterations == 0


# SciPy's approximation of a Hessian that is zero.
@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")
@pytest.mark.parametrize("kind", ["SLSQP", pytest.param("trust-constr", marks=pytest.mark.slow)])
def test_constraints_hold(kind):
    limits = [
        {"type": "ineq", "fun": lambda x: 2 - jnp.sum(x**2)},
        scipy.optimize.LinearConstraint(np.array([[1.0, -1.0]]), 0, 0),
    ]
    x = js.minimize(lambda x: jnp.sum((x - 2) ** 2), js.Solve(kind, x0=jnp.zeros(2)), constraints=limits)
    np.testing.assert_allclose(x, 1, atol=3e-3)


def on_the_disc(a, radius=1.5, kind="SLSQP", rtol=1e-5):
    disc = {"type": "ineq", "fun": lambda x: radius**2 - jnp.sum(x**2)}
    solve = js.Solve(kind, x0=jnp.full(2, 0.1), rtol=rtol)
    return js.minimize_info(lambda x: jnp.sum((x - a) ** 2), solve, constraints=disc)


@pytest.mark.further
@pytest.mark.parametrize(
    "kind",
    ["SLSQP", "COBYQA", *(pytest.param(k, marks=pytest.mark.slow) for k in ("trust-constr", "COBYLA"))],
)
def test_gradients_follow_what_holds_the_minimum(kind):
    outside, inside = jnp.array([3.0, 4.0]), jnp.array([0.3, 0.4])
    nearest = lambda a, r: r * a / jnp.linalg.norm(a)  # noqa: E731
    slopes = jax.jit(jax.vmap(jax.jacrev(lambda a: on_the_disc(a, kind=kind).x)))(
        jnp.stack([outside, inside])
    )
    np.testing.assert_allclose(slopes[0], jax.jacobian(nearest)(outside, 1.5), atol=1e-4)
    np.testing.assert_allclose(slopes[1], np.eye(2), atol=1e-4)
    along = jax.jacfwd(lambda r: on_the_disc(outside, r, kind).x)(1.5)
    np.testing.assert_allclose(along, [0.6, 0.8], atol=1e-4)
    value = jax.grad(lambda a, r: on_the_disc(a, r, kind).objective, (0, 1))(outside, 1.5)
    np.testing.assert_allclose(value[0], [4.2, 5.6], rtol=1e-4)
    np.testing.assert_allclose(value[1], -7, rtol=1e-4)


@pytest.mark.further
def test_second_derivatives_on_a_curved_constraint():
    a = jnp.array([3.0, 4.0])
    found = jax.hessian(lambda a: on_the_disc(a, rtol=1e-8).x[0])(a)
    np.testing.assert_allclose(found, jax.hessian(lambda a: 1.5 * a[0] / jnp.linalg.norm(a))(a), atol=1e-6)


@pytest.mark.further
def test_equations_inequalities_and_bounds_together():
    random = np.random.default_rng(37)
    Q = random.standard_normal((6, 6))
    Q, q = jnp.asarray(Q @ Q.T + np.eye(6)), jnp.asarray(random.standard_normal(6))

    def program(q, total, low):
        limits = [
            {"type": "eq", "fun": lambda x: x.sum() - total},
            scipy.optimize.NonlinearConstraint(lambda x: total * jnp.sum(x**2), -np.inf, 0.22),
        ]
        solve = js.Solve("SLSQP", x0=jnp.full(6, 0.2), rtol=1e-9)
        return js.minimize(lambda x: x @ Q @ x / 2 - q @ x, solve, bounds=(low, None), constraints=limits)

    x = program(q, 1.0, 0.08)
    np.testing.assert_allclose(x.min(), 0.08)
    assert jnp.sum(x**2) > 0.2199
    slopes = jax.jit(jax.jacrev(program, (0, 1, 2)))(q, 1.0, 0.08)
    h = 1e-4
    by_q = jnp.stack([(program(q + h * e, 1.0, 0.08) - program(q - h * e, 1.0, 0.08)) for e in jnp.eye(6)], 1)
    by_total = program(q, 1.0 + h, 0.08) - program(q, 1.0 - h, 0.08)
    by_low = program(q, 1.0, 0.08 + h) - program(q, 1.0, 0.08 - h)
    for slope, difference in zip(slopes, (by_q, by_total, by_low), strict=True):
        assert jnp.abs(slope).max() > 0.01
        np.testing.assert_allclose(slope, difference / (2 * h), atol=1e-4)


@pytest.mark.further
def test_no_gradient_where_a_constraint_touches_and_does_not_press():
    touching = jnp.array([0.9, 1.2])
    x = lambda a: on_the_disc(a, rtol=1e-8).x  # noqa: E731
    assert jnp.isnan(jax.jacrev(x)(touching)).all()
    assert jnp.isnan(jax.jit(jax.jacfwd(x))(touching)).all()

    def thrown(a):
        disc = {"type": "ineq", "fun": lambda x: 2.25 - jnp.sum(x**2)}
        solve = js.Solve("SLSQP", x0=jnp.full(2, 0.1), rtol=1e-8)
        return js.minimize(lambda x: jnp.sum((x - a) ** 2), solve, constraints=disc)

    for slope in (jax.jacrev(thrown), js.jit(jax.jacfwd(thrown))):
        with pytest.raises(ValueError, match="does not press"):
            slope(touching)


def test_the_minimum_moves_with_the_bound_that_holds_it():
    def least(a, top):
        solve = js.Solve("L-BFGS-B", x0=jnp.zeros(2), rtol=1e-8)
        return js.minimize_info(lambda x: jnp.sum((x - a) ** 2), solve, bounds=(None, top)).objective

    by_a, by_top = jax.grad(least, (0, 1))(jnp.array([3.0, 4.0]), 3.5)
    np.testing.assert_allclose(by_a, [0, 1], atol=1e-6)
    np.testing.assert_allclose(by_top, -1, rtol=1e-6)


def test_what_scipy_raises_arrives_with_its_words():
    broken = js.SciPyMinimize("trust-ncg", options={"initial_trust_radius": -1.0})
    with pytest.raises(ValueError, match="trust radius"):
        js.minimize(rosenbrock, js.Solve(broken, x0=START))
    compiled = js.jit(lambda x0: js.minimize(rosenbrock, js.Solve(broken, x0=x0)))
    with pytest.raises(js.NotConverged, match=r"ValueError.*trust radius") as caught:
        compiled(START)
    assert caught.value.result.status is js.Status.host_failure
    info = jax.jit(jax.vmap(lambda x0: js.minimize_info(rosenbrock, js.Solve(broken, x0=x0))))(
        jnp.stack([START] * 2)
    )
    assert not info.converged.any()


def test_arrays_among_options_compile_too():
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    method = js.SciPyMinimize("Nelder-Mead", options={"initial_simplex": corners})
    info = jax.jit(lambda x0: js.minimize_info(rosenbrock, js.Solve(method, x0=x0)))(START)
    assert info.converged
    np.testing.assert_allclose(info.x, 1, atol=1e-4)


def test_what_the_function_raises_is_raised():
    def broken(x):
        raise KeyError("no such material")

    with pytest.raises(KeyError, match="no such material"):
        js.minimize(broken, js.Solve("BFGS", x0=START))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["L-BFGS", "BFGS"])
def test_a_solve_that_fails_inside_of_the_function_keeps_its_class(name):
    def loss(k):
        return jnp.sum(
            js.solve_linear(lambda x: k * x, jnp.ones(3), js.Solve("CG", rtol=0.0, max_iterations=0))
        )

    with pytest.raises(js.NotConverged, match="CG did not converge"):
        js.minimize(loss, js.Solve(name, x0=2.0))


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["L-BFGS", "GD", "Newton-CG", "L-BFGS-B", "trust-ncg"])
def test_no_minimum_is_no_solution(name):
    solve = js.Solve(name, x0=jnp.ones(2), max_iterations=60)
    with pytest.raises(js.ConvergenceException, match=r"diverge|not converge"):
        js.minimize(lambda x: -jnp.sum(x**3), solve)
    with pytest.raises(js.Diverged, match="invalid_input"):
        js.minimize(lambda x: jnp.sum(x**2) * jnp.nan, solve)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["L-BFGS", pytest.param("L-BFGS-B", marks=pytest.mark.slow)])
def test_functions_written_anew_that_solve_are_compiled_once(name, compilations):
    measured, other = jnp.ones(6), jnp.linspace(0.5, 1.0, 6)

    def run(data):
        def solution(m, source):
            return js.solve_linear(lambda u: (2 + jnp.exp(m)) * u - jnp.roll(u, 1), source, js.Solve("GMres"))

        def misfit(m):
            return jnp.sum((solution(m, jnp.ones(6)) - data) ** 2)

        return js.minimize(misfit, js.Solve(name, x0=jnp.zeros(6), rtol=1e-2))

    run(measured)
    with compilations() as names:
        run(other)
    assert names == []


def test_the_name_of_the_linear_method_means_the_minimiser_here():
    for name in ("CG", "scipy-CG"):
        info = js.minimize_info(rosenbrock, js.Solve(name, x0=START))
        assert info.converged
        assert info.method == "scipy-CG"


@pytest.mark.further
def test_a_tape_hears_minimisations():
    solve = js.Solve("L-BFGS", x0=START)
    with js.SolveTape(record_trajectories=True) as solves:
        js.minimize(rosenbrock, solve)
        js.minimize(rosenbrock, js.Solve("BFGS", x0=START))
    assert [info.method for info in solves] == ["L-BFGS", "BFGS"]
    assert solves[solve].trajectory.x.shape[1:] == (2,)
    path, info = solves[1].trajectory, solves[1]
    assert path.x.shape == (int(info.iterations) + 1, 2)
    np.testing.assert_array_equal(path.x[0], START)
    np.testing.assert_allclose(path.residual_norm[-1], info.residual_norm)


@pytest.mark.further
def test_trajectories_of_scipy_are_the_same_compiled_lane_by_lane():
    def run(x0):
        return js.minimize(rosenbrock, js.Solve("L-BFGS-B", x0=x0))

    def recorded(call, *args):
        with js.SolveTape(record_trajectories=True) as solves:
            jax.block_until_ready(call(*args))
        (info,) = solves
        return info.trajectory

    alone = recorded(run, START)
    compiled = recorded(jax.jit(run), START)
    lanes = recorded(jax.jit(jax.vmap(run)), jnp.stack([0.9 * jnp.ones(2), START]))
    assert lanes.iterations[0, -1] == -1
    assert np.isnan(lanes.residual_norm[0, -1])
    for path in (compiled, jax.tree.map(lambda v: v[1], lanes)):
        np.testing.assert_array_equal(path.iterations, alone.iterations)
        np.testing.assert_allclose(path.x, alone.x, rtol=1e-6)
        np.testing.assert_allclose(path.residual_norm, alone.residual_norm, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: js.minimize(rosenbrock, js.Solve("L-BFGS")), ValueError, "first guess"),
        (lambda: js.minimize(lambda x: x, js.Solve(x0=START)), ValueError, "needs one number"),
        (lambda: js.minimize(rosenbrock, js.Solve("GMres", x0=START)), ValueError, "solves linear systems"),
        (lambda: js.minimize(rosenbrock, js.Solve("newton", x0=START)), ValueError, "is for solve_nonlinear"),
        (lambda: js.minimize(rosenbrock, js.Solve("L-BFGS", x0=START), bounds=(0, 1)), ValueError, "takes no bounds"),
        (lambda: js.minimize(rosenbrock, js.Solve("BFGS", x0=START), constraints=DISC), ValueError, "no constraints"),
        (lambda: js.minimize(rosenbrock, js.Solve(x0=START), bounds=3), TypeError, "pair"),
        (lambda: js.minimize(rosenbrock, js.Solve(x0=START), bounds=(1, -1)), ValueError, "above the upper"),
        (lambda: js.minimize(rosenbrock, js.Solve(x0=START + 0j)), TypeError, "take its real part"),
        (lambda: js.minimize(lambda z: abs(z), js.Solve(x0=1j), bounds=(0, 1)), TypeError, "bounds are an order"),
        (lambda: js.minimize(rosenbrock, js.Solve(x0=START), constraints={"fun": jnp.sum}), ValueError, "'type'"),
        (lambda: js.SciPyMinimize("BFGGS"), ValueError, "known kinds"),
    ],
)  # fmt: skip
def test_malformed_input_is_refused_in_words(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.slow
def test_scales_of_fields_are_no_noise():
    b = jnp.asarray(np.random.default_rng(7).standard_normal((24, 24)))
    X, Y = jnp.meshgrid(*[jnp.linspace(0, 1, 24)] * 2)
    zero = jnp.zeros((24, 24))

    def energy(u, logarithm=0.0):
        k, p = jnp.exp(logarithm * jnp.sin(5 * X) * jnp.cos(4 * Y)), jnp.pad(u, 1)
        across = jnp.sum(k * jnp.diff(p, axis=0)[:-1, 1:-1] ** 2)
        along = jnp.sum(k * jnp.diff(p, axis=1)[1:-1, :-1] ** 2)
        return (across + along) / 2 + jnp.sum(k * u**2) / 100 - jnp.sum(b * u) + 200

    def searched(f, x0):
        info = js.minimize_info(f, js.Solve("L-BFGS", x0=x0, rtol=1e-4))
        assert info.converged
        return info

    # Two fields in one unit, and the second in millionths of it: each array has its own.
    same = searched(lambda u: energy(u[0]) + energy(u[1]), (zero, zero))
    other = searched(lambda u: energy(u[0]) + energy(1e6 * u[1]), (zero, zero))
    assert int(other.iterations) < 2.5 * int(same.iterations)
    np.testing.assert_allclose(other.x[1] * 1e6, same.x[1], atol=1e-2 * float(jnp.abs(same.x[1]).max()))
    # Where the curvature does differ, by a factor of 3000, scales are what makes the search end.
    searched(lambda u: energy(u, 4.0), zero)
