"""SparseMatrix.from_coo: against SciPy, in batches, traced, differentiated, and refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery.methods import distance

RNG = np.random.default_rng(5171)
N, NNZ = 9, 40
ROWS, COLUMNS = RNG.integers(0, N, NNZ), RNG.integers(0, N, NNZ)
VALUES = RNG.standard_normal(NNZ)
#: A diagonal on top makes the matrix regular, and repeats positions.
SQUARE = (np.r_[ROWS, np.arange(N)], np.r_[COLUMNS, np.arange(N)])
STRONG = np.r_[VALUES, np.full(N, 9.0)]
B = RNG.standard_normal(N)


def dense(values, rows=SQUARE[0], columns=SQUARE[1], shape=(N, N)):
    return sps.coo_array((values, (rows, columns)), shape).toarray()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128, np.int32])
def test_it_is_scipys_matrix(dtype):
    values = (VALUES * (10 if dtype is np.int32 else 1)).astype(dtype)
    A = js.SparseMatrix.from_coo(ROWS, COLUMNS, values, (N, N + 2))
    assert A.dtype == dtype
    expected = dense(values, ROWS, COLUMNS, (N, N + 2))
    assert A.nnz == len(set(zip(ROWS.tolist(), COLUMNS.tolist(), strict=True)))
    assert distance(A.todense(), expected) < 1e-6
    sps_pattern = sps.csr_array(sps.coo_array((np.ones(NNZ), (ROWS, COLUMNS)), (N, N + 2)))
    np.testing.assert_array_equal(A.pattern.indices, sps_pattern.indices)


def test_sorted_positions_and_lists_and_nothing():
    A = js.SparseMatrix.from_coo([0, 1], jnp.array([1, 0], jnp.int8), [2.0, 3], (2, 2))
    np.testing.assert_array_equal(A.todense(), [[0, 2], [3, 0]])
    for nothing in ([], np.zeros(0, int)):
        A = js.SparseMatrix.from_coo(nothing, nothing, jnp.zeros(0), (2, 3))
        assert (A.nnz, A.shape) == (0, (2, 3))
    assert js.SparseMatrix.from_coo([], [], [], (0, 0)).shape == (0, 0)
    one = js.SparseMatrix.from_coo([0, 0], [0, 0], [2.0, 2.0], (1, 1))
    assert float(js.solve_linear(one, [8.0])[0]) == 2.0


def test_leading_axes_are_a_batch_on_one_pattern():
    values = STRONG * np.linspace(1, 2, 6).reshape(2, 3, 1)
    A = js.SparseMatrix.from_coo(*SQUARE, values, (N, N))
    assert A.batch_shape == (2, 3)
    x = js.solve_linear(A, B, js.Solve("LU"))
    expected = [np.linalg.solve(dense(v), B) for v in values.reshape(6, -1)]
    assert distance(x.reshape(6, -1), expected) < 1e-9


@pytest.mark.further
def test_traced_values_under_jit_vmap_and_grad():
    def energy(values):
        A = js.SparseMatrix.from_coo(*SQUARE, values, (N, N))
        return jnp.sum(js.solve_linear(A, B, js.Solve("LU")) ** 2)

    batch = jnp.stack([jnp.asarray(STRONG), 1.5 * jnp.asarray(STRONG)])
    got = jax.jit(jax.vmap(jax.grad(energy)))(batch)
    for values, found in zip(np.asarray(batch), got, strict=True):
        M = dense(values)
        x = np.linalg.solve(M, B)
        y = np.linalg.solve(M.T, 2 * x)
        # d|x|²/dA_ij = -y_i x_j, the same for all values that are summed at one position.
        assert distance(found, -y[SQUARE[0]] * x[SQUARE[1]]) < 1e-8


@pytest.mark.further
def test_concrete_values_stay_concrete_inside_jit():
    @jax.jit
    def f(b):
        A = js.SparseMatrix.from_coo(*SQUARE, STRONG, (N, N))
        assert not isinstance(A.data, jax.core.Tracer)
        return js.solve_linear(A, b, js.Solve("GMres", rtol=1e-12, preconditioner="ilu"))

    assert distance(f(B), np.linalg.solve(dense(STRONG), B)) < 1e-9


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"rows": [0, 2]}, js.StructureError, r"rows\[1\] = 2 lies outside: rows of this matrix are 0 to 1"),
        ({"columns": [-1, 0]}, js.StructureError, r"columns\[0\] = -1 lies outside"),
        ({"rows": [0.0, 1.0]}, TypeError, "rows must be integers .* got float64"),
        ({"rows": [True, False]}, TypeError, "got bool"),
        ({"rows": [[0, 1]]}, js.StructureError, r"got shape \(1, 2\)"),
        ({"rows": [0]}, js.StructureError, "got 1 rows and 2 columns"),
        ({"rows": None}, js.StructureError, "rows must be integers"),
        ({"values": [1.0]}, js.StructureError, r"values must be an array of shape \(..., 2\).*got shape \(1,\)"),
        ({"values": 1.0}, js.StructureError, r"got shape \(\)"),
        ({"values": [True, False]}, TypeError, "numbers; got bool"),
        ({"values": ["a", "b"]}, TypeError, "values"),
        ({"values": None}, TypeError, "values"),
        ({"values": {"a": np.ones(2)}}, js.StructureError, "got dict"),
        ({"shape": (2,)}, js.StructureError, r"two integers \(rows, columns\); got \(2,\)"),
        ({"shape": (2, -2)}, js.StructureError, "two integers"),
        ({"shape": 4}, js.StructureError, "two integers"),
        ({"shape": (2.0, 2)}, js.StructureError, "two integers"),
    ],
)  # fmt: skip
def test_what_makes_no_matrix_is_refused_in_words(change, error, words):
    right = {"rows": [0, 1], "columns": [0, 1], "values": [1.0, 2.0], "shape": (2, 2)}
    with pytest.raises(error, match=words):
        js.SparseMatrix.from_coo(**{**right, **change})


def test_traced_positions_are_refused():
    with pytest.raises(js.StructureError, match="rows are traced, but a pattern is static"):
        jax.jit(lambda rows: js.SparseMatrix.from_coo(rows, [0], [1.0], (1, 1)).data)(jnp.array([0]))
