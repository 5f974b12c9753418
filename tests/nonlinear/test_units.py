"""Units of single parameters: no method's answer depends on them, and none calls converged what they only hide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.nonlinear.nonlinear_problem import state
from jaxsolve.nonlinear.parameter_units import curvature_sizes
from jaxsolve.solvers.nonlinear_methods import FIT, MINIMUM
from jaxsolve.solvers.nonlinear_registry import NONLINEAR

T = jnp.linspace(0.0, 1.0, 30)
UNITS = (1e-6, 1e6)
FITS = [name for name, make in NONLINEAR.items() if FIT in make().solves]
MINIMA = [name for name, make in NONLINEAR.items() if MINIMUM in make().solves]
#: Cheap to compile, and one of each kind of stopping.
FEW = ("L-BFGS", "Newton-CG", "L-BFGS-B", "COBYLA")
minima = pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in MINIMA]
)


def line(k, unit, data=1 + 2 * T):
    return k[0] + unit * k[1] * T - data


@pytest.mark.few(2)
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("unit", UNITS)
def test_fits_find_every_parameter_whatever_its_unit(name, unit):
    info = js.least_squares_info(line, js.Solve(name, x0=jnp.zeros(2)), unit)
    assert info.converged
    assert info.residual_norm <= info.target
    np.testing.assert_allclose(info.x * jnp.array([1, unit]), [1, 2], rtol=1e-4)


@pytest.mark.few(2)
@minima
@pytest.mark.parametrize("unit", UNITS)
def test_minima_are_found_in_every_parameter_whatever_its_unit(name, unit):
    def f(k, unit):
        return jnp.sum(line(k, unit) ** 2)

    info = js.minimize_info(f, js.Solve(name, x0=jnp.zeros(2)), unit)
    assert info.converged
    np.testing.assert_allclose(info.x * jnp.array([1, unit]), [1, 2], rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["levenberg-marquardt", pytest.param("gauss-newton", marks=pytest.mark.slow)]
)
def test_the_steps_of_a_fit_do_not_depend_on_units(name):
    data = 2.5 * jnp.exp(-1.3 * T) + 0.05 * jnp.sin(17 * T)

    def run(units):
        def residual(k):
            a, rate = k * units
            return a * jnp.exp(-rate * T) - data

        return js.least_squares_info(residual, js.Solve(name, x0=jnp.ones(2) / units))

    plain, other = run(jnp.ones(2)), run(jnp.array([2.0**-30, 2.0**20]))
    assert plain.iterations == other.iterations
    np.testing.assert_allclose(other.x * jnp.array([2.0**-30, 2.0**20]), plain.x, rtol=1e-9)


@pytest.mark.parametrize(
    "name",
    ["levenberg-marquardt", "trf", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dogbox", "lm"))],
)
def test_a_fit_ends_where_no_column_tells_of_the_residual(name):
    # A quadratic in the year: the columns are nearly dependent, and none shows by itself what is left.
    year = jnp.arange(1950.0, 2021.0)
    data = 14 + 0.02 * (year - 1985) + 3e-4 * (year - 1985) ** 2 + 0.1 * jnp.sin(year)

    def residual(k):
        return k[0] + k[1] * year + k[2] * year**2 - data

    info = js.least_squares_info(residual, js.Solve(name, x0=jnp.zeros(3)))
    columns = np.stack([np.ones(71), np.asarray(year) - 1985, (np.asarray(year) - 1985) ** 2], 1)
    best = np.asarray(data) - columns @ np.linalg.lstsq(columns, np.asarray(data))[0]
    assert info.converged
    np.testing.assert_allclose(np.linalg.norm(residual(info.x)), np.linalg.norm(best), rtol=1e-6)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["auto", "trf"])
def test_a_residual_that_starts_huge_is_no_excuse(name):
    # Beside exp(20) what is left after the first steps is small, and far from the least.
    def residual(k):
        return jnp.exp(k * T) - jnp.exp(0.5 * T) - 0.1 * jnp.cos(5 * T)

    info = js.least_squares_info(residual, js.Solve(name, x0=jnp.array(20.0)))
    r, J = residual(info.x), jax.jacfwd(residual)(info.x)
    assert info.converged
    assert abs(J @ r) <= 1e-5 * jnp.linalg.norm(J) * jnp.linalg.norm(r) * (1 + 1e-6)


@pytest.mark.parametrize(
    "bounds", [(None, (0.5, None)), pytest.param((None, (None, 1.5)), marks=pytest.mark.slow)]
)
def test_bounds_hold_in_every_unit(bounds):
    unit = 1e-6
    upper = jnp.array([jnp.inf if side is None else side for side in bounds[1]])
    exact = js.least_squares(line, js.Solve("trf", x0=jnp.zeros(2), rtol=1e-9), 1.0, bounds=(None, upper))
    scale = jnp.array([1, unit])
    for name in ("trf", "dogbox"):
        found = js.least_squares(line, js.Solve(name, x0=jnp.zeros(2)), unit, bounds=(None, upper / scale))
        np.testing.assert_allclose(found * scale, exact, rtol=1e-3)

    def f(k):
        return jnp.sum(line(k, unit) ** 2)

    found = js.minimize(f, js.Solve("L-BFGS-B", x0=jnp.zeros(2)), bounds=(None, upper / scale))
    np.testing.assert_allclose(found * scale, exact, rtol=1e-3)


def test_a_gradient_that_is_small_in_the_units_of_the_start_alone_is_not_enough():
    # Where the search starts the second unknown does not show: its unit is known at the end only.
    def f(x):
        return (x[0] - 1) ** 2 + x[0] ** 2 * (1e-6 * x[1] - 2) ** 2 * 1e-2

    info = js.minimize_info(f, js.Solve("L-BFGS", x0=jnp.zeros(2)))
    assert info.converged
    np.testing.assert_allclose(info.x * jnp.array([1, 1e-6]), [1, 2], rtol=1e-2)


@pytest.mark.further
@pytest.mark.parametrize("n", [pytest.param(3, marks=pytest.mark.slow), 200])
def test_sizes_follow_the_units(n):
    units = 10.0 ** jnp.linspace(-6, 6, n)

    def f(x):
        z = x * units
        return jnp.sum(z**2) + jnp.sum(z[1:] * z[:-1]) / 2 + jnp.sum(jnp.cos(z))

    statement, given, x = state(MINIMUM, f, jnp.ones(n) / units, None, (), {})
    sizes = curvature_sizes(statement, given, x, *statement.gradient(given, x), jnp.ones(n))
    alike = sizes / units
    assert jnp.max(alike) <= 40 * jnp.min(alike)


def test_functions_that_have_no_second_derivative_are_minimised():
    @jax.custom_vjp
    def square(x):
        return x**2

    def back(x, ct):
        slope = jax.pure_callback(lambda x: 2 * np.asarray(x), x, x)
        return (slope * ct,)

    square.defvjp(lambda x: (x**2, x), back)
    info = js.minimize_info(lambda x: jnp.sum(square(x - 2)), js.Solve("L-BFGS", x0=jnp.zeros(2)))
    assert info.converged
    np.testing.assert_allclose(info.x, 2, atol=1e-4)
