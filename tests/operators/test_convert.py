"""Everything that may stand for a matrix, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
from jax.experimental.sparse import BCOO, BCSR

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.operators.conversion import as_operator
from jaxsolve.operators.dense_matrix import DenseMatrix

D = np.array([[2.0, 0, 1], [0, 3, 0], [0, 1, 4]])


KINDS = {
    "numpy": D,
    "jax": jnp.asarray(D),
    "list": D.tolist(),
    "tuple": tuple(map(tuple, D)),
    "csr_array": sps.csr_array(D),
    "coo_matrix": sps.coo_matrix(D),
    "BCOO": BCOO.fromdense(jnp.asarray(D)),
    "BCSR": BCSR.fromdense(jnp.asarray(D)),
    "SparseMatrix": js.SparseMatrix.from_dense(D),
    "DenseMatrix": DenseMatrix(jnp.asarray(D)),
}


@pytest.mark.parametrize("given", KINDS.values(), ids=KINDS)
def test_a_matrix_of_any_kind_is_an_operator(given):
    np.testing.assert_array_equal(as_operator(given).as_matrix(), D)


def test_operators_are_returned_as_they_are():
    A = js.Identity(3, np.float64)
    assert as_operator(A) is A


@pytest.mark.parametrize(
    "given", [None, "CG", 3.0, {"a": 1}, object()], ids=lambda given: type(given).__name__
)
def test_what_is_no_matrix_is_refused_with_what_is(given):
    with pytest.raises(TypeError, match=r"A must be an array .*SciPy sparse.*or a js.LinearOperator; got "):
        as_operator(given)


@pytest.mark.parametrize(
    "given", [np.ones(3), jnp.asarray(2.0), [1.0, 2.0]], ids=lambda given: type(given).__name__
)
def test_arrays_of_fewer_than_two_axes_are_refused(given):
    with pytest.raises(StructureError, match=r"got an array of shape \("):
        as_operator(given)


@pytest.mark.parametrize("given", [[[1, 2], [3]], [[None, None]]], ids=str)
def test_lists_that_are_no_arrays_are_refused(given):
    with pytest.raises(TypeError, match="a list that is no array"):
        as_operator(given)


def test_a_traced_batched_bcoo_is_refused():
    stack = BCOO.fromdense(jnp.stack([jnp.eye(2)] * 2), n_batch=1)
    with pytest.raises(StructureError, match=r"n_batch=1.*Use jax\.vmap"):
        jax.jit(lambda A: as_operator(A).as_matrix())(stack)


def test_leading_axes_are_a_batch():
    assert as_operator(np.ones((2, 3, 4, 4))).batch_shape == (2, 3)
    assert as_operator(D).batch_shape == ()
    assert as_operator(np.ones((2, 3, 4, 5))).shape == (4, 5)


@pytest.mark.parametrize(
    ("values", "wanted", "result"),
    [
        (np.float32, np.float64, np.float64),
        (np.float64, np.complex128, np.float64),
        (np.complex64, np.complex128, np.complex128),
        (np.int32, np.float32, np.float32),
        (np.int32, np.complex64, np.float32),
    ],
)
def test_values_take_the_precision_of_the_system_and_stay_real(values, wanted, result):
    for given in (D.astype(values), sps.csr_array(D.astype(values))):
        assert as_operator(given).astype(wanted).dtype == result
