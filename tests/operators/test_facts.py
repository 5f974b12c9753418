import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.csgraph import structural_rank

from jaxsolve.operators.bipartite import paired_rows
from jaxsolve.operators.facts import facts_of, proven_traits


def laplacian(n, ends=2.0):
    A = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    A[0, 0] = A[n - 1, n - 1] = ends
    return scipy.sparse.csr_matrix(A)


def test_a_weakly_dominant_matrix_is_definite_if_a_row_is_strict():
    assert proven_traits(laplacian(6))["positive_definite"]
    assert facts_of(laplacian(6)).dominance.kind == "irreducible"


def test_a_neumann_matrix_is_not_called_definite():
    assert "positive_definite" not in proven_traits(laplacian(6, ends=1.0))
    assert facts_of(laplacian(6, ends=1.0)).dominance.kind == "weak"


def test_one_singular_block_is_enough_to_prove_nothing():
    A = scipy.sparse.block_diag([laplacian(4), laplacian(4, ends=1.0)], format="csr")
    assert "positive_definite" not in proven_traits(A)


def test_a_stored_zero_connects_nothing():
    A = scipy.sparse.block_diag([laplacian(4), laplacian(4, ends=1.0)]).tocoo()
    rows, cols = np.append(A.row, [3, 4]), np.append(A.col, [4, 3])
    joined = scipy.sparse.csr_matrix((np.append(A.data, [0.0, 0.0]), (rows, cols)), shape=A.shape)
    assert joined.nnz == A.nnz + 2
    assert "positive_definite" not in proven_traits(joined)


def test_rounded_row_sums_do_not_count_as_strict():
    # The rows of this Neumann matrix sum to 1e-17, not to 0.
    A = laplacian(6, ends=1.0) * 0.1
    A[0, 0] = np.nextafter(A[0, 0], 1)
    assert "positive_definite" not in proven_traits(A)


@pytest.mark.parametrize("seed", [3, 14, 15])
def test_what_is_called_definite_has_positive_eigenvalues(seed):
    rng = np.random.default_rng(seed)
    R = scipy.sparse.random_array((20, 20), density=0.2, rng=rng).tocsr()
    A = R + R.T
    A.setdiag(np.asarray(abs(A).sum(axis=1)).reshape(-1) + 0.1)
    A = scipy.sparse.csr_matrix(A)
    assert proven_traits(A)["positive_definite"]
    assert np.linalg.eigvalsh(A.toarray()).min() > 0


def test_complex_symmetric_is_not_hermitian():
    A = scipy.sparse.csr_matrix(np.array([[1, 2j], [2j, 5]]))
    assert proven_traits(A) == {"symmetric": True}
    H = scipy.sparse.csr_matrix(np.array([[3, 2j], [-2j, 5]]))
    assert proven_traits(H) == {"hermitian": True, "positive_definite": True}


def test_symmetry_is_up_to_rounding_of_assembly():
    A = np.array([[1e8, 2.0], [2.0 + 1e-15, 1e-8]])
    assert proven_traits(scipy.sparse.csr_matrix(A))["symmetric"]
    # 2e-7 is small beside the matrix, not beside the entries that share its row and column.
    B = np.array([[1e8, 2.0], [2.0 + 2e-7, 1e-8]])
    assert "symmetric" not in proven_traits(scipy.sparse.csr_matrix(B))
    C = np.array([[0.0, 2.0], [2.0 + 1e-15, 0.0]])
    assert "symmetric" not in proven_traits(scipy.sparse.csr_matrix(C))


def test_triangles_and_diagonals_are_seen():
    assert proven_traits(scipy.sparse.csr_matrix([[1.0, 0], [1, 1]])) == {"lower": True}
    assert proven_traits(scipy.sparse.csr_matrix([[2.0, 0], [0, -1]])).keys() >= {"diagonal", "symmetric"}


def test_nothing_is_proven_by_nan():
    assert proven_traits(scipy.sparse.csr_matrix([[np.nan, 0], [0, 1.0]])) == {}


def test_the_figures_of_a_small_matrix():
    A = scipy.sparse.csr_matrix(
        (np.array([2.0, 1.0, 3.0, 0.0]), np.array([0, 2, 0, 1]), np.array([0, 2, 4, 4])), shape=(3, 3)
    )
    facts = facts_of(A)
    assert facts.explicit_zeros == 1
    assert facts.zero_diagonals == 2
    assert (facts.empty_rows, facts.empty_columns) == (1, 1)
    assert facts.structural_rank == 2
    assert facts.pattern_symmetry == 0
    assert (facts.smallest, facts.largest) == (1, 3)
    assert A.nnz == 4  # the input is untouched


def test_an_empty_matrix_has_facts():
    facts = facts_of(scipy.sparse.csr_matrix((3, 4)))
    assert facts.structural_rank == 0
    assert facts.empty_columns == 4


@pytest.mark.parametrize("shape", [(1, 1), (30, 30), (20, 40), (40, 20), (0, 3), (3, 0)])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.2])
def test_as_many_rows_are_paired_with_columns_as_can_be(shape, share, rng):
    rows, columns = np.nonzero(rng.random(shape) < share)
    paired = paired_rows(rows, columns, shape)
    found = np.flatnonzero(paired >= 0)
    assert len(set(paired[found])) == len(found)
    assert set(zip(paired[found], found, strict=True)) <= set(zip(rows, columns, strict=True))
    A = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    assert len(found) == (structural_rank(A) if A.nnz else 0)
