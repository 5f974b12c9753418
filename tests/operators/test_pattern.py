"""Positions of entries: sorted, unique, interned, and transposed with their permutation."""

import gc

import numpy as np
import pytest
import scipy.sparse as sps
from hypothesis import given
from hypothesis import strategies as st

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.pattern import Pattern


@st.composite
def coordinates(draw):
    m, n = draw(st.integers(0, 7)), draw(st.integers(0, 7))
    pairs = st.tuples(st.integers(0, max(m - 1, 0)), st.integers(0, max(n - 1, 0)))
    entries = draw(st.lists(pairs, max_size=30)) if m and n else []
    rows, cols = np.array(entries, int).reshape(-1, 2).T
    return rows, cols, (m, n)


@pytest.mark.further
@given(coordinates())
def test_any_coordinates_become_the_matrix_that_scipy_makes(given_):
    rows, cols, shape = given_
    values = np.arange(1.0, len(rows) + 1)
    expected = sps.coo_array((values, (rows, cols)), shape).tocsr()
    expected.sum_duplicates()
    pattern, order, slots = Pattern.from_coo(rows, cols, shape)
    data = values if order is None else values[order]
    if slots is not None:
        data = np.bincount(slots, data, minlength=pattern.nnz)
    np.testing.assert_array_equal(pattern.indptr, expected.indptr)
    np.testing.assert_array_equal(pattern.indices, expected.indices)
    np.testing.assert_array_equal(data, expected.data)
    np.testing.assert_array_equal(pattern.to_scipy(data).toarray(), expected.toarray())


@given(coordinates())
def test_derived_facts_are_those_of_the_dense_matrix(given_):
    rows, cols, (m, n) = given_
    pattern, _, _ = Pattern.from_coo(rows, cols, (m, n))
    dense = np.zeros((m, n), int)
    dense[rows, cols] = 1
    r, c = np.nonzero(dense)
    np.testing.assert_array_equal(pattern.rows, r)
    np.testing.assert_array_equal(pattern.offsets, np.unique(c - r))
    assert pattern.bandwidth == (max(0, *(r - c), 0) if len(r) else 0, max(0, *(c - r), 0) if len(r) else 0)
    assert pattern.is_symmetric == (m == n and (dense == dense.T).all())
    transposed, order = pattern.transpose()
    assert transposed.shape == (n, m)
    entries = np.arange(1, pattern.nnz + 1)
    np.testing.assert_array_equal(
        transposed.to_scipy(entries[order]).toarray(), pattern.to_scipy(entries).toarray().T
    )
    back, again = transposed.transpose()
    assert back == pattern
    np.testing.assert_array_equal(order[again], np.arange(pattern.nnz))
    found = pattern.diagonal_positions
    np.testing.assert_array_equal(found < pattern.nnz, np.diag(dense) > 0)


def test_equal_patterns_are_one_object_and_hash_alike():
    A, B = (Pattern.of(np.array([0, 1, 2]), np.array([0, 1]), (2, 2)) for _ in range(2))
    assert A is B
    C = Pattern(np.array([0, 1, 2]), np.array([0, 1]), (2, 2))
    assert C is not A
    assert C == A
    assert hash(C) == hash(A)
    assert Pattern.of(np.array([0, 1, 2]), np.array([1, 0]), (2, 2)) != A
    assert Pattern.of(np.array([0, 1, 2]), np.array([0, 1]), (2, 3)) != A
    assert A != "a pattern"


@pytest.mark.slow
def test_a_forgotten_pattern_is_freed():
    gc.collect()
    before = len(Pattern._interned)
    pattern = Pattern.of(np.array([0, 1]), np.array([123]), (1, 777))
    assert len(Pattern._interned) == before + 1
    del pattern
    gc.collect()
    assert len(Pattern._interned) == before


def test_the_arrays_of_a_pattern_cannot_be_changed():
    pattern, _, _ = Pattern.from_coo(np.array([0, 1]), np.array([0, 1]), (2, 2))
    with pytest.raises(ValueError, match="read-only"):
        pattern.indices[0] = 1


def test_the_caller_keeps_his_own_arrays_writable():
    matrix = sps.csr_matrix(np.eye(3))
    Pattern.of(matrix.indptr.copy(), matrix.indices.copy(), (3, 3))
    matrix.indices[0] = 1


@pytest.mark.parametrize(("rows", "cols"), [([0, 3], [0, 0]), ([0, 1], [0, 4]), ([-1], [0]), ([0], [-2])])
def test_positions_outside_of_the_shape_are_refused(rows, cols):
    with pytest.raises(StructureError, match=r"outside the matrix of shape \(3, 4\)"):
        Pattern.from_coo(np.array(rows), np.array(cols), (3, 4))


def test_keys_of_large_matrices_do_not_overflow():
    # n² passes 2³¹ at n = 46341: 216² = 46656 is where int32 keys once wrapped around.
    n = 216**2
    rows = np.array([n - 1, 0, n - 1], np.int32)
    cols = np.array([n - 1, n - 1, 0], np.int32)
    pattern, order, _ = Pattern.from_coo(rows, cols, (n, n))
    assert order is not None
    assert order.tolist() == [1, 2, 0]
    assert pattern.indices.tolist() == [n - 1, 0, n - 1]
    assert pattern.bandwidth == (n - 1, n - 1)
