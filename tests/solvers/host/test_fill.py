"""Fill: the prediction beside an elimination that is carried out, and what is not predicted."""

import numpy as np
import pytest
import scipy.sparse as sps
import scipy.sparse.linalg

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host import fill
from jaxsolve.solvers.host.fill import predicted_fill
from jaxsolve.solvers.host.superlu import SuperLU
from tests.preconditioners.problems import poisson


def pattern_of(matrix):
    matrix = sps.csr_array(matrix)
    matrix.sort_indices()
    return Pattern.of(matrix.indptr, matrix.indices, matrix.shape)


def symmetric(n, density, seed):
    A = sps.random_array((n, n), density=density, rng=np.random.default_rng(seed))
    return sps.csr_array(A + A.T + sps.eye_array(n))


def eliminated(pattern, order):
    """Entries of L and U and products of an elimination of the positions one by one."""
    full = pattern.to_scipy(np.ones(pattern.nnz)).toarray() != 0
    full = (full | full.T)[np.ix_(order, order)]
    entries, products = len(order), 0
    for k in range(len(order)):
        below = k + 1 + np.flatnonzero(full[k + 1 :, k])
        full[np.ix_(below, below)] = True
        entries, products = entries + 2 * len(below), products + len(below) * (len(below) + 1)
    return entries, products


@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_elimination_leads_to(seed):
    matrices = [
        symmetric(60, 0.03, seed),
        sps.random_array((50, 50), density=0.03, rng=np.random.default_rng(seed)),
    ]
    for matrix in matrices:
        pattern = pattern_of(matrix)
        found = predicted_fill(pattern)
        assert sorted(found.order) == list(range(pattern.shape[0]))
        assert (found.entries, found.products) == eliminated(pattern, found.order)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_smallest_matrices_have_a_fill_too(n):
    assert predicted_fill(pattern_of(sps.eye_array(n))).entries == n
    assert predicted_fill(pattern_of(sps.csr_array((n, n)))).entries == n
    assert predicted_fill(pattern_of(np.ones((n, n)))).entries == n * n


@pytest.mark.parametrize("shape", [(70, 70), (12, 12, 12)])
def test_it_is_that_of_the_library(shape):
    matrix = poisson(shape).tocsc()
    options = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    stored = scipy.sparse.linalg.splu(matrix, **options).nnz
    assert 0.9 * stored <= predicted_fill(pattern_of(matrix)).entries <= stored


def test_a_graph_without_small_separators_is_not_ordered(monkeypatch):
    def refused(*_):
        raise AssertionError("minimum degree takes 2 s here")

    monkeypatch.setattr(fill, "_minimum_degree", refused)
    found = predicted_fill(pattern_of(symmetric(10_000, 8e-4, 3)))
    assert found.order is None
    assert found.separator > 1800
    assert "not predicted" in str(found)
    assert predicted_fill(pattern_of(sps.eye_array(300_000))).order is None


def test_hubs_trees_and_chains_are_not_taken_for_wide():
    n = 6000
    rng = np.random.default_rng(4)
    star = sps.coo_array((np.ones(n - 1), (np.zeros(n - 1, int), np.arange(1, n))), shape=(n, n))
    tree = sps.coo_array((np.ones(n - 1), (rng.integers(0, np.arange(1, n)), np.arange(1, n))), shape=(n, n))
    for graph, entries in ((star, 3 * n - 2), (tree, 3 * n - 2), (star + tree, 5 * n)):
        found = predicted_fill(pattern_of(graph + graph.T + sps.eye_array(n)))
        assert found.order is not None
        assert found.entries <= entries


def test_factors_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    matrix, b = poisson((60, 60)), np.ones(3600)
    monkeypatch.setattr("jaxsolve.core.memory.available_bytes", lambda: 1e5)
    monkeypatch.setattr("scipy.sparse.linalg.splu", None)
    with pytest.raises(StructureError, match=r"`sparse-direct` would need .* GiB for the factors of A"):
        js.solve_linear(js.SparseMatrix.from_scipy(matrix), b, js.Solve("sparse-direct"))


def test_the_first_factorisation_takes_the_order_that_was_predicted(monkeypatch):
    matrix, b = poisson((59, 61)), np.ones(59 * 61)
    used = []
    splu = scipy.sparse.linalg.splu
    monkeypatch.setattr(
        "scipy.sparse.linalg.splu", lambda *a, **k: [used.append(k["permc_spec"]), splu(*a, **k)][1]
    )
    factors = SuperLU(pattern_of(matrix)).factor(matrix.tocsr().data)
    x = factors.solve(b[:, None], "N")[:, 0]
    assert used == ["NATURAL"]
    assert np.linalg.norm(b - matrix @ x) <= 1e-12 * np.linalg.norm(b)
