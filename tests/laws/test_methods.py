"""What all methods obey, eager: linear, free of units, honest, true to their dtype, compiled once.

One dense shape and one program a method serve most of the tests of this file, since compiling is what takes time.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import (
    SIZE,
    distance,
    every_family,
    every_method,
    made,
    matrix,
    relative_residual,
    system,
)

TIGHT = 1e-10


@functools.cache
def fitting(name):
    A, b = system(name)
    return jnp.asarray(A), jnp.asarray(b)


def solved(name, A, b, **options):
    return js.solve_linear_info(A, b, js.Solve(made(name), **{"rtol": TIGHT, **options}))


@pytest.mark.few(8)
@every_method
def test_a_fitting_system_is_solved_to_the_tolerance(name):
    A, b = fitting(name)
    info = solved(name, A, b)
    assert info.status is js.Status.converged
    assert relative_residual(A, info.x, b) <= 1.01 * TIGHT
    assert distance(info.x, np.linalg.solve(A, b)) < 1e-8
    np.testing.assert_allclose(info.residual, b - A @ info.x, atol=1e-14)
    assert 0 < int(info.iterations) <= 2 * SIZE
    assert int(info.function_evaluations) >= 1


@pytest.mark.few(12)
@every_method
def test_the_solution_is_linear_in_b(name):
    A, b = fitting(name)
    c = jnp.asarray(problems.random(SIZE, seed=99))
    parts = 2 * solved(name, A, b).x - 0.3 * solved(name, A, c).x
    assert distance(solved(name, A, 2 * b - 0.3 * c).x, parts) < 1e-8


@pytest.mark.few(24)
@every_method
@pytest.mark.parametrize("exponent", [-40, 50])
def test_the_answer_does_not_depend_on_the_units_of_b(name, exponent):
    A, b = fitting(name)
    unit = 2.0**exponent
    expected, info = solved(name, A, b), solved(name, A, unit * b)
    assert info.iterations == expected.iterations
    assert info.status is expected.status
    np.testing.assert_array_equal(info.x, unit * expected.x)


@pytest.mark.few(24)
@every_method
@pytest.mark.parametrize("exponent", [-40, 50])
def test_the_answer_does_not_depend_on_the_units_of_A(name, exponent):
    A, b = fitting(name)
    unit = 2.0**exponent
    expected, info = solved(name, A, b), solved(name, unit * A, b)
    assert info.iterations == expected.iterations
    assert info.status is expected.status
    np.testing.assert_array_equal(info.x, expected.x / unit)


@every_method
@pytest.mark.few(48)
# Tolerances are normal numbers here; below 2e-308 XLA may flush them to zero.
@pytest.mark.parametrize("size", [1e-290, 1e-150, 1e150, 1e290])
def test_right_hand_sides_near_the_ends_of_the_numbers_are_solved(name, size):
    A, b = fitting(name)
    info = solved(name, A, size * b)
    assert info.status is js.Status.converged
    assert distance(np.asarray(info.x) / size, solved(name, A, b).x) < 1e-8


@pytest.mark.few(12)
@every_method
def test_zeros_in_b_do_no_harm(name):
    A, b = fitting(name)
    sparse = b.at[::2].set(0)
    info = solved(name, A, sparse)
    assert info.status is js.Status.converged
    assert relative_residual(A, info.x, sparse) <= 1.01 * TIGHT
    balanced = b - b.mean()
    assert solved(name, A, balanced).status is js.Status.converged


@every_method
def test_zero_is_the_answer_to_zero_at_once(name):
    A, b = fitting(name)
    info = solved(name, A, 0 * b)
    assert info.status is js.Status.converged
    assert info.iterations == 0
    assert not np.any(info.x)


@every_method
def test_no_iterations_means_none(name):
    A, b = fitting(name)
    info = solved(name, A, b, max_iterations=0)
    assert info.status is js.Status.max_iterations
    assert info.iterations == 0
    assert not np.any(info.x)
    np.testing.assert_array_equal(info.residual, b)


@pytest.mark.few(12)
@every_method
def test_a_loose_tolerance_stops_earlier_and_keeps_its_promise(name):
    A, b = fitting(name)
    steps = []
    for rtol in (0.5, 1e-3, 1e-12):
        info = solved(name, A, b, rtol=rtol)
        assert relative_residual(A, info.x, b) <= 1.01 * rtol
        steps.append(int(info.iterations))
    assert steps == sorted(steps)


@pytest.mark.few(12)
@every_method
def test_an_absolute_tolerance_is_in_the_units_of_b(name):
    A, b = fitting(name)
    atol = 0.3 * float(jnp.linalg.norm(b))
    info = solved(name, A, b, atol=atol)
    assert info.status is js.Status.converged
    assert float(info.target) == pytest.approx(atol)
    assert np.linalg.norm(info.residual) <= 1.01 * atol
    assert solved(name, A, b, atol=4 * atol).iterations == 0


@pytest.mark.few(12)
@every_method
def test_the_whole_number_of_iterations_is_the_limit(name):
    A, b = fitting(name)
    full = int(solved(name, A, b).iterations)
    if full > 1:
        info = solved(name, A, b, max_iterations=1)
        assert info.status is js.Status.max_iterations
        assert info.iterations == made(name).stride
        np.testing.assert_allclose(info.residual, b - A @ info.x, atol=1e-13)


@pytest.mark.few(12)
@every_method
def test_whole_numbers_in_b_are_solved_in_floating_point(name):
    A, _ = fitting(name)
    b = np.arange(SIZE)
    info = solved(name, A, b)
    assert info.x.dtype == np.float64
    assert relative_residual(A, info.x, b) <= 1.01 * TIGHT


@pytest.mark.few(24)
@every_method
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_input_that_is_no_number_is_called_invalid(name, bad):
    A, b = fitting(name)
    for info in (solved(name, A, b.at[3].set(bad)), solved(name, A.at[3, 3].set(bad), b)):
        assert info.status is js.Status.invalid_input
        assert bool(info.diverged)
        assert info.iterations == 0


@every_method
def test_input_is_not_changed(name):
    A, b = system(name)
    kept = A.copy(), b.copy()
    A.flags.writeable = b.flags.writeable = False
    solved(name, A, b)
    np.testing.assert_array_equal(A, kept[0])
    np.testing.assert_array_equal(b, kept[1])


@pytest.mark.few(12)
@every_method
def test_new_numbers_compile_nothing(name, compilations):
    A, b = fitting(name)
    solved(name, A, b)
    with compilations() as seen:
        for k in range(1, 4):
            js.solve_linear_info(
                A * k, b / k, js.Solve(made(name), rtol=0.1**k, atol=1e-9 * k, max_iterations=100 * k)
            )
    # The multiplications of this test are programs of JAX's own.
    assert [name for name in seen if name not in ("jit(multiply)", "jit(true_divide)")] == []


@every_method
def test_no_singular_matrix_is_called_solved_unless_it_is(name):
    for kind in ("zero", "rank one", "nilpotent", "insulated"):
        A = problems.HARD[kind](SIZE)
        if name in ("tridiagonal", "banded") and kind == "rank one":
            continue
        inside, outside = A @ problems.random(SIZE, seed=3), problems.random(SIZE, seed=4)
        for b in (inside, outside):
            info = solved(name, A, b, rtol=1e-6)
            assert np.all(np.isfinite(info.x)), kind
            residual = np.linalg.norm(b - A @ np.asarray(info.x)) / (np.linalg.norm(b) or 1)
            assert bool(info.converged) == (residual <= 1.01e-6), (kind, info)
            assert info.status is not js.Status.invalid_input


@every_method
@settings(max_examples=12)
@given(data=st.data())
def test_converged_is_never_said_of_what_is_not_solved(name, data):
    kind = data.draw(st.sampled_from([*problems.HARD, "random", "symmetric", "triangular"]))
    seed = data.draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    G = rng.normal(size=(SIZE, SIZE))
    hard = {"random": G, "symmetric": G + G.T, "triangular": np.triu(G)}
    A = hard[kind] if kind in hard else problems.HARD[kind](SIZE)
    A = A * 10.0 ** data.draw(st.integers(-30, 30))
    if data.draw(st.booleans()):
        D = 10.0 ** rng.uniform(-4, 4, SIZE)
        A = D[:, None] * A
    if name in ("tridiagonal", "banded"):
        band = 1 if name == "tridiagonal" else 2
        A = np.triu(np.tril(A, band), -band)
    x = rng.normal(size=SIZE) * (rng.random(SIZE) < 0.7)
    b = A @ x if data.draw(st.booleans()) else rng.normal(size=SIZE) * 10.0 ** data.draw(st.integers(-30, 30))
    rtol = 10.0 ** -data.draw(st.integers(1, 12))
    info = solved(name, A, b, rtol=rtol)
    assert np.all(np.isfinite(info.x))
    if bool(info.converged):
        scale = np.abs(b).max() or 1
        # In double precision rounding may be all of it, where x is large.
        A, x = A.astype(np.longdouble), np.asarray(info.x, np.longdouble)
        residual = np.linalg.norm((b - A @ x) / scale)
        assert residual <= 1.01 * rtol * np.linalg.norm(b / scale), info
    assert int(info.iterations) <= 1000 + made(name).stride
    assert np.isfinite(info.residual_norm)


@pytest.mark.few(4)
@every_family
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_is_kept_and_solved(name, dtype):
    A, b = system(name, dtype=dtype)
    info = solved(name, A, b, rtol=1e-5)
    assert info.status is js.Status.converged
    assert info.x.dtype == info.residual.dtype == dtype
    assert info.residual_norm.dtype == np.float32
    assert relative_residual(A, info.x, b) <= 1.01e-5
    for size in (2.0**-60, 2.0**60):
        scaled = solved(name, A, (b * np.float32(size)).astype(dtype), rtol=1e-5)
        np.testing.assert_array_equal(scaled.x, info.x * np.float32(size))


@pytest.mark.few(3)
@every_family
def test_complex_systems_are_solved(name):
    A, b = system(name, dtype=np.complex128)
    info = solved(name, A, b)
    assert info.status is js.Status.converged
    assert info.x.dtype == np.complex128
    assert relative_residual(A, info.x, b) <= 1.01 * TIGHT
    turned = solved(name, A, 1j * b)
    np.testing.assert_allclose(turned.x, 1j * info.x, rtol=1e-7)


@every_family
def test_one_unknown_is_a_system_too(name):
    A = matrix(name, 1)
    info = solved(name, A, np.array([3.0]))
    assert info.status is js.Status.converged
    np.testing.assert_allclose(info.x, 3 / A[0])


@every_method
def test_no_unknown_is_a_system_too(name):
    info = solved(name, np.zeros((0, 0)), np.zeros(0))
    assert info.status is js.Status.converged
    assert info.x.shape == (0,)
    assert info.iterations == 0
