"""PARDISO: what it is told of symmetric and definite matrices, and what it then gives."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.solvers.host import pardiso
from jaxsolve.solvers.host.pardiso import Pardiso

pytestmark = pytest.mark.skipif(pardiso._library() is None, reason="needs mkl")


def hermitian(dtype, shift=0.0, n=90):
    rng = np.random.default_rng(6)
    B = sps.random_array((n, n), density=6 / n, rng=rng)
    if np.issubdtype(dtype, np.complexfloating):
        B = B + 1j * sps.random_array((n, n), density=6 / n, rng=rng)
    return sps.csr_array(B @ B.conj().T + (0.1 - shift) * sps.eye_array(n)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize(
    ("shift", "definite", "taken"),
    [
        (0, True, "L Lᴴ"),
        (0, False, "L D Lᴴ"),
        (2, True, "L D Lᴴ"),
        (2, False, "L D Lᴴ"),
        (None, True, "dissection, m"),
    ],
)
def test_the_kind_follows_the_matrix_and_every_form_is_right(dtype, shift, definite, taken):
    A: Any = hermitian(dtype, shift or 0)
    if shift is None:
        A = sps.csr_array(A + sps.eye_array(A.shape[0], k=1))
    S, dense = js.SparseMatrix.from_scipy(A), A.toarray()
    factor = Pardiso(S.pattern, definite).factor(np.asarray(S.data))
    assert factor.status is js.Status.converged
    assert taken in factor.description
    rng = np.random.default_rng(8)
    b = rng.standard_normal((len(dense), 2)).astype(dtype)
    if np.iscomplexobj(b):
        b += 1j * rng.standard_normal(b.shape)
    for form, matrix in (("N", dense), ("T", dense.T), ("H", dense.conj().T)):
        np.testing.assert_allclose(factor.solve(b, form), np.linalg.solve(matrix, b), rtol=1e-9, atol=1e-9)


def test_singular_symmetric_matrices_are_told():
    A = hermitian(float).toarray()
    A[-1] = A[-2]
    A[:, -1] = A[:, -2]
    S = js.SparseMatrix.from_scipy(sps.csr_array(A))
    assert np.linalg.matrix_rank(A) < 90
    assert Pardiso(S.pattern).factor(np.asarray(S.data)).status is js.Status.singular
