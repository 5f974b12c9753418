"""f(x) = y and x = g(x): solutions, tolerances, gradients of any order, batches, failures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.test_util import check_grads

import jaxsolve as js
from jaxsolve.nonlinear.elimination import Elimination
from jaxsolve.nonlinear.linearisation import linearised
from jaxsolve.nonlinear.nonlinear_problem import state
from jaxsolve.solvers.direct.banded import Banded
from jaxsolve.solvers.direct.dense_factors import LU
from jaxsolve.solvers.nonlinear_methods import MINIMUM, ROOT

Y = jnp.linspace(0.2, 1.0, 5)
METHODS = ("newton", "pseudo-transient", "levenberg-marquardt", "broyden", "anderson", "picard")
INNER = {
    "dense": js.Newton(),
    "matrix-free": js.Newton(js.Solve("GMres", rtol=1e-10)),
    "sparse": js.Newton(js.Solve("GMres", preconditioner="ilu", rtol=1e-10)),
    "direct": js.Newton(js.Solve("sparse-direct", rtol=1e-10)),
}


def cubic(x, a):
    return a * x**3 + x + 0.1 * jnp.roll(x, 1)


def bratu(u, strength):
    p = jnp.pad(u, 1)
    h = 1 / (len(u) + 1)
    return (4 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]) / h**2 - strength * jnp.exp(u)


def roots(a, method="newton"):
    return js.solve_nonlinear(cubic, Y, js.Solve(method, rtol=1e-11), a)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_reaches_the_tolerance_of_the_residual(name):
    info = js.solve_nonlinear_info(cubic, Y, js.Solve(name, rtol=1e-10), 0.3)
    assert info.converged
    assert info.method == name
    np.testing.assert_allclose(info.residual, Y - cubic(info.x, 0.3), atol=1e-14)
    assert np.linalg.norm(info.residual) <= info.target <= 1e-10 * np.linalg.norm(Y) * (1 + 1e-6)
    expected = scipy.optimize.root(lambda x: np.asarray(cubic(x, 0.3) - Y), np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(info.x, expected, atol=1e-8)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("name", INNER)
def test_the_inner_solve_is_any_linear_one(name):
    def f(strength):
        return js.solve_nonlinear(bratu, jnp.zeros((8, 8)), js.Solve(INNER[name], rtol=1e-10), strength)

    u = f(5.0)
    np.testing.assert_allclose(bratu(u, 5.0), 0, atol=1e-7)

    def peak(strength):
        return f(strength).max()

    slope = (peak(5.0 + 1e-4) - peak(5.0 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.grad(peak)(5.0), slope, rtol=1e-6)


def test_a_preconditioner_of_the_request_is_that_of_the_inner_solves():
    info = js.solve_nonlinear_info(
        bratu, jnp.zeros((8, 8)), js.Solve(preconditioner="jacobi", rtol=1e-9), 5.0
    )
    assert info.converged
    assert info.iterations <= 6


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_those_of_the_solution_whatever_found_it(name):
    def f(a):
        return roots(a, name).sum()

    difference = (f(0.3 + 1e-4) - f(0.3 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.grad(f)(0.3), difference, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(f, (0.3,), (1.0,))[1], difference, rtol=1e-6)


@pytest.mark.slow
def test_second_derivatives_by_every_order_of_modes():
    def f(a):
        return (roots(a) ** 2).sum()

    difference = (jax.grad(f)(0.3 + 1e-4) - jax.grad(f)(0.3 - 1e-4)) / 2e-4
    for second in (
        jax.hessian(f),
        jax.jacrev(jax.jacrev(f)),
        jax.jacrev(jax.jacfwd(f)),
        jax.jacfwd(jax.jacfwd(f)),
        jax.jit(jax.hessian(f)),
    ):
        np.testing.assert_allclose(second(0.3), difference, rtol=1e-6)


@pytest.mark.further
def test_gradients_reach_y_arguments_and_what_is_closed_over():
    def f(y, a, b, c):
        solve = js.Solve("newton", rtol=1e-11)
        return js.solve_nonlinear(
            lambda x, a, b: a["k"] * x**3 + b * x + c * jnp.roll(x, 1), y, solve, a, b=b
        ).sum()

    given = (Y, {"k": 0.3}, 1.2, jnp.asarray(0.1))
    gradients = jax.grad(f, argnums=(0, 1, 2, 3))(*given)
    check_grads(jax.jit(f), given, order=1, modes=("fwd", "rev"), rtol=1e-5)
    # Of a solution x: f' dx = dy - (∂f/∂p) dp.
    x = js.solve_nonlinear(
        lambda x: 0.3 * x**3 + 1.2 * x + 0.1 * jnp.roll(x, 1), Y, js.Solve("newton", rtol=1e-12)
    )
    J = jax.jacfwd(lambda x: 0.3 * x**3 + 1.2 * x + 0.1 * jnp.roll(x, 1))(x)
    w = np.linalg.solve(J.T, np.ones(5))
    np.testing.assert_allclose(gradients[0], w, rtol=1e-9)
    np.testing.assert_allclose(gradients[1]["k"], -w @ x**3, rtol=1e-9)
    np.testing.assert_allclose(gradients[2], -w @ x, rtol=1e-9)
    np.testing.assert_allclose(gradients[3], -w @ np.roll(x, 1), rtol=1e-9)


@pytest.mark.further
def test_jit_and_vmap_give_the_same_and_lanes_stop_by_themselves():
    a = jnp.array([0.0, 0.3, 30.0])
    solve = js.Solve("newton", rtol=1e-10)

    def run(a):
        return js.solve_nonlinear_info(cubic, Y, solve, a)

    alone = [run(v) for v in a]
    together = jax.jit(jax.vmap(run))(a)
    np.testing.assert_array_equal(together.iterations, [int(i.iterations) for i in alone])
    np.testing.assert_allclose(together.x, jnp.stack([i.x for i in alone]), atol=1e-13)
    slope = jax.grad(lambda a: roots(a).sum())
    np.testing.assert_allclose(jax.jit(jax.vmap(slope))(a), [slope(v) for v in a], rtol=1e-9)


def test_pytrees_of_any_structure():
    def f(x):
        return {"p": x["u"] ** 2 + x["v"][0], "q": [x["v"][0] - 3 * x["u"]]}

    y = {"p": jnp.array([5.0, 7.0]), "q": [jnp.array([-2.0, -5.0])]}
    guess = {"u": jnp.ones(2), "v": [jnp.ones(2)]}
    with pytest.raises(ValueError, match="must have one structure"):
        js.solve_nonlinear(f, guess, js.Solve("newton"))
    x = js.solve_nonlinear(f, y, js.Solve("newton", x0=guess, rtol=1e-10))
    assert jax.tree.structure(x) == jax.tree.structure(guess)
    np.testing.assert_allclose(f(x)["p"], y["p"], rtol=1e-9)
    np.testing.assert_allclose(f(x)["q"][0], y["q"][0], rtol=1e-9)


@pytest.mark.further
@pytest.mark.few(2)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64, jnp.complex128])
def test_other_dtypes_stay_what_they_are(dtype):
    y = jnp.array([2 + 1j, -3 + 0.5j] if jnp.issubdtype(dtype, jnp.complexfloating) else [2, 3], dtype)
    for name in ("newton", "broyden"):
        x = js.solve_nonlinear(lambda x: x**3 + x, y, js.Solve(name, x0=jnp.ones(2, dtype)))
        assert x.dtype == dtype
        np.testing.assert_allclose(x**3 + x, y, rtol=1e-4)
    holomorphic = jnp.issubdtype(dtype, jnp.complexfloating)
    solve = js.Solve("newton", x0=jnp.ones(2, dtype))
    J = jax.jacrev(lambda y: js.solve_nonlinear(lambda x: x**3 + x, y, solve), holomorphic=holomorphic)(y)
    np.testing.assert_allclose(J, jnp.diag(1 / (3 * x**2 + 1)), rtol=1e-3)


def test_a_guess_that_solves_already_takes_no_iteration():
    x = roots(0.3)
    info = js.solve_nonlinear_info(cubic, Y, js.Solve("newton", x0=x), 0.3)
    assert info.converged
    assert info.iterations == 0


def test_at_the_rounding_level_the_tolerance_is_that_of_the_numbers():
    x = roots(0.3)
    info = js.solve_nonlinear_info(
        lambda x: cubic(x, 0.3) - Y, jnp.zeros(5), js.Solve("newton", x0=x, rtol=1e-9)
    )
    assert info.converged
    assert info.target < 1e-14


@pytest.mark.parametrize("name", ["newton", "broyden", "levenberg-marquardt"])
def test_beside_a_jump_there_is_no_solution(name):
    def f(x):
        return jnp.where(x < 1, x - 1.1, 10.0)

    for x0 in (0.0, float(np.nextafter(1, 0))):
        info = js.solve_nonlinear_info(f, 0.0, js.Solve(name, x0=x0, rtol=1e-8))
        assert info.status is js.Status.stagnation
        assert info.residual_norm > 0.09


def test_no_root_is_no_solution():
    with pytest.raises(js.NotConverged, match="newton did not converge") as caught:
        js.solve_nonlinear(lambda x: x**2 + 1, jnp.zeros(3), js.Solve("newton", x0=jnp.ones(3)))
    assert caught.value.result.method == "newton"
    assert not caught.value.result.converged
    with pytest.raises(js.NotConverged, match="newton did not converge"):
        js.jit(lambda y: js.solve_nonlinear(lambda x: x**2 + 1, y, js.Solve("newton", x0=jnp.ones(3))))(
            jnp.zeros(3)
        )
    suppressed = js.Solve("newton", x0=jnp.ones(3), suppress=js.NotConverged)
    assert jnp.isfinite(js.solve_nonlinear(lambda x: x**2 + 1, jnp.zeros(3), suppressed)).all()


def test_divergence_and_broken_input_have_their_class():
    with pytest.raises(js.Diverged, match="divergence"):
        js.solve_fixed_point(lambda x: 2 * x + 1, js.Solve("picard", x0=jnp.ones(2)))
    for broken in (jnp.nan, jnp.inf):
        with pytest.raises(js.Diverged, match="invalid_input"):
            js.solve_nonlinear(cubic, Y.at[0].set(broken), js.Solve("newton"), 0.3)


def test_the_iteration_limit_is_kept():
    info = js.solve_nonlinear_info(cubic, 1e6 * Y, js.Solve("newton", rtol=1e-12, max_iterations=2), 0.3)
    assert info.status is js.Status.max_iterations
    assert info.iterations == 2


@pytest.mark.further
def test_burgers_steady_layer_is_that_of_the_formula():
    nu, n = 0.05, 600
    x = jnp.linspace(-1.0, 1.0, n + 2)[1:-1]

    def burgers(u):
        p, h = jnp.pad(u, 1, constant_values=(1.0, -1.0)), 2 / (n + 1)
        return (p[2:] ** 2 - p[:-2] ** 2) / (4 * h) - nu * (p[2:] - 2 * u + p[:-2]) / h**2

    for name, most in (("newton", 10), ("pseudo-transient", 20)):
        info = js.solve_nonlinear_info(burgers, jnp.zeros(n), js.Solve(name, x0=-x, rtol=1e-9))
        assert info.converged
        assert info.iterations <= most
        np.testing.assert_allclose(info.x, -jnp.tanh(x / (2 * nu)), atol=3e-3)
    # Oscillations that the line search hardly gets out of.
    far = js.solve_nonlinear_info(burgers, jnp.zeros(n), js.Solve("pseudo-transient", x0=-5 * x, rtol=1e-9))
    assert far.converged
    np.testing.assert_allclose(far.x, info.x, atol=1e-6)


def test_time_steps_that_leap_are_taken_back():
    # From where exp is flat the first step, of the order of 1 / f', leads far beyond the root.
    info = js.solve_nonlinear_info(
        lambda x: jnp.exp(x) - 1, jnp.zeros(1), js.Solve("pseudo-transient", x0=jnp.array([-20.0]), rtol=1e-8)
    )
    assert info.converged
    np.testing.assert_allclose(info.x, 0, atol=1e-7)


@pytest.mark.further
@pytest.mark.parametrize(("size", "kind"), [(100, LU), (300, Banded)])
def test_a_narrow_band_of_more_than_a_few_unknowns_is_eliminated_as_one(size, kind):
    def chain(u):
        p = jnp.pad(u, 1)
        return 3 * u + jnp.exp(u) - p[:-2] - p[2:]

    A, solve = linearised(chain, jnp.zeros(size), None)
    assert isinstance(solve.method, kind)
    assert A.shape == (size, size)
    found = js.solve_nonlinear(chain, jnp.ones(size), js.Solve("newton", rtol=1e-8))
    np.testing.assert_allclose(chain(found), 1, atol=1e-6)


I, J = np.arange(149), np.arange(1, 150)
LABELS = jnp.asarray(np.repeat(np.arange(150), 2)[1:-1])


def path(x, a, i=I, j=J):
    d = a * (x[i] - x[j])
    return jnp.zeros(150).at[i].add(d).at[j].add(-d) + x + 0.1 * x**3


#: A path graph, written with constant indices in every way: NumPy and JAX arrays, arguments, tables, sums by label.
GATHERS = {
    "closed over": (path, ()),
    "arrays of JAX": (lambda x, a: path(x, a, jnp.asarray(I), jnp.asarray(J)), ()),
    "arguments": (path, (jnp.asarray(I), J)),
    "inside jit": (lambda x, a: jax.jit(path)(x, a), ()),
    "sums by label": (
        lambda x, a: (
            jax.ops.segment_sum(a * (x[:-1] - x[1:])[LABELS // 2 * 0 + np.arange(298) // 2]
                                * jnp.where(np.arange(298) % 2, -1, 1), LABELS, 150) + x + 0.1 * x**3
        ),
        (),
    ),
}  # fmt: skip


def entries(goal, f, x0, y, *args):
    """The number of entries of the derivative that is read inside of a compiled search."""
    statement, given, x = state(goal, f, x0, y, args, {})
    found = []

    def derivative(given, x):
        A, _ = linearised(lambda x: statement.condition(given, x), x, js.Solve("sparse-direct"))
        found.append(A.nnz)
        return A.as_matrix()

    np.testing.assert_allclose(
        jax.jit(derivative)(given, x), jax.jacfwd(lambda x: statement.condition(given, x))(x), atol=1e-8
    )
    return found[0]


@pytest.mark.parametrize("f", GATHERS.values(), ids=GATHERS)
def test_the_derivative_of_a_function_that_gathers_is_sparse(f):
    f, indices = f
    y = jnp.cos(jnp.arange(150.0))
    assert entries(ROOT, f, y, y, 1e4, *indices) == 3 * 150 - 2


def test_the_derivative_of_an_energy_of_elements_is_sparse():
    def energy(x):
        return (1e3 * (x[I] - x[J]) ** 2).sum() / 2 + (x**2 / 2 + x**4 / 4).sum()

    assert entries(MINIMUM, energy, jnp.cos(jnp.arange(150.0)), None) == 3 * 150 - 2


@pytest.mark.further
def test_a_function_that_gathers_is_solved_by_sparse_factors(compilations):
    y = jnp.cos(jnp.arange(150.0))
    solve = js.Solve(js.Newton(js.Solve("sparse-direct")), rtol=1e-10)

    def solved(y):
        # New arrays in every call, which are the same program.
        i, j = jnp.asarray(I), jnp.asarray(J)
        return js.solve_nonlinear_info(lambda x: path(x, 1e4, i, j), y, solve)

    with compilations() as programs:
        info = solved(y)
    assert "jit(_searched)" in programs
    assert info.converged
    assert info.function_evaluations < 20
    with compilations() as programs:
        np.testing.assert_allclose(path(solved(2 * y).x, 1e4), 2 * y, atol=1e-6)
    assert "jit(_searched)" not in programs
    gradient = jax.grad(lambda y: solved(y).x.sum())(y)
    np.testing.assert_allclose(
        gradient, np.linalg.solve(jax.jacfwd(path)(info.x, 1e4).T, np.ones(150)), atol=1e-8
    )


def test_programs_with_other_indices_are_others():
    y = jnp.zeros(150)
    one, same, other = (
        state(ROOT, lambda x, i=i: path(x, 1.0, i), y, y, (), {})[0] for i in (I, I.copy(), np.roll(I, 1))
    )
    assert one == same
    assert hash(one.program) == hash(same.program)
    assert one != other


def test_damped_steps_solve_equations_from_afar():
    def f(x):
        return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    solve = js.Solve("levenberg-marquardt", x0=jnp.array([-1.2, 1.0]), rtol=1e-10)
    info = js.solve_nonlinear_info(f, jnp.zeros(2), solve)
    assert info.converged
    np.testing.assert_allclose(info.x, 1, atol=1e-9)


def schroedinger(u, a=1.0):
    """A nonlinear Schrödinger equation: its derivative is linear over the real numbers only."""
    return 3 * u + a * jnp.abs(u) ** 2 * u - 0.5 * (jnp.roll(u, 1) + jnp.roll(u, -1))


WAVE = jnp.array([1 + 1j, 2 - 1j, 0.5j, -1.0])


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [*METHODS, js.Newton(js.Solve("GMres", rtol=1e-10))])
def test_complex_equations_need_no_complex_derivative(name):
    def power(a, scale):
        solve = js.Solve(name, x0=0.1 * WAVE, rtol=1e-11)
        info = js.solve_nonlinear_info(schroedinger, scale * WAVE, solve, a)
        assert info.x.dtype == WAVE.dtype
        return jnp.sum(jnp.abs(info.x) ** 2), info

    if name in ("anderson", "picard"):
        # A contraction.
        slow = js.Solve(name, x0=0.1 * WAVE, rtol=1e-9)
        info = js.solve_fixed_point_info(lambda u: u + 0.2 * (WAVE - schroedinger(u)), slow)
    else:
        info = power(1.0, 1.0)[1]
        slope = jax.grad(lambda a, s: power(a, s)[0], (0, 1))(1.0, 1.0)
        h = 1e-5
        np.testing.assert_allclose(
            slope,
            [
                (power(1 + h, 1.0)[0] - power(1 - h, 1.0)[0]) / (2 * h),
                (power(1.0, 1 + h)[0] - power(1.0, 1 - h)[0]) / (2 * h),
            ],
            rtol=1e-7,
        )
    assert info.converged
    np.testing.assert_allclose(schroedinger(info.x), WAVE, atol=1e-8)
    if name == "newton":
        assert info.iterations <= 5


def test_real_and_complex_unknowns_together():
    def f(p):
        size = jnp.abs(p["u"]) ** 2
        return {"m": jnp.sum(size) - p["m"], "u": (2 + p["m"]) * p["u"] + size * p["u"]}

    y = {"m": jnp.array(0.5), "u": WAVE}
    with js.SolveTape(record_trajectories=True) as solves:
        x = js.solve_nonlinear(f, y, js.Solve("newton", rtol=1e-10))
    assert x["m"].dtype == jnp.float64
    np.testing.assert_allclose(f(x)["m"], 0.5, rtol=1e-9)
    np.testing.assert_allclose(f(x)["u"], WAVE, rtol=1e-9)
    np.testing.assert_array_equal(solves[0].trajectory.x["u"][-1], x["u"])
    with pytest.raises(ValueError, match="10 equations for 9 unknowns, real and imaginary parts"):
        js.solve_nonlinear(lambda p: {**f(p), "m": 1j * jnp.abs(p["u"]).sum()}, y, js.Solve("newton"))


@pytest.mark.further
def test_damped_steps_take_complex_unknowns_by_their_parts():
    solve = js.Solve("levenberg-marquardt", x0=jnp.ones(4), rtol=1e-10)
    x = js.solve_nonlinear(lambda x: x**3 + x, 4 * WAVE, solve)
    np.testing.assert_allclose(x**3 + x, 4 * WAVE, rtol=1e-8)


def test_elimination_solves_with_a_matrix_and_its_transpose_up_to_constants():
    rng = np.random.default_rng(12)
    A = rng.standard_normal((5, 5)) * 1e-30
    regular = Elimination.of(jnp.asarray(A), True)
    b = jnp.asarray(rng.standard_normal(5))
    np.testing.assert_allclose(regular.solve(b, 1e-8).x, np.linalg.solve(A, b), rtol=1e-9)
    np.testing.assert_allclose(regular.solve_transposed(b, 1e-8).x, np.linalg.solve(A.T, b), rtol=1e-9)
    neutral = A - A.mean(axis=1, keepdims=True)
    factors = Elimination.of(jnp.asarray(neutral), True)
    outcome = factors.solve(jnp.asarray(neutral) @ b, 1e-8)
    assert outcome.status == js.Status.converged
    np.testing.assert_allclose(outcome.x, b - b.mean(), rtol=1e-9)
    # w with x · c = w · (A x) for every x of mean zero.
    w = factors.solve_transposed(b, 1e-8).x
    np.testing.assert_allclose(neutral.T @ w, b - b.mean(), atol=1e-9)
    assert jnp.all(factors.solve_transposed(jnp.ones(5), 1e-8).x == 0)
    singular = Elimination.of(jnp.diag(jnp.array([1.0, 0.0])), True)
    assert singular.solve(jnp.ones(2), 1e-8).status != js.Status.converged


def test_an_eager_gradient_is_a_few_programs(compilations):
    def f(a):
        return js.solve_nonlinear(lambda x, a: x**3 + a * x + jnp.sin(x), Y, js.Solve("newton"), a).sum()

    with compilations() as names:
        jax.grad(f)(1.7)
    assert len(names) < 25


def test_a_failed_gradient_solve_raises():
    solve = js.Solve("newton", rtol=1e-10, gradient_solve=js.Solve("GMres", rtol=1e-14, max_iterations=1))
    with pytest.raises(js.NotConverged, match="adjoint solve of a gradient"):
        jax.grad(lambda a: js.solve_nonlinear(cubic, Y, solve, a).sum())(0.3)


@pytest.mark.further
def test_fixed_points():
    for name in ("anderson", "picard", "newton", "broyden", "auto"):

        def g(a, name=name):
            return js.solve_fixed_point(
                lambda z, a: jnp.cos(a * z), js.Solve(name, x0=jnp.ones(3), rtol=1e-11), a
            )

        x = g(0.9)
        np.testing.assert_allclose(x, jnp.cos(0.9 * x), atol=1e-10)
        s = jnp.sin(0.9 * x[0])
        np.testing.assert_allclose(jax.jacrev(g)(0.9), -x * s / (1 + 0.9 * s), rtol=1e-8)


def test_a_tape_hears_the_solve_and_its_trajectory():
    solve = js.Solve("newton", rtol=1e-10)
    with js.SolveTape(record_trajectories=True) as solves:
        js.solve_nonlinear(cubic, Y, solve, 0.3)
        jax.jit(lambda a: js.solve_nonlinear(cubic, Y, solve, a))(0.3).block_until_ready()
        jax.grad(lambda a: js.solve_nonlinear(cubic, Y, solve, a).sum())(0.3)
    assert [info.kind for info in solves] == ["solve", "solve", "solve", "adjoint"]
    trajectory = solves[solve].trajectory
    assert trajectory.x.shape == (len(trajectory), 5)
    assert trajectory.residual_norm[-1] <= solves[solve].target
    np.testing.assert_array_equal(solves[1].trajectory.iterations, solves[0].trajectory.iterations)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: js.solve_nonlinear(cubic, Y, js.Solve("GMres"), 0.3), ValueError, r"js.Newton\(linear="),
        (lambda: js.solve_nonlinear(cubic, Y, js.Solve("L-BFGS"), 0.3), ValueError, "is for minimize"),
        (lambda: js.solve_nonlinear(cubic, Y, "newton", 0.3), TypeError, "js.Solve"),
        (lambda: js.solve_nonlinear(lambda x: x[:2], Y), ValueError, "must have one structure"),
        (lambda: js.solve_nonlinear(cubic, Y, js.Solve("picard", preconditioner="ilu"), 0.3), ValueError, "takes no"),
        (lambda: js.solve_fixed_point(jnp.cos, js.Solve("picard")), ValueError, "first guess"),
        (lambda: js.solve_nonlinear(cubic, "seven"), TypeError, "y must be an array"),
        (lambda: js.solve_linear(jnp.eye(3), jnp.ones(3), js.Solve("newton")), ValueError, "not for linear systems"),
        (lambda: js.Solve("newtn"), ValueError, "Did you mean 'newton'"),
    ],
)  # fmt: skip
def test_malformed_input_is_refused_in_words(call, error, text):
    with pytest.raises(error, match=text):
        call()
