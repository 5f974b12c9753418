"""What is special to one-level recipes: exact cases, iteration counts, options, combinations, refusals."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.preconditioners.preconditioner import Multiplicative
from tests.preconditioners.problems import convection, poisson

RNG = np.random.default_rng(90121)


def sparse(matrix, **traits):
    return js.SparseMatrix.from_scipy(matrix).declare(**traits)


def matrix_of(recipe, A):
    """The built operator as a matrix, by one program."""
    return np.asarray(jax.jit(lambda A: recipe.build(A).as_matrix())(A))


def iterations(A, preconditioner, method="CG", rtol=1e-8):
    b = np.random.default_rng(3).standard_normal(A.shape[0])
    info = js.solve_linear_info(A, b, js.Solve(method, rtol=rtol, preconditioner=preconditioner))
    assert info.converged
    return int(info.iterations)


def full(n, dtype=float, definite=True):
    """A matrix without zeros, for which the lower pattern holds the whole factor."""
    B = RNG.standard_normal((n, n)) + (1j * RNG.standard_normal((n, n)) if dtype is complex else 0)
    return js.SparseMatrix.from_dense(B @ B.conj().T + np.eye(n) if definite else B + 2 * n * np.eye(n))


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [float, complex])
def test_on_a_full_pattern_fsai_is_the_inverse(dtype):
    for A in (full(7, dtype).declare(positive_definite=True), full(7, dtype, definite=False)):
        M = matrix_of(js.FSAI(), A)
        np.testing.assert_allclose(M, np.linalg.inv(A.as_matrix()), atol=1e-10)


def test_fsai_satisfies_its_equations_on_the_pattern():
    A = sparse(poisson((8, 9)), positive_definite=True)
    M = matrix_of(js.FSAI(), A)
    # G is the transposed factor of M's Cholesky decomposition with the order reversed: M = Gᵀ G, G lower triangular.
    G = np.linalg.cholesky(M[::-1, ::-1])[::-1, ::-1].T
    dense = A.to_scipy().toarray()
    product = G @ dense
    lower = np.tril(dense != 0, -1)
    # (G A)_ij = 0 on the pattern off the diagonal, and diag(G A Gᵀ) = 1.
    assert np.abs(product[lower]).max() < 1e-10
    np.testing.assert_allclose(np.diag(product @ G.T), 1, rtol=1e-10)


@pytest.mark.further
def test_fsai_takes_half_of_the_iterations_and_a_third_with_the_squared_pattern():
    A = sparse(poisson((40, 40)), positive_definite=True)
    plain = iterations(A, None)
    assert iterations(A, js.FSAI()) < 0.6 * plain
    assert iterations(A, js.FSAI(2)) < 0.42 * plain


def test_fsai_is_definite_for_cg_where_nothing_is_declared_and_falls_back_where_it_must():
    A = js.SparseMatrix.from_dense(np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    M = matrix_of(js.FSAI().suited(definite=True), A)
    assert np.linalg.eigvalsh(M).min() > 0


def test_rows_of_every_length_are_grouped():
    # An arrow: the last row is full.
    n = 50
    arrow = sps.lil_matrix(4 * np.eye(n))
    arrow[-1, :-1] = arrow[:-1, -1] = 0.1
    A = sparse(sps.csr_matrix(arrow), positive_definite=True)
    np.testing.assert_allclose(matrix_of(js.FSAI(), A), np.linalg.inv(A.as_matrix()), atol=1e-12)
    with pytest.raises(StructureError, match="one of them has 301 entries"):
        js.FSAI().build(js.DenseMatrix(jnp.eye(301)))
    with pytest.raises(StructureError, match="power of at least 1"):
        js.FSAI(power=0)


def test_nystrom_frees_kernels_of_their_condition_number():
    t = np.sort(RNG.uniform(0, 1, 300))
    K = np.exp(-40 * (t[:, None] - t) ** 2)
    for shift in (1e-4,):
        A = js.DenseMatrix(jnp.asarray(K + shift * np.eye(300))).declare(positive_definite=True)
        assert iterations(A, js.Nystrom(40, shift=shift), rtol=1e-6) <= 8


def test_nystrom_takes_functions_traced_shifts_and_finds_low_ranks_exactly():
    U = np.linalg.qr(RNG.standard_normal((60, 5)))[0]
    K = jnp.asarray((U * [5.0, 4, 3, 2, 1]) @ U.T)

    @jax.jit
    def inverse(shift):
        A = js.DenseMatrix(K + shift * jnp.eye(60))
        return js.Nystrom(8, shift=shift).build(A).as_matrix()

    np.testing.assert_allclose(inverse(2.0), np.linalg.inv(K + 2 * np.eye(60)), atol=0.5)
    # Along the five directions it is exact.
    np.testing.assert_allclose(U.T @ inverse(2.0) @ U, np.diag(1 / (2 + np.arange(5, 0, -1.0))), atol=1e-10)
    x = js.solve_linear(
        lambda v: K @ v + v, jnp.ones(60), js.Solve("CG", preconditioner=js.Nystrom(8, shift=1.0))
    )
    np.testing.assert_allclose(K @ x + x, np.ones(60), atol=1e-4)
    with pytest.raises(StructureError, match="rank of at least 1"):
        js.Nystrom(0)


def test_blocks_by_a_pattern_are_those_that_it_couples():
    order = RNG.permutation(12)
    D = np.kron(np.eye(4), np.ones((3, 3)))[np.ix_(order, order)]
    A = sparse(sps.csr_matrix(D * RNG.uniform(1, 2, (12, 12)) + 5 * np.eye(12)))
    M = matrix_of(js.BlockJacobi(A.pattern), A)
    np.testing.assert_allclose(M, np.linalg.inv(A.as_matrix()), atol=1e-12)
    np.testing.assert_allclose(matrix_of(js.BlockJacobi(A.pattern), A.T), M.T, atol=1e-12)
    with pytest.raises(StructureError, match="pattern of the matrix's shape"):
        js.BlockJacobi(A.pattern).build(sparse(poisson((4,))))


@pytest.mark.further
def test_deflation_is_immune_to_jumps_where_its_vectors_are():
    k = np.where(np.arange(40) // 10 % 2, 1e6, 1.0)
    flux = 2 / (1 / k[1:] + 1 / k[:-1])
    jumps = sps.diags_array([-flux, np.r_[k[0], flux] + np.r_[flux, k[-1]], -flux], offsets=[-1, 0, 1])
    A = sparse(sps.csr_matrix(sps.kronsum(poisson((4,)), jumps)), positive_definite=True)
    labels = tuple((np.arange(160) // 4 // 10).tolist())
    assert iterations(A, js.Deflation(labels=labels)) <= iterations(A, "jacobi")
    with pytest.raises(StructureError, match="one integer of at least 0 for each of 160 rows"):
        js.Deflation(labels=(0, 1)).build(A)


@pytest.mark.further
def test_deflation_and_cluster_take_less_than_a_third_of_the_iterations():
    A = sparse(poisson((100, 100)), positive_definite=True)
    plain = iterations(A, None)
    assert iterations(A, js.Deflation()) < plain / 3.5
    assert iterations(A, js.Cluster()) < plain / 3.5


def test_recipes_are_added_and_multiplied():
    A = sparse(poisson((6, 5)))
    one, other = js.Jacobi(), js.Cluster(4)
    recipes = (one, other, one + other, one @ other, js.Symmetrized(one, other))
    M, C, total, product, both = jax.jit(lambda A: [p.build(A).as_matrix() for p in recipes])(A)
    np.testing.assert_allclose(total, M + C, atol=1e-14)
    # I - (one @ other) A = (I - one A) (I - other A).
    eye, D = np.eye(30), A.as_matrix()
    np.testing.assert_allclose(eye - product @ D, (eye - M @ D) @ (eye - C @ D), atol=1e-13)
    np.testing.assert_allclose(eye - both @ D, (eye - M @ D) @ (eye - C @ D) @ (eye - M @ D), atol=1e-13)
    with pytest.raises(TypeError, match="unsupported operand"):
        operator.add(one, 3)


def test_parts_learn_what_the_method_needs():
    both = (js.ILU() + js.Cluster(4)).suited(definite=True)
    assert both.parts[0].definite  # pyright: ignore[reportAttributeAccessIssue]  # a sum
    assert both.eager
    assert not (js.Jacobi() + js.Cluster(4)).eager
    assert isinstance(js.Jacobi() @ js.SSOR(), Multiplicative)


@pytest.mark.further
def test_fsai_suits_matrices_without_symmetry():
    A = sparse(convection(30))
    assert iterations(A, js.FSAI(), "GMres") < 0.6 * iterations(A, None, "GMres")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1138_bus", "494_bus", "bcsstk01", "ani4", "Trefethen_2000", "nos7"])
def test_iterations_on_real_definite_matrices(name, matrices):
    path = matrices / f"{name}.npz"
    if not path.exists():
        pytest.skip("not in the folder")
    matrix = sps.csr_array(sps.load_npz(path))
    A = sparse(matrix, positive_definite=True)
    b = matrix @ np.ones(A.shape[0])
    counts = {}
    for recipe in (
        None,
        "jacobi",
        "block-jacobi",
        "ssor",
        "fsai",
        js.FSAI(2),
        "ic",
        "ilu",
        "deflation",
        "cluster",
    ):
        info = js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-8, preconditioner=recipe))
        label = recipe if isinstance(recipe, str) else str(recipe and "fsai-2")
        counts[label] = int(info.iterations) if info.converged else 1001
        if info.converged:
            assert np.linalg.norm(b - matrix @ info.x) <= 1.01e-8 * np.linalg.norm(b)
    print(name, counts)
    assert counts["fsai"] <= 1.1 * counts["jacobi"]
    assert min(counts["ic"], counts["ilu"]) <= counts["jacobi"]


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        (js.Chebyshev, {"degree": 2.5}, "degree of at least 1, an integer; got 2.5"),
        (js.Chebyshev, {"ratio": 0}, "ratio must be a number of at least 1; got 0"),
        (js.Neumann, {"degree": -1}, "degree of at least 0"),
        (js.BlockJacobi, {"size": "large"}, "size of at least 1, an integer; got 'large'"),
        (js.SSOR, {"omega": None}, "omega must be a number from 0 to 2; got None"),
        (js.SSOR, {"omega": 2.0}, "0 < omega < 2"),
        (js.FSAI, {"definite": "yes"}, "definite must be None, True or False"),
        (js.Nystrom, {"rank": True}, "rank of at least 1, an integer; got True"),
        (js.Nystrom, {"shift": "small"}, "shift must be a number"),
        (js.Cluster, {"smoother": "jacobi"}, r"smoother must be a preconditioner such as js.Jacobi\(\)"),
        (js.Cluster, {"labels": 3}, "labels are integers, one for each row; got 3"),
        (js.Deflation, {"labels": [0.5, 1.5]}, "labels are integers"),
        (js.Deflation, {"count": 0}, "count of at least 1"),
        (js.Deflation, {"basis": [1.0, 2.0]}, r"basis of shape \(n, k\)"),
        (js.Multigrid, {"visits": 0}, "visits of at least 1"),
        (js.Multigrid, {"dtype": "half a number"}, "dtype must be None or a real floating one"),
        (js.GeometricMultigrid, {"bottom": float("nan")}, "bottom of at least 1"),
        (js.GeometricMultigrid, {"dtype": jnp.complex64}, "dtype must be None or a real floating one"),
        (js.GeometricMultigrid, {"smoother": None}, "smoother must be a preconditioner"),
        (js.RugeStuben, {"threshold": 2}, "threshold must be a number from 0 to 1; got 2"),
        (js.RugeStuben, {"hierarchy": "hypre"}, "hierarchy must be 'own' or 'pyamg'; got 'hypre'"),
        (js.SmoothedAggregation, {"block": 0}, "block of at least 1"),
        (js.SmoothedAggregation, {"block": 2}, "need near-null vectors"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_words(recipe, options, words):
    with pytest.raises(StructureError, match=words):
        recipe(**options)


def test_labels_may_be_any_sequence_of_integers():
    A = js.SparseMatrix.from_scipy(poisson((4, 4)))
    labels = np.arange(16) // 4
    recipes = [js.Cluster(labels=given) for given in (labels, labels.tolist(), jnp.asarray(labels))]
    assert len({hash(recipe.labels) for recipe in recipes}) == 1
    for recipe in recipes:
        np.testing.assert_allclose(recipe.build(A).as_matrix(), recipes[0].build(A).as_matrix())


@pytest.mark.further
def test_power_iterations_end_at_gershgorins_bound_and_lanes_do_not_mix():
    A = sparse(poisson((24, 24)))
    drift = sparse(convection(24))
    assert A.shape == drift.shape

    def largest(data, pattern):
        return js.Chebyshev(2).build(js.SparseMatrix(data, pattern)).largest

    # Rows of D⁻¹A that do not touch the boundary sum to 2 in absolute value.
    assert largest(A.data, A.pattern) == 2.0
    several = jnp.stack([A.data, A.data.at[:9].multiply(5.0), 3 * A.data])
    alone = [largest(data, A.pattern) for data in several]
    assert jax.vmap(lambda data: largest(data, A.pattern))(several).tolist() == alone

    def applied(data):
        return jnp.sum(js.Chebyshev(2).build(js.SparseMatrix(data, drift.pattern)).mv(jnp.ones(24**2)) ** 2)

    # Of the interval no derivative is taken, and backward agrees with forward.
    slope = jax.grad(applied)(drift.data)
    np.testing.assert_allclose(
        slope @ drift.data, jax.jvp(applied, (drift.data,), (drift.data,))[1], rtol=1e-10
    )
