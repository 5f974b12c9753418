"""SparseMatrix: from and to every other form, carried by JAX without retracing."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
from jax.experimental.sparse import BCOO, BCSR

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.operators.conversion import as_operator
from jaxsolve.operators.coo import CoordinateOperator
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import RowsOperator
from tests.gallery import problems


def holey(m, n, seed, dtype: type = np.float64):
    A = problems.random(m, n, seed=seed, dtype=dtype)
    return np.where(np.random.default_rng(seed).random((m, n)) < 0.4, A, 0).astype(dtype)


DENSE = holey(7, 5, 3)


@pytest.mark.few(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_round_trips_keep_values_and_dtype(dtype):
    dense = holey(7, 5, 3, dtype)
    A = js.SparseMatrix.from_dense(dense)
    for back in (
        A.todense(),
        A.to_bcoo().todense(),
        A.to_scipy().toarray(),
        js.SparseMatrix.from_bcoo(A.to_bcoo()).todense(),
        js.SparseMatrix.from_scipy(A.to_scipy()).todense(),
        js.SparseMatrix.from_bcoo(BCSR.from_bcoo(A.to_bcoo())).todense(),
        A.T.T.as_matrix(),
    ):
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, dense)
    assert A.nnz == np.count_nonzero(dense)
    assert A.shape == (7, 5)


@pytest.mark.parametrize(
    "make",
    [
        sps.csr_matrix,
        sps.csr_array,
        sps.csc_array,
        sps.coo_matrix,
        sps.coo_array,
        sps.lil_array,
        sps.dok_array,
        sps.dia_array,
        sps.bsr_array,
    ],
)
def test_every_scipy_format_is_read(make):
    np.testing.assert_array_equal(js.SparseMatrix.from_scipy(make(DENSE)).todense(), DENSE)


def test_repeated_and_unsorted_scipy_entries_are_summed_and_the_input_is_left_alone():
    rows, cols, values = np.array([2, 0, 2, 0]), np.array([1, 3, 1, 0]), np.array([1.0, 2.0, 10.0, 3.0])
    coo = sps.coo_array((values, (rows, cols)), (3, 4))
    np.testing.assert_array_equal(js.SparseMatrix.from_scipy(coo).todense(), coo.toarray())
    unsorted = sps.csr_array(
        (np.array([1.0, 2, 3, 4]), np.array([3, 0, 0, 2]), np.array([0, 3, 3, 4])), (3, 4)
    )
    before = (unsorted.data.copy(), unsorted.indices.copy(), unsorted.indptr.copy())
    A = js.SparseMatrix.from_scipy(unsorted)
    np.testing.assert_array_equal(A.todense(), [[5, 0, 0, 1], [0, 0, 0, 0], [0, 0, 4, 0]])
    for array, old in zip((unsorted.data, unsorted.indices, unsorted.indptr), before, strict=True):
        np.testing.assert_array_equal(array, old)
        array[0] = array[0]


def test_explicit_zeros_are_kept():
    A = sps.csr_array((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 1, 2])), (2, 2))
    assert js.SparseMatrix.from_scipy(A).nnz == 2


def test_integer_entries_solve_in_floating_point():
    A = sps.csr_array(np.array([[2, 1], [0, 4]]))
    x = js.solve_linear(A, jnp.array([4, 4]), js.Solve("biCG-stab", rtol=1e-12))
    assert x.dtype == np.float64
    np.testing.assert_allclose(x, [1.5, 1.0])


def test_bcoo_duplicates_are_summed_and_padding_is_dropped():
    indices = jnp.array([[2, 0], [0, 1], [2, 0], [3, 4], [3, 2]])
    matrix = BCOO((jnp.array([1.0, 2.0, 4.0, 8.0, 16.0]), indices), shape=(3, 3))
    expected = np.array([[0, 2.0, 0], [0, 0, 0], [5.0, 0, 0]])
    np.testing.assert_array_equal(js.SparseMatrix.from_bcoo(matrix).todense(), expected)
    inside = jax.jit(lambda data: js.SparseMatrix.from_bcoo(BCOO((data, indices), shape=(3, 3))).todense())
    np.testing.assert_array_equal(inside(matrix.data), expected)
    slope = jax.grad(
        lambda data: js.SparseMatrix.from_bcoo(BCOO((data, indices), shape=(3, 3))).todense().sum()
    )
    np.testing.assert_array_equal(slope(matrix.data), [1, 1, 1, 0, 0])


def test_a_padded_bcoo_from_jax_is_read():
    padded = BCOO.fromdense(jnp.asarray(DENSE), nse=30)
    np.testing.assert_array_equal(js.SparseMatrix.from_bcoo(padded).todense(), DENSE)


def test_a_batched_bcoo_of_one_pattern_is_a_batch_of_matrices():
    stack = jnp.stack([jnp.asarray(DENSE), 2 * jnp.asarray(DENSE)])
    for n_batch_matrix in (BCOO.fromdense(stack, n_batch=1),):
        A = js.SparseMatrix.from_bcoo(n_batch_matrix)
        assert A.data.shape[0] == 2
        np.testing.assert_array_equal(A.todense(), stack)


def test_a_batched_bcoo_of_different_patterns_is_refused():
    stack = jnp.stack([jnp.eye(2), jnp.ones((2, 2)) - jnp.eye(2)])
    with pytest.raises(StructureError, match=r"different positions.*jax\.vmap"):
        js.SparseMatrix.from_bcoo(BCOO.fromdense(stack, n_batch=1))


def test_a_bcoo_with_dense_dimensions_is_refused():
    with pytest.raises(StructureError, match="n_dense=1"):
        js.SparseMatrix.from_bcoo(BCOO.fromdense(jnp.ones((2, 2)), n_dense=1))


def test_traced_patterns_are_refused_with_what_to_do():
    with pytest.raises(StructureError, match="pattern of a traced array is unknown"):
        jax.jit(lambda A: js.SparseMatrix.from_dense(A).data)(jnp.eye(2))
    with pytest.raises(StructureError, match=r"indices of this BCOO are traced.*js\.SparseMatrix"):
        jax.jit(lambda A: js.SparseMatrix.from_bcoo(A).data)(BCOO.fromdense(jnp.eye(2)))


def test_a_bcoo_with_traced_indices_becomes_coordinates():
    kinds = []

    @jax.jit
    def product(A, x):
        operator = as_operator(A)
        kinds.append(type(operator))
        return operator @ x, operator.T @ (operator @ x)

    x = problems.random(5, seed=1)
    y, z = product(BCOO.fromdense(jnp.asarray(DENSE), nse=25), x)
    assert kinds == [CoordinateOperator]
    np.testing.assert_allclose(y, DENSE @ x)
    np.testing.assert_allclose(z, DENSE.T @ (DENSE @ x))


def test_narrow_bands_run_as_diagonals_and_others_as_rows():
    assert isinstance(js.SparseMatrix.from_dense(problems.poisson_2d(5, 6)).layout(), DiagonalsOperator)
    assert isinstance(js.SparseMatrix.from_dense(holey(20, 20, 1)).layout(), RowsOperator)


def test_one_long_row_goes_to_the_tail():
    A = np.eye(40) + np.diag(np.ones(30), 10) + np.diag(np.ones(35), -5) * (np.arange(40) % 3 == 0)
    A[7] = 1
    layout = js.SparseMatrix.from_dense(A).layout()
    assert isinstance(layout, RowsOperator)
    assert layout.values.shape[0] <= 3
    assert layout.tail[0].size >= 36
    x = problems.random(40, seed=2)
    np.testing.assert_allclose(layout @ x, A @ x)
    np.testing.assert_allclose(layout.T @ x, A.T @ x)


def test_wide_rows_are_reduced_and_not_unrolled():
    A = np.zeros((30, 60))
    columns = np.argsort(problems.random(30, 60, seed=6))[:, :30]
    np.put_along_axis(A, columns, problems.random(30, 30, seed=5), axis=1)
    layout = js.SparseMatrix.from_dense(A).layout()
    assert isinstance(layout, RowsOperator)
    assert layout.values.shape[0] == 30
    x = problems.random(60, seed=2)
    np.testing.assert_allclose(layout @ x, A @ x)
    text = jax.jit(lambda A, x: A @ x).lower(layout, x).as_text()
    assert text.count("gather") < 10


def test_algebra_stays_sparse():
    A, B = js.SparseMatrix.from_dense(DENSE), js.SparseMatrix.from_dense(holey(7, 5, 8))
    for result, expected in [
        (A + A, 2 * DENSE),
        (A + B, DENSE + B.todense()),
        (A - B, DENSE - B.todense()),
        (3 * A, 3 * DENSE),
        (A * jnp.asarray(3.0), 3 * DENSE),
        (A / 4, DENSE / 4),
        (-A, -DENSE),
        (A.conj(), DENSE),
    ]:
        assert isinstance(result, js.SparseMatrix)
        np.testing.assert_allclose(result.todense(), expected)


def test_sums_of_different_patterns_are_differentiable():
    A, B = js.SparseMatrix.from_dense(DENSE), js.SparseMatrix.from_dense(holey(7, 5, 8))
    weights = problems.random(7, 5, seed=9)

    def f(a, b):
        total = js.SparseMatrix(a, A.pattern) + js.SparseMatrix(b, B.pattern)
        return jnp.sum(weights * total.as_matrix())

    slope = jax.grad(f, (0, 1))(A.data, B.data)
    np.testing.assert_allclose(slope[0], weights[DENSE != 0])
    np.testing.assert_allclose(slope[1], weights[np.asarray(B.todense()) != 0])


def test_a_batch_of_matrices_shares_its_pattern():
    A = js.SparseMatrix.from_dense(DENSE)
    batch = js.SparseMatrix(jnp.stack([A.data, -A.data]), A.pattern)
    assert batch.shape == (7, 5)
    assert repr(batch) == f"SparseMatrix(2x7x5, nnz={A.nnz}, float64)"
    np.testing.assert_array_equal(batch.todense(), np.stack([DENSE, -DENSE]))
    np.testing.assert_array_equal(batch.T.as_matrix(), np.stack([DENSE.T, -DENSE.T]))
    np.testing.assert_array_equal(batch.to_bcoo().todense(), np.stack([DENSE, -DENSE]))
    np.testing.assert_array_equal(batch.diagonal(), np.stack([np.diag(DENSE), -np.diag(DENSE)]))
    x = problems.random(5, seed=1)
    np.testing.assert_allclose(jax.vmap(lambda M: M @ x)(batch), np.stack([DENSE @ x, -DENSE @ x]))


def test_it_is_a_pytree_of_one_leaf_that_retraces_nothing(compilations):
    traces = []

    @jax.jit
    def f(A, x):
        traces.append(A.pattern)
        return A @ x

    x = jnp.ones(5)
    for k in range(3):
        # A pattern built anew is the same static metadata.
        f(js.SparseMatrix.from_scipy(sps.csr_array(k * DENSE + (DENSE != 0))), x)
    assert len(traces) == 1
    assert len(jax.tree.leaves(js.SparseMatrix.from_dense(DENSE))) == 1


def test_it_passes_through_scan_cond_and_grad():
    A = js.SparseMatrix.from_dense(DENSE)
    stack = js.SparseMatrix(jnp.stack([A.data, 2 * A.data, 3 * A.data]), A.pattern)
    x = jnp.ones(5)
    total, _ = jax.lax.scan(lambda y, M: (y + M @ x, None), jnp.zeros(7), stack)
    np.testing.assert_allclose(total, 6 * DENSE.sum(1))
    picked = jax.lax.cond(True, lambda M: M, lambda M: 2 * M, A)
    np.testing.assert_array_equal(picked.todense(), DENSE)
    slope = jax.grad(lambda M: jnp.sum((M @ x) ** 2))(A)
    assert isinstance(slope, js.SparseMatrix)
    np.testing.assert_allclose(slope.todense(), (2 * (DENSE @ x)[:, None] * x) * (DENSE != 0))


def test_it_survives_pickling():
    A = js.SparseMatrix.from_dense(DENSE).declare(lower=True)
    B = pickle.loads(pickle.dumps(A))
    np.testing.assert_array_equal(B.todense(), DENSE)
    assert B.pattern == A.pattern
    assert B.traits == A.traits


def test_repr_tells_shape_entries_and_dtype():
    assert (
        repr(js.SparseMatrix.from_dense(np.eye(3, dtype=np.float32))) == "SparseMatrix(3x3, nnz=3, float32)"
    )
