"""Curl-curl systems on Yee's grid: iterations do not grow, whatever the mass; what does not fit is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js


def yee(n, mass):
    """curl curl + mass on n x n cells with conducting walls, its gradient, and the vectors along the edges."""
    ones, I, h = np.ones(n - 1), sps.eye_array, 1 / n
    D = sps.diags_array([ones, -ones], offsets=(0, -1), shape=(n, n - 1))
    C = sps.hstack([-sps.kron(I(n), D), sps.kron(D, I(n))])
    G = sps.vstack([sps.kron(D, I(n - 1)), sps.kron(I(n - 1), D)]).tocsr()
    A = (C.T @ C / h**2 + mass * I(2 * n * (n - 1))).tocsr()
    return A, G, h * np.repeat(np.eye(2), n * (n - 1), axis=0)


def solved(A, recipe, **options):
    b = np.random.default_rng(0).normal(size=A.shape[0])
    if options.pop("in_range", False):
        b = A @ b
    info = js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-8, preconditioner=recipe, **options))
    assert info.converged, info.message
    assert np.linalg.norm(A @ info.x - b) <= 1e-8 * np.linalg.norm(b)
    return int(info.iterations)


@pytest.mark.parametrize("n", [12, pytest.param(48, marks=pytest.mark.further)])
@pytest.mark.parametrize("mass", [1.0, pytest.param(1e-4, marks=pytest.mark.further)])
def test_iterations_grow_neither_with_the_mesh_nor_with_a_small_mass(n, mass):
    A, G, edges = yee(n, mass)
    assert solved(A, js.AuxiliarySpace(G, edges)) <= 8


@pytest.mark.further
def test_gradients_alone_see_to_a_small_mass():
    counts = [solved(A, js.AuxiliarySpace(G)) for A, G, _ in (yee(16, 1.0), yee(16, 1e-3))]
    assert max(counts) <= 20


@pytest.mark.further
def test_where_gradients_are_mapped_to_zero_they_need_no_correction():
    A, G, edges = yee(12, 0.0)
    recipe = js.AuxiliarySpace(gradient=G, edges=edges)
    assert len(recipe.build(A).parts) == 6  # two smoothings, two directions there and back
    assert solved(A, recipe, in_range=True, rank_deficiency=0) <= 12


@pytest.mark.further
def test_it_is_symmetric_and_the_same_of_traced_values():
    A, G, edges = yee(4, 0.5)
    recipe = js.AuxiliarySpace(G, edges)
    S = js.SparseMatrix.from_scipy(A)
    M = recipe.build(S.declare(symmetric=True)).as_matrix()
    np.testing.assert_allclose(M, M.T, atol=1e-12)
    assert np.linalg.eigvalsh(M).min() > 0

    def traced(data):
        return recipe.build(js.SparseMatrix(data, S.pattern)).as_matrix()

    np.testing.assert_allclose(jax.jit(traced)(S.data), M, atol=1e-10)
    both = jax.vmap(traced)(jnp.stack([2 * S.data, S.data]))
    np.testing.assert_allclose(both[1], M, atol=1e-10)
    np.testing.assert_allclose(both[0], M / 2, atol=1e-10)


@pytest.mark.further
def test_a_system_that_is_not_symmetric_has_the_transposed_operator():
    A, G, edges = yee(4, 0.5)
    A = (A + sps.diags_array(np.linspace(0, 3, A.shape[0])) @ abs(A)).tocsr()
    M = js.AuxiliarySpace(G, edges).build(A)
    np.testing.assert_allclose(M.T.as_matrix(), M.as_matrix().T, atol=1e-10)
    # Of a symmetric matrix, with a recipe for the nodes that is not symmetric.
    A = js.SparseMatrix.from_scipy(yee(4, 0.5)[0]).declare(symmetric=True)
    M = js.AuxiliarySpace(G, edges, nodal=js.SSOR() @ js.Jacobi()).build(A)
    np.testing.assert_allclose(M.T.as_matrix(), M.as_matrix().T, atol=1e-10)
    Z = js.AuxiliarySpace(G, edges).build((yee(4, 0.5)[0] * (1 + 0.2j)).tocsr())
    np.testing.assert_allclose(Z.T.as_matrix(), Z.as_matrix().T, atol=1e-10)


@pytest.mark.slow
def test_gradients_do_not_see_it():
    A, G, edges = yee(5, 0.5)
    S, b = js.SparseMatrix.from_scipy(A), jnp.ones(A.shape[0])
    solve = js.Solve("CG", rtol=1e-12, preconditioner=js.AuxiliarySpace(G, edges))

    def loss(scale):
        return jnp.sum(js.solve_linear(js.SparseMatrix(scale * S.data, S.pattern), b, solve) ** 2)

    x = np.linalg.solve(A.toarray(), b)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(1.0), -2 * x @ x, rtol=1e-8)
    np.testing.assert_allclose(jax.hessian(loss)(1.0), 6 * x @ x, rtol=1e-8)


def test_what_does_not_fit_is_refused():
    A, G, edges = yee(4, 1.0)
    with pytest.raises(js.StructureError, match=r"a row for each of the 24 unknowns; got shape \(9, 24\)"):
        js.AuxiliarySpace(G.T.tocsr()).build(A)
    with pytest.raises(js.StructureError, match=r"shape \(24, d\); got \(24,\)"):
        js.AuxiliarySpace(G, edges[:, 0])
    with pytest.raises(js.StructureError, match="nodal must be a preconditioner"):
        js.AuxiliarySpace(G, nodal="amg")
    with pytest.raises(js.StructureError, match="these are traced"):
        jax.jit(lambda e: js.AuxiliarySpace(G, e).build(A).mv(jnp.ones(24)))(edges)
    with pytest.raises(js.StructureError, match="whose entries are known"):
        js.AuxiliarySpace(_Products())


class _Products(js.LinearOperator):
    """Products alone."""

    shape = (24, 9)  # pyright: ignore[reportAssignmentType]
    dtype = jnp.dtype(float)  # pyright: ignore[reportAssignmentType]

    def mv(self, x):
        return jnp.zeros(24)
