"""The inverse of coarse matrices, generalised where they are singular."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.preconditioners.coarse import generalised_inverse


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_a_coarse_inverse_is_the_inverse_or_the_generalised_one(hermitian, scale):
    line = 2 * np.eye(12) - np.eye(12, k=1) - np.eye(12, k=-1)
    ring = line - np.eye(12, k=11) - np.eye(12, k=-11)
    found = jax.vmap(lambda E: generalised_inverse(E, hermitian))(scale * jnp.asarray(np.stack([line, ring])))
    np.testing.assert_allclose(found[0], np.linalg.inv(line) / scale, rtol=1e-10)
    np.testing.assert_allclose(found[1], np.linalg.pinv(ring) / scale, rtol=1e-8, atol=1e-9 / scale)
    for E, inverse in zip((line, ring), found, strict=True):
        np.testing.assert_allclose(
            generalised_inverse(scale * jnp.asarray(E), hermitian), inverse, atol=1e-9 / scale
        )
