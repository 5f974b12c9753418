"""Norms and inner products of vectors of any size and kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.vector import dot, norm, plain_norm, power_of_two, real_dot

REAL = [np.float32, np.float64]
ALL = [*REAL, np.complex64, np.complex128]


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e20, 1e30])
def test_float32_norms_neither_overflow_nor_underflow(dtype, size):
    v = np.array([3, 0, -4], dtype) * np.float32(size)
    assert float(norm(jnp.asarray(v))) == pytest.approx(5 * size, rel=1e-6)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_float64_norms_neither_overflow_nor_underflow(size):
    assert float(norm(jnp.array([3 * size, 4 * size]))) == pytest.approx(5 * size, rel=1e-14)


@pytest.mark.parametrize("dtype", ALL)
def test_norms_have_the_real_dtype_of_the_same_precision(dtype):
    v = jnp.ones(3, dtype)
    assert norm(v).dtype == plain_norm(v).dtype == real_dot(v, v).dtype == np.finfo(dtype).dtype


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("exponent", [-60, -1, 1, 60])
def test_a_norm_scales_exactly_with_powers_of_two(dtype, exponent, rng):
    v = jnp.asarray(rng.normal(size=17).astype(dtype))
    factor = np.finfo(dtype).dtype.type(2.0**exponent)
    assert norm(factor * v) == factor * norm(v)


def test_the_norm_of_nothing_and_of_zeros_is_zero():
    assert norm(jnp.zeros(0)) == 0
    assert norm(jnp.zeros(4, jnp.complex64)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_norm_of_what_is_not_finite_is_not_finite(bad):
    assert not np.isfinite(norm(jnp.array([1.0, bad, 2.0])))


def test_the_norm_of_subnormal_numbers_is_not_nan():
    # XLA flushes subnormal numbers to zero; either answer is one of a backend.
    assert np.isfinite(norm(jnp.full(3, 1e-40, jnp.float32)))


def test_the_norm_works_in_each_lane_of_a_vmap(rng):
    v = rng.normal(size=(4, 5)) * np.array([[1e-200], [0], [1], [1e200]])
    with np.errstate(over="ignore"):
        expected = [np.linalg.norm(row / max(abs(row).max(), 1e-300)) * abs(row).max() for row in v]
    np.testing.assert_allclose(jax.vmap(norm)(jnp.asarray(v)), expected, rtol=1e-14)


def test_the_inner_product_conjugates_its_first_factor():
    v, w = jnp.array([1 + 2j, 3j]), jnp.array([2 - 1j, 1 + 1j])
    assert dot(v, w) == pytest.approx(np.vdot(v, w))
    assert real_dot(v, w) == pytest.approx(np.vdot(v, w).real)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("magnitude", [1.0, 1.5, 2.0, 1e-30, 7e22, 0.999])
def test_a_power_of_two_is_the_one_just_below(dtype, magnitude):
    p = float(power_of_two(jnp.asarray(magnitude, dtype)))
    assert np.log2(p) == round(np.log2(p))
    assert p <= dtype(magnitude) < 2 * p


@pytest.mark.parametrize("magnitude", [0.0, np.nan, np.inf])
def test_nothing_usable_has_the_unit_one(magnitude):
    assert power_of_two(jnp.asarray(magnitude)) == 1


@pytest.mark.parametrize("dtype", REAL)
def test_a_power_of_two_and_its_inverse_are_normal_numbers(dtype):
    info = np.finfo(dtype)
    for magnitude in (info.tiny, info.max):
        p = power_of_two(jnp.asarray(magnitude, dtype))
        assert info.tiny <= p <= info.max
        assert info.tiny <= 1 / p <= info.max
