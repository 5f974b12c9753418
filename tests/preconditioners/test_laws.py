"""What all preconditioners obey: linearity, symmetry, adjoints, batches, traced values, precision.

One program for each recipe and dtype builds it for a batch of matrices on one pattern and returns it as matrices; the
laws are checked on those by NumPy.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO, BCSR

import jaxsolve as js
from jaxsolve.core.errors import StructureError
from jaxsolve.linear.field_split import FieldSplit
from jaxsolve.operators.coo import CoordinateOperator
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.diagonal import Diagonal
from jaxsolve.operators.operator import Wrapper
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.coarse_correction import Cluster, Deflation
from jaxsolve.preconditioners.fsai import FSAI
from jaxsolve.preconditioners.ilu.incomplete import ILU, Cholesky0
from jaxsolve.preconditioners.jacobi import BlockJacobi, Jacobi
from jaxsolve.preconditioners.multigrid.algebraic import RugeStuben, SmoothedAggregation
from jaxsolve.preconditioners.multigrid.automatic import Multigrid
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid
from jaxsolve.preconditioners.nystrom import Nystrom
from jaxsolve.preconditioners.polynomial import Chebyshev, Neumann
from jaxsolve.preconditioners.preconditioner import Additive, Multiplicative, Symmetrized
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.preconditioners.relaxation import SSOR
from tests.gallery.methods import mostly_slow
from tests.preconditioners.problems import couplings, dominant, poisson

GRID = (9, 11)
PAIRS_OF_ROWS = Pattern.from_coo(np.arange(98), np.arange(98) ^ 1, (99, 99))[0]
#: Every name of the registry, and options that are something else.
ALL = {
    "jacobi": Jacobi(),
    "block-jacobi": BlockJacobi(5),
    "block-jacobi-pattern": BlockJacobi(PAIRS_OF_ROWS),
    "ilu": ILU(),
    "ic": Cholesky0(),
    "ssor": SSOR(1.2),
    "chebyshev": Chebyshev(3),
    "neumann": Neumann(2),
    "fsai": FSAI(),
    "fsai-2": FSAI(2),
    "nystrom": Nystrom(10),
    "cluster": Cluster(16),
    "cluster-multiplicative": Cluster(16, multiplicative=True, smoother=Chebyshev(1)),
    "deflation": Deflation(count=16),
    "sum": Additive(Jacobi(), SSOR()),
    "sequence": Multiplicative(SSOR(), Jacobi()),
    "there-and-back": Symmetrized(Neumann(1), Cluster(16)),
    "ruge-stuben": RugeStuben(bottom=30),
    "smoothed-aggregation": SmoothedAggregation(bottom=5),
    "geometric": GeometricMultigrid(bottom=20),
    "amg": Multigrid(visits=2),
    "field-split": FieldSplit(),
    "field-split-symmetric": FieldSplit(
        [(range(0, 99, 2), SSOR()), (range(1, 99, 2), Chebyshev(2))], "symmetric"
    ),
}
#: Hermitian whatever A is, so that they are of no use for complex symmetric matrices.
HERMITIAN = ("nystrom", "ic")
SYMMETRIC = [name for name, recipe in ALL.items() if type(recipe).symmetric]
#: What is bound to no grid and no size.
EVERYWHERE = [
    name for name in ALL if name not in ("geometric", "block-jacobi-pattern", "field-split-symmetric")
]
RNG = np.random.default_rng(88007)
#: One of each kind in every run, the others in `-m slow`.
QUICK = ("jacobi", "ssor", "chebyshev", "fsai", "nystrom", "cluster", "ic", "geometric")
every_recipe = pytest.mark.parametrize("name", mostly_slow(ALL, QUICK))
PRECISIONS = (np.float32, np.float64, np.complex64, np.complex128)
CASES = [("grid", np.float64)]
CASES += [pytest.param("graph", dtype, marks=pytest.mark.slow) for dtype in PRECISIONS]
CASES += [pytest.param("grid", dtype, marks=pytest.mark.slow) for dtype in PRECISIONS if dtype != np.float64]
every_case = pytest.mark.parametrize(("kind", "dtype"), CASES)


class Built(NamedTuple):
    """A recipe built for a batch of matrices on one pattern, as NumPy matrices.

    The matrices are: one without symmetry, a positive definite one, twice that, the singular one of an insulated body
    (on the grid), and the first with a zero on its diagonal.
    """

    matrices: list[np.ndarray]
    inverse: np.ndarray
    transpose: np.ndarray
    adjoint: np.ndarray
    vector: np.ndarray
    image: np.ndarray


def batch(kind, dtype):
    """The matrices, all on one pattern."""
    B = couplings(kind, dtype)
    general = dominant(B, dtype)
    definite = dominant((B + B.conj().T) / 2, dtype)
    twice = SparseMatrix(2 * definite.data, definite.pattern)
    singular = (
        SparseMatrix.from_scipy(poisson(GRID, "insulated").astype(dtype)) if kind == "grid" else definite
    )
    place = general.pattern.diagonal_positions[3]
    holed = SparseMatrix(general.data.at[place].set(0), general.pattern)
    return [general, definite, twice, singular, holed]


def fitting(recipe, A):
    """The recipe with representative values: only with the same ones is the shape of a hierarchy the same."""
    if isinstance(recipe, RugeStuben | SmoothedAggregation | GeometricMultigrid):
        return type(recipe)(like=A, bottom=recipe.bottom)
    return Multigrid(like=A, visits=recipe.visits) if isinstance(recipe, Multigrid) else recipe


@functools.cache
def built(name: str, kind: str, dtype: Any) -> Built:
    if name == "geometric" and kind != "grid":
        pytest.skip("needs a grid")
    if name in ("block-jacobi-pattern", "field-split-symmetric") and kind != "grid":
        pytest.skip("its positions are of another size")
    matrices = batch(kind, dtype)
    pattern = matrices[0].pattern
    assert all(A.pattern == pattern for A in matrices)
    recipe = fitting(ALL[name], matrices[1])
    x = vectors(pattern.shape[0], dtype)[0]
    rows = jnp.concatenate([jnp.eye(len(x), dtype=dtype), x[None]])

    def everything(data):
        M = recipe.build(SparseMatrix(data, pattern))
        assert M.dtype == dtype
        assert M.shape == pattern.shape
        adjoint = jax.vmap(M.H.mv)(rows) if np.issubdtype(dtype, np.complexfloating) else None
        return jax.vmap(M.mv)(rows), jax.vmap(M.T.mv)(rows), adjoint

    data = jnp.stack([A.data for A in matrices])
    forward, transposed, adjoint = jax.jit(jax.vmap(everything))(data)
    if adjoint is None:
        adjoint = transposed
    whole, transposed, adjoint = (
        np.swapaxes(np.asarray(part[:, :-1]), 1, 2) for part in (forward, transposed, adjoint)
    )
    dense = [A.to_scipy().toarray() for A in matrices]
    return Built(dense, whole, transposed, adjoint, np.asarray(x), np.asarray(forward[:, -1]))


def vectors(n, dtype, count=2, seed=577):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((count, n))
    if np.issubdtype(dtype, np.complexfloating):
        v = v + 1j * rng.standard_normal((count, n))
    return jnp.asarray(v.astype(dtype))


def close(a, b, dtype, factor=1e4):
    a, b = np.asarray(a), np.asarray(b)
    return np.max(np.abs(a - b)) <= factor * float(jnp.finfo(dtype).eps) * np.max(np.abs(b))


def test_the_laws_are_for_all_of_the_registry():
    assert set(PRECONDITIONERS) <= set(ALL)
    for name, make in PRECONDITIONERS.items():
        assert type(ALL[name]) is type(make())


@pytest.mark.few(4)
@every_case
@every_recipe
def test_operators_are_linear_and_their_transposes_exact(name, kind, dtype):
    M = built(name, kind, dtype)
    for k in (0, 1):
        assert close(M.image[k], M.inverse[k] @ M.vector, dtype)
        assert close(M.transpose[k], M.inverse[k].T, dtype)
        assert close(M.adjoint[k], M.inverse[k].conj().T, dtype)


@pytest.mark.few(2)
@every_case
@pytest.mark.parametrize("name", mostly_slow(SYMMETRIC, QUICK))
def test_symmetric_recipes_build_definite_operators_of_definite_matrices(name, kind, dtype):
    M = built(name, kind, dtype).inverse[1]
    assert close(M, M.conj().T, dtype)
    assert np.linalg.eigvalsh((M + M.conj().T) / 2).min() > 0


@pytest.mark.few(3)
@every_recipe
def test_the_lanes_of_a_batch_are_what_each_matrix_gets_alone(name):
    M = built(name, "grid", np.float64)
    assert close(2 * M.inverse[2], M.inverse[1], np.float64)
    # Close to the inverse where it matters: the residual of a vector falls.
    A, z = M.matrices[1], M.image[1]
    step = (A @ z) @ M.vector / np.linalg.norm(A @ z) ** 2
    assert np.linalg.norm(M.vector - step * (A @ z)) < 0.95 * np.linalg.norm(M.vector)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", mostly_slow(ALL, ("jacobi", "fsai", "ic")))
def test_traced_values_give_what_concrete_ones_give(name):
    A = batch("grid", np.float64)[1]
    traced = built(name, "grid", np.float64)
    z = fitting(ALL[name], A).build(A).mv(jnp.asarray(traced.vector))
    assert close(traced.image[1], z, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_what_is_declared_makes_operators_their_own_transposes(name, dtype):
    B = couplings("grid", dtype)
    A = dominant((B + B.conj().T) / 2, dtype, positive_definite=True)
    M = ALL[name].build(A)
    assert M.H.mv(vectors(99, dtype)[0]).shape == (99,)
    whole = np.asarray(M.as_matrix())
    assert close(whole, whole.conj().T, dtype)
    assert close(M.T.as_matrix(), whole.T, dtype)
    if dtype == np.complex128 and name not in HERMITIAN:
        A = dominant((B + B.T) / 2, dtype, symmetric=True)
        whole = np.asarray(ALL[name].build(A).as_matrix())
        assert close(whole, whole.T, dtype)
        assert close(ALL[name].build(A).T.as_matrix(), whole.T, dtype)


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@pytest.mark.parametrize("name", mostly_slow(SYMMETRIC, QUICK))
def test_insulated_systems_are_solved(name, dtype):
    M = built(name, "grid", dtype)
    A, inverse, rtol = M.matrices[3], M.inverse[3], 1e-8 if dtype == np.float64 else 1e-4
    assert np.isfinite(inverse).all()
    b = (M.vector - M.vector.mean()).astype(float)
    assert conjugate_gradients(A.astype(float), inverse.astype(float), b, rtol) < 100


def conjugate_gradients(A, M, b, rtol):
    """The number of iterations, by the book."""
    x, r = np.zeros_like(b), b
    z = p = M @ r
    rho = r @ z
    for k in range(200):
        if np.linalg.norm(b - A @ x) <= rtol * np.linalg.norm(b):
            return k
        Ap = A @ p
        alpha = rho / (p @ Ap)
        x, r = x + alpha * p, r - alpha * Ap
        z = M @ r
        rho, before = r @ z, rho
        p = z + rho / before * p
    return 200


@pytest.mark.few(4)
@every_recipe
def test_zero_diagonals_are_survived(name):
    assert np.isfinite(built(name, "grid", np.float64).inverse[4]).all()


@pytest.mark.parametrize("name", mostly_slow(EVERYWHERE, ("jacobi", "nystrom")))
def test_dense_matrices_are_preconditioned_too(name):
    A = RNG.standard_normal((12, 12)) + 12 * np.eye(12)
    z = jax.jit(lambda A, x: ALL[name].build(A).mv(x))(DenseMatrix(jnp.asarray(A)), jnp.ones(12))
    assert np.isfinite(np.asarray(z)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("n", [1, 3])
def test_tiny_matrices_are_preconditioned(name, n):
    A = np.array([[2.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])[:n, :n]
    assert np.isfinite(np.asarray(ALL[name].build(SparseMatrix.from_dense(A)).mv(jnp.ones(n)))).all()


class Opaque(Wrapper):
    operator: DenseMatrix

    def mv(self, x):
        return self.operator.mv(x)


class OnTheHost(js.LinearOperator):
    """Its product is a function that nobody can read."""

    shape = property(lambda self: (4, 4))
    dtype = property(lambda self: jnp.dtype(float))

    def mv(self, x):
        return jax.pure_callback(
            lambda x: 2 * x, jax.ShapeDtypeStruct((4,), x.dtype), x, vmap_method="sequential"
        )


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("chebyshev", "neumann", "nystrom")])
def test_unknown_entries_are_refused_with_advice(name):
    with pytest.raises(StructureError, match=r"js\.matrix_from_function"):
        ALL[name].build(OnTheHost())


@pytest.mark.parametrize("name", ALL)
def test_rectangular_matrices_are_refused(name):
    with pytest.raises(StructureError, match="needs a square matrix"):
        ALL[name].build(SparseMatrix.from_dense(np.ones((3, 4))))


@pytest.mark.few(3)
@pytest.mark.parametrize("name", ALL)
def test_whatever_is_a_matrix_is_built_of(name):
    A = poisson(GRID)
    z = ALL[name].build(SparseMatrix.from_scipy(A)).mv(jnp.ones(99))
    for matrix in (A, A.astype(int), BCOO.from_scipy_sparse(A), BCSR.from_scipy_sparse(A)):
        assert close(ALL[name].build(matrix).mv(jnp.ones(99)), z, np.float64)
    if name != "geometric":
        z = ALL[name].build(DenseMatrix(jnp.asarray(A.toarray()))).mv(jnp.ones(99))
        assert close(ALL[name].build(A.toarray()).mv(jnp.ones(99)), z, np.float64)


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_matrix_is_refused_with_advice(name):
    for nothing in (lambda x: 2 * x, None, "A"):
        with pytest.raises(TypeError, match=r"For a function: `js\.matrix_from_function\(f, x\)\[0\]`"):
            ALL[name].build(nothing)
    with pytest.raises(StructureError, match=r"got a batch of shape \(2,\)\. Use jax\.vmap"):
        ALL[name].build(np.ones((2, 3, 3)))


def test_traced_indices_do_not_tell_where_entries_are():
    A = BCOO.from_scipy_sparse(poisson((3, 3)))
    with pytest.raises(StructureError, match=r"the indices of this one are traced\. Make it outside of jit"):
        jax.jit(lambda A: SSOR().build(A).mv(jnp.ones(9)))(A)


def test_polynomials_need_products_alone():
    A = dominant(couplings("grid", np.float64), np.float64)
    M = Chebyshev(3).build(Opaque(DenseMatrix(A.as_matrix())))
    x, y = vectors(A.shape[0], np.float64)
    assert close(jnp.vdot(y, M.mv(x)), jnp.vdot(M.T.mv(y), x), np.float64)


def test_jacobi_reads_any_known_diagonal():
    A = CoordinateOperator(jnp.array([2.0, 4.0]), jnp.array([0, 1]), jnp.array([0, 1]), (2, 2))
    assert Jacobi().build(A).mv(jnp.ones(2)).tolist() == [0.5, 0.25]
    assert Jacobi().build(Diagonal(jnp.array([2.0, 4.0]))).mv(jnp.ones(2)).tolist() == [0.5, 0.25]


@pytest.mark.further
@pytest.mark.parametrize("name", mostly_slow(ALL, ("fsai",)))
def test_gradients_do_not_feel_the_preconditioner(name):
    A = dominant(couplings("grid", np.float64), np.float64)
    b = vectors(A.shape[0], np.float64)[0]

    def loss(data, recipe):
        solve = js.Solve("GMres", rtol=1e-11, preconditioner=recipe)
        return jnp.sum(js.solve_linear(SparseMatrix(data, A.pattern), b, solve) ** 2)

    plain = _plain_gradient(A, b)
    assert close(jax.jit(jax.grad(lambda data: loss(data, ALL[name])))(A.data), plain, np.float64, 1e8)


def _plain_gradient(A, b):
    """-(Aᵀ)⁻¹ 2x xᵀ at the entries of A, by NumPy."""
    dense = A.to_scipy().toarray()
    x = np.linalg.solve(dense, b)
    y = np.linalg.solve(dense.T, 2 * x)
    return -y[A.pattern.rows] * x[A.pattern.indices]
