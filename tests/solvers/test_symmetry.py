"""The measure of asymmetry against the norms it estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.solvers.symmetry import asymmetry

measured = jax.jit(jax.vmap(lambda A, asked: asymmetry(DenseMatrix(A), asked)))


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_asymmetry_is_of_the_size_of_the_skew_part(rng, dtype):
    n = 60
    matrix = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    matrix = (matrix if dtype == np.complex128 else matrix.real).astype(dtype)
    adjoint = matrix.conj().T
    pile = np.stack([matrix + adjoint, matrix, matrix + adjoint + dtype(1e-3) * matrix, matrix])
    found = np.asarray(measured(jnp.asarray(pile), jnp.array([True, True, True, False])))
    true = [np.linalg.norm(A - A.conj().T) / np.linalg.norm(A) for A in pile]
    assert found[0] <= 20 * np.finfo(dtype).eps
    # One sample of a normal distribution around zero with this standard deviation.
    assert true[1] / 20 < found[1] < 4 * true[1]
    assert true[2] / 20 < found[2] < 4 * true[2]
    assert found[3] == 0
