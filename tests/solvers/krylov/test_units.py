"""The units of A and b play no part: powers of two change nothing but the exponent."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.gallery import problems
from tests.solvers.krylov.systems import METHODS, SIZE, fitting, solve


@pytest.mark.few(6)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_powers_of_two_come_out_exactly(name, dtype):
    b = problems.random(SIZE, seed=5150, dtype=dtype)
    A = next(iter(fitting(name, SIZE, dtype).values()))
    expected = solve(METHODS[name], A, b, rtol=1e-5)
    # 2^±60 squared would leave the range of float32.
    for of_A, of_b in ((0, 60), (0, -60), (60, 0), (-60, 0), (-30, 30)):
        scaled = solve(METHODS[name], A * dtype(2.0**of_A), b * dtype(2.0**of_b), rtol=1e-5)
        assert scaled.iterations == expected.iterations
        assert scaled.status == expected.status
        assert jnp.array_equal(scaled.x, expected.x * dtype(2.0 ** (of_b - of_A)))
