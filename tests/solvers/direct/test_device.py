"""Sparse elimination as a part of the program: against dense elimination, in batches, transposed, without the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.direct.sparse import static_factors, triples
from jaxsolve.solvers.direct.sparse.matching import matched_rows
from jaxsolve.solvers.direct.sparse.ordering import elimination
from jaxsolve.solvers.direct.sparse.steps import steps
from jaxsolve.solvers.direct.sparse.sweep import Stepped
from tests.preconditioners import problems

N = 30
DEVICE = js.Solve(js.SparseDirect("device"), rtol=1e-12)


def sample(kind, seed=0):
    """Values on one random pattern with a weak diagonal entry here and there."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(N, N)) + (1j * rng.normal(size=(N, N)) if kind in ("complex", "hermitian") else 0)
    keep = np.random.default_rng(5).random((N, N)) < 0.12
    A = np.where(keep, A, 0)
    if kind in ("symmetric", "hermitian"):
        A = A + A.conj().T
    return A + np.diag(4 + rng.random(N))


def matrix(kind, seed=0):
    S = js.SparseMatrix.from_dense(sample(kind, seed))
    return S.declare(hermitian=True) if kind == "hermitian" else S


KINDS = [
    "real",
    pytest.param("complex", marks=pytest.mark.further),
    pytest.param("symmetric", marks=pytest.mark.further),
    pytest.param("hermitian", marks=pytest.mark.further),
]


@pytest.mark.further
@pytest.mark.parametrize("kind", KINDS)
def test_factors_solve_with_every_form_of_the_matrix(kind):
    A = matrix(kind)
    dense = np.asarray(A.todense())
    b = np.random.default_rng(1).normal(size=N) + 1j * np.random.default_rng(2).normal(size=N)
    F = static_factors.static_factors(A)
    for inverse, M in ((F, dense), (F.T, dense.T), (F.H, dense.conj().T), (F.conj(), dense.conj())):
        np.testing.assert_allclose(inverse.mv(jnp.asarray(b)), np.linalg.solve(M, b), rtol=1e-9, atol=1e-11)


@pytest.mark.further
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_dense_elimination(kind):
    A = matrix(kind)
    b = jnp.asarray(np.random.default_rng(3).normal(size=N)).astype(A.dtype)

    def of_values(solve):
        return lambda v, b: jnp.sum(jnp.abs(solve(js.SparseMatrix(v, A.pattern), b)) ** 2)

    def sparse(A, b):
        return js.solve_linear(A, b, DEVICE)

    def dense(A, b):
        return jnp.linalg.solve(A.todense(), b)

    found = jax.jit(jax.grad(of_values(sparse), (0, 1)))(A.data, b)
    right = jax.grad(of_values(dense), (0, 1))(A.data, b)
    for x, y in zip(found, right, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-10)


@pytest.mark.further
def test_batches_of_values_solve_in_chunks_and_a_singular_one_harms_no_other(monkeypatch):
    monkeypatch.setattr(static_factors, "SETS", 4)
    stack = np.stack([sample("real", seed) for seed in range(11)])
    stack[6, 3] = 0
    pattern = js.SparseMatrix.from_dense(np.any(stack != 0, axis=0)).pattern
    values = jnp.asarray(stack[:, pattern.rows, pattern.indices])
    b = jnp.asarray(np.random.default_rng(4).normal(size=(11, N)))
    info = jax.vmap(lambda v, b: js.solve_linear_info(js.SparseMatrix(v, pattern), b, DEVICE))(values, b)
    regular = np.arange(11) != 6
    np.testing.assert_array_equal(np.asarray(info.converged), regular)
    right = np.linalg.solve(stack[regular], np.asarray(b)[regular][..., None])[..., 0]
    np.testing.assert_allclose(np.asarray(info.x)[regular], right, rtol=1e-10)


@pytest.mark.further
@pytest.mark.parametrize(
    "axes",
    [
        (0, 0),
        pytest.param((0, None), marks=pytest.mark.further),
        pytest.param((None, 0), marks=pytest.mark.further),
    ],
)
def test_factorisations_pass_through_transformations(axes):
    A = matrix("real")
    values = jnp.stack([A.data, 2 * A.data, A.data**3]) if axes[0] == 0 else A.data
    b = jnp.asarray(np.random.default_rng(5).normal(size=(3, N) if axes[1] == 0 else N))

    def factorised(v):
        return js.factorize(js.SparseMatrix(v, A.pattern), backend="device")

    def dense(v, b):
        return jnp.linalg.solve(js.SparseMatrix(v, A.pattern).todense(), b)

    right = jax.vmap(dense, axes)(values, b)
    inside = jax.jit(jax.vmap(lambda v, b: factorised(v).solve(b), axes))(values, b)
    np.testing.assert_allclose(inside, right, rtol=1e-10)
    # The factorisation itself is what is mapped over.
    made = jax.vmap(factorised)(values) if axes[0] == 0 else factorised(values)
    between = jax.vmap(lambda F, b: F.solve(b), axes)(made, b)
    np.testing.assert_allclose(between, right, rtol=1e-10)
    twice = jax.vmap(jax.vmap(lambda v, b: factorised(v).solve(b), axes), (None, 0))(
        values, jnp.stack([b, 2 * b])
    )
    np.testing.assert_allclose(twice, np.stack([right, 2 * right]), rtol=1e-10)


