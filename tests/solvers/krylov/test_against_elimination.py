"""Each method against dense elimination: both precisions, real and complex, with and without a preconditioner."""

import numpy as np
import pytest

from jaxsolve.core.status import Status
from jaxsolve.operators.dense_matrix import DenseMatrix
from tests.gallery import problems
from tests.gallery.methods import distance, relative_residual
from tests.solvers.krylov.systems import METHODS, SIZE, every_kind, fitting, preconditioner, solve, status

RTOL = {np.float32: 1e-5, np.complex64: 1e-5, np.float64: 1e-11, np.complex128: 1e-11}


@pytest.mark.few(5)
@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_fitting_systems_are_solved(name, dtype):
    b = problems.random(SIZE, seed=5130, dtype=dtype)
    for kind, A in fitting(name, SIZE, dtype).items():
        outcome = solve(METHODS[name], A, b, rtol=RTOL[dtype])
        assert status(outcome) is Status.converged, kind
        assert outcome.x.dtype == dtype
        assert relative_residual(A, outcome.x, b) <= 1.01 * RTOL[dtype], kind
        assert distance(outcome.x, np.linalg.solve(A.astype(np.complex128), b)) < 30 * RTOL[dtype], kind


@pytest.mark.parametrize("name", ["minres", "IDR(4)", "GMres"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_the_other_dtypes_are_kept_and_solved(name, dtype):
    b = problems.random(SIZE, seed=5131, dtype=dtype)
    for kind, A in fitting(name, SIZE, dtype).items():
        outcome = solve(METHODS[name], A, b, rtol=RTOL[dtype])
        assert status(outcome) is Status.converged, kind
        assert outcome.x.dtype == dtype
        assert relative_residual(A, outcome.x, b) <= 1.01 * RTOL[dtype], kind


@every_kind
def test_a_preconditioner_is_applied_on_the_right_side_and_conjugated_rightly(name):
    b = problems.random(SIZE, seed=5132, dtype=np.complex128)
    for kind, A in fitting(name, SIZE, np.complex128).items():
        M = DenseMatrix(preconditioner(name, A))
        outcome = solve(METHODS[name], A, b, M=M, rtol=1e-11)
        assert status(outcome) is Status.converged, kind
        assert relative_residual(A, outcome.x, b) <= 1.01e-11, kind
        # M A is near the identity (or near a reflection, which takes a few steps more).
        assert outcome.iterations <= 20, kind
