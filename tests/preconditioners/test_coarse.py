"""The inverse of coarse matrices, generalised where they are singular."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.preconditioners.coarse_solve import generalised_inverse


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


PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jaxsolve.preconditioners.coarse_solve import generalised_inverse
E = np.random.default_rng(0).normal(size=(16, 200, 200)).astype(np.float32)
E = E @ E.transpose(0, 2, 1) + 10_000 * np.eye(200, dtype=np.float32)
for hermitian in (True, False):
    inverses = jax.jit(jax.vmap(lambda e: generalised_inverse(e, hermitian)))
    for k in range(5):
        np.asarray(inverses((k + 1) * E))
"""


@pytest.mark.further
def test_batches_of_inverses_do_not_wait_for_each_other():
    # With two threads, factorisations of a batch that start at once wait for ever.
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