@pytest.mark.further
def test_factors_on_other_structures_are_other_pytrees():
    # A zero on the diagonal moves rows, and another zero moves others: lists of equal shapes mean other things then.
    A = np.array([[0, 2, 1.0], [2, 0, 0], [1, 0, 1]])
    one, two = (
        js.SparseMatrix.from_dense(np.where(A == 0, 1e-9, A)),
        js.SparseMatrix.from_dense(A + np.eye(3)),
    )
    structures = {jax.tree.structure(js.factorize(S, backend="device")) for S in (one, two)}
    assert len(structures) == 2


@pytest.mark.further
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.complex64, marks=pytest.mark.further)])
def test_single_precision_stays_single(dtype):
    A = sample("complex" if dtype == np.complex64 else "real").astype(dtype)
    b = np.random.default_rng(6).normal(size=N).astype(dtype)
    x = js.solve_linear(js.SparseMatrix.from_dense(A), b, js.Solve(js.SparseDirect("device"), rtol=1e-6))
    assert x.dtype == dtype
    np.testing.assert_allclose(x, np.linalg.solve(A.astype(np.complex128), b), rtol=1e-5, atol=1e-6)


@pytest.mark.further
@pytest.mark.parametrize("unit", [1e-30, pytest.param(1e30, marks=pytest.mark.further)])
def test_units_do_not_matter(unit):
    A, b = matrix("real"), jnp.asarray(np.random.default_rng(7).normal(size=N))
    rows, columns = 10.0 ** np.random.default_rng(8).integers(-9, 9, (2, N))
    scaled = js.SparseMatrix.from_dense(unit * rows[:, None] * np.asarray(A.todense()) * columns)
    x = js.solve_linear(scaled, unit * rows * b, DEVICE)
    np.testing.assert_allclose(columns * x, js.solve_linear(A, b, DEVICE), rtol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_systems(n):
    A = np.eye(n) * 2 + np.ones((n, n))
    b = jnp.arange(1.0, n + 1)
    x = js.solve_linear(js.SparseMatrix.from_dense(A), b, DEVICE)
    np.testing.assert_allclose(x, np.linalg.solve(A, b), rtol=1e-12)


@pytest.mark.further
def test_programs_call_no_host():
    A = matrix("real")

    def f(v, b):
        return jax.grad(lambda v: jnp.sum(js.solve_linear_info(js.SparseMatrix(v, A.pattern), b, DEVICE).x))(
            v
        )

    text = str(jax.make_jaxpr(f)(A.data, jnp.ones(N)))
    assert "callback" not in text
    stored = jax.export.export(jax.jit(f), platforms=["cpu", "cuda"])(A.data, jnp.ones(N))
    assert "callback" not in stored.mlir_module()
    np.testing.assert_allclose(stored.call(A.data, jnp.ones(N)), f(A.data, jnp.ones(N)))


@pytest.mark.further
def test_rows_move_to_where_the_diagonal_is_large():
    rng = np.random.default_rng(9)
    order = rng.permutation(N)
    A = sample("real")[order]
    S = js.SparseMatrix.from_dense(A)
    rows = matched_rows(S.pattern, np.asarray(S.data))
    assert rows is not None
    assert np.abs(A[rows, np.arange(N)]).min() > 1
    b = rng.normal(size=N)
    np.testing.assert_allclose(js.solve_linear(S, b, DEVICE), np.linalg.solve(A, b), rtol=1e-9)
    assert matched_rows(matrix("real").pattern, np.asarray(matrix("real").data)) is None


@pytest.mark.parametrize("most", [0, 1, 3, 40])
def test_steps_hold_every_term_of_every_target_once(most):
    # Against sums by np.add.at; targets of a block are changed by terms of earlier blocks.
    rng = np.random.default_rng(most)
    sizes = np.array([5, 0, 70, 1, 40])
    counts = np.concatenate([np.sort(rng.integers(0, most + 1, size))[::-1] for size in sizes])
    targets = np.repeat(np.arange(len(counts)), counts)
    block = np.repeat(np.arange(len(sizes)), sizes)
    sources = np.where(block[targets] > 0, rng.integers(0, 5, len(targets)), len(counts))
    plan = steps(sizes, counts, (sources,), (len(counts),))
    assert (np.diff(plan.offsets) >= 0).all()
    start = rng.normal(size=(len(counts), 2))
    expected = np.append(start, np.zeros((1, 2)), axis=0)
    np.add.at(expected, targets, expected[sources])
    stepped = Stepped.of(plan, jnp.asarray)
    v = stepped.spare(jnp.asarray(start))
    for k in range(len(sizes)):
        v = stepped.run(v, lambda v, window, at: window + v[at], jnp.int32(k))
    np.testing.assert_allclose(v[: len(counts)], expected[:-1], rtol=1e-14)
    whole = stepped.run(stepped.spare(jnp.asarray(start)), lambda v, window, at: window + v[at])
    np.testing.assert_array_equal(whole, v)
    assert not np.asarray(v[len(counts) :]).any()


def test_the_fill_is_that_of_elimination():
    # Nested dissection of a long chain puts entries between unknowns that are thousands of steps apart.
    n = 3000
    pattern = js.SparseMatrix.from_scipy(
        sps.diags([np.ones(n - 1), np.ones(n), np.ones(n - 1)], [-1, 0, 1])
    ).pattern
    plan = elimination(pattern, None)
    place = np.argsort(plan.order)
    filled = [set() for _ in range(n)]
    for i, j in zip(place[pattern.rows], place[pattern.indices], strict=True):
        if i > j:
            filled[j].add(int(i))
    for k in range(n):
        if filled[k]:
            first = min(filled[k])
            filled[first] |= filled[k] - {first}
    assert [sorted(column) for column in filled] == [
        plan.rows[a:b].tolist() for a, b in zip(plan.starts[:-1], plan.starts[1:], strict=True)
    ]


@pytest.mark.further
@pytest.mark.parametrize("scale", [1e-12, 1.0])
def test_a_vanishing_pivot_is_never_called_converged(scale):
    # Without exchanges the pivot 1 - 1 vanishes; the matrix itself is regular.
    A = js.SparseMatrix.from_dense(np.array([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]]) * scale)
    b = jnp.array([1.0, 2.0, 4.0])
    info = js.solve_linear_info(A, b, DEVICE)
    x = np.linalg.solve(np.asarray(A.todense()), b)
    assert not info.converged or np.allclose(info.x, x, rtol=1e-8)
    singular = js.SparseMatrix.from_dense(np.ones((3, 3)))
    info = js.solve_linear_info(singular, b, js.Solve(js.SparseDirect("device"), rank_deficiency=0))
    assert not info.converged


def test_what_cannot_be_eliminated_is_refused_in_words(monkeypatch):
    empty = js.SparseMatrix(jnp.ones(2), Pattern.of(np.array([0, 1, 2, 2]), np.array([0, 1]), (3, 3)))
    with pytest.raises(
        StructureError, match=r"at most 2 of 3 rows are independent; row\(s\) 2 found no column"
    ):
        js.solve_linear(empty, jnp.ones(3), DEVICE)
    monkeypatch.setattr(triples, "MOST", 10)
    A = matrix("real", 1)
    A = js.SparseMatrix.from_dense(np.asarray(A.todense())[:-1, :-1])
    with pytest.raises(StructureError, match="products and 0 MB of indices"):
        js.solve_linear(A, jnp.ones(N - 1), DEVICE)
    with pytest.raises(ValueError, match="known backends: auto, superlu, klu, pardiso, cholmod, device"):
        js.SparseDirect("devise")


@pytest.mark.parametrize("moved", [False, True])
def test_what_is_far_too_much_is_refused_before_it_is_factorised(moved, monkeypatch):
    def factorised(*_):
        raise AssertionError("factorised")

    monkeypatch.setattr(triples, "elimination", factorised)
    A = js.SparseMatrix.from_scipy(problems.poisson((24, 24, 24)).tocsr())
    n = A.shape[0]
    if moved:
        rows = np.roll(np.arange(n), 1)
        A = js.SparseMatrix.from_scipy(A.to_scipy()[rows])
    with pytest.raises(StructureError, match=r"takes about \S+ products and \d+ MB of indices"):
        js.solve_linear(A, jnp.ones(n), DEVICE)


@pytest.mark.further
def test_values_that_are_not_finite_are_invalid_input():
    A = matrix("real")
    info = js.solve_linear_info(js.SparseMatrix(A.data.at[3].set(jnp.nan), A.pattern), jnp.ones(N), DEVICE)
    assert info.status == js.Status.invalid_input
    assert np.isnan(info.x).all()


@pytest.mark.further
@pytest.mark.parametrize("A", [matrix("real"), jnp.asarray(sample("real"))], ids=["sparse", "dense"])
def test_factorisations_say_what_they_are_and_close(A):
    b = np.random.default_rng(10).normal(size=(N, 2))
    with js.factorize(A, backend="device") as solver:
        assert ("in the program" in solver.description) or ("without exchanges" in solver.description)
        x = solver.solve(b)
    np.testing.assert_allclose(x, np.linalg.solve(sample("real"), b), rtol=1e-8)
    np.testing.assert_allclose(solver.solve_transpose(b), np.linalg.solve(sample("real").T, b), rtol=1e-8)
