"""What all preconditioners obey: linearity, symmetry, adjoints, batches, traced values, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.algebra import Diagonal
from jaxsolve.operators.base import Wrapper
from jaxsolve.operators.coo import CoordinateOperator
from jaxsolve.operators.dense import DenseMatrix
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.amg.automatic import Multigrid
from jaxsolve.preconditioners.amg.geometric import GeometricMultigrid
from jaxsolve.preconditioners.amg.recipes import RugeStuben, SmoothedAggregation
from jaxsolve.preconditioners.base import Additive, Multiplicative, Symmetrized
from jaxsolve.preconditioners.coarse import Cluster, Deflation
from jaxsolve.preconditioners.jacobi import BlockJacobi, Jacobi
from jaxsolve.preconditioners.polynomial import Chebyshev, Neumann
from jaxsolve.preconditioners.relaxation import SSOR
from jaxsolve.solvers.driver import Control, iterate
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.nullspace import NullSpace
from tests.gallery.methods import mostly_slow
from tests.preconditioners.problems import couplings, dominant, poisson

ALL = {
    "jacobi": Jacobi(),
    "block-jacobi": BlockJacobi(5),
    "ssor": SSOR(1.2),
    "chebyshev": Chebyshev(3),
    "neumann": Neumann(2),
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
}
SYMMETRIC = [name for name, recipe in ALL.items() if type(recipe).symmetric]
#: One of each kind in every run, the others in `-m slow`.
QUICK = ("jacobi", "ssor", "chebyshev", "cluster", "ruge-stuben", "geometric")
every_recipe = pytest.mark.parametrize("name", mostly_slow(ALL, QUICK))
PRECISIONS = (np.float32, np.float64, np.complex64, np.complex128)
CASES = [("grid", np.float64)]
CASES += [pytest.param("graph", dtype, marks=pytest.mark.slow) for dtype in PRECISIONS]
CASES += [pytest.param("grid", dtype, marks=pytest.mark.slow) for dtype in PRECISIONS if dtype != np.float64]


def recipe_for(name, kind):
    if name == "geometric" and kind != "grid":
        pytest.skip("needs a grid")
    return ALL[name]


@functools.partial(jax.jit, static_argnames="recipe")
def everything(recipe, A, x):
    """The built operator as matrices: itself, its transpose, its adjoint; and applied to a vector."""
    M = recipe.build(A)
    return M.as_matrix(), M.T.as_matrix(), M.H.as_matrix(), M.mv(x)


def vectors(n, dtype, count=2, seed=577):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((count, n))
    if np.issubdtype(dtype, np.complexfloating):
        v = v + 1j * rng.standard_normal((count, n))
    return jnp.asarray(v.astype(dtype))


def close(a, b, dtype, factor=1e4):
    a, b = np.asarray(a), np.asarray(b)
    return np.max(np.abs(a - b)) <= factor * float(jnp.finfo(dtype).eps) * np.max(np.abs(b))


def solve(A, M, b, rtol=1e-8):
    return iterate(CG(), A.layout(), M, b, None, Control(rtol, 0.0, 1000), NullSpace())


@pytest.mark.parametrize(("kind", "dtype"), CASES)
@every_recipe
def test_operators_are_linear_and_their_transposes_exact(name, kind, dtype):
    recipe = recipe_for(name, kind)
    A = dominant(couplings(kind, dtype), dtype)
    x = vectors(A.shape[0], dtype)[0]
    whole, transposed, adjoint, z = everything(recipe, A, x)
    assert whole.shape == A.shape
    assert whole.dtype == z.dtype == A.dtype
    assert close(z, np.asarray(whole) @ np.asarray(x), dtype)
    assert close(transposed, whole.T, dtype)
    assert close(adjoint, whole.conj().T, dtype)


@pytest.mark.parametrize(("kind", "dtype"), CASES)
@every_recipe
def test_symmetric_recipes_build_definite_operators_of_definite_matrices(name, kind, dtype):
    recipe = recipe_for(name, kind)
    B = couplings(kind, dtype)
    A = dominant((B + B.conj().T) / 2, dtype, positive_definite=True)
    M = recipe.build(A)
    if not type(recipe).symmetric:
        assert not (M.traits.symmetric)
        assert not (M.traits.hermitian)
        return
    whole, transposed, _, _ = (
        np.asarray(part) for part in everything(recipe, A, vectors(A.shape[0], dtype)[0])
    )
    assert close(whole, whole.conj().T, dtype)
    assert close(transposed, whole.T, dtype)
    assert np.linalg.eigvalsh((whole + whole.conj().T) / 2).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(SYMMETRIC, QUICK))
def test_complex_symmetric_matrices_get_complex_symmetric_operators(name):
    B = couplings("grid", np.complex128)
    A = dominant((B + B.T) / 2, np.complex128, symmetric=True)
    whole, transposed, _, _ = everything(ALL[name], A, vectors(A.shape[0], np.complex128)[0])
    assert close(whole, whole.T, np.complex128)
    assert close(transposed, whole.T, np.complex128)


@every_recipe
def test_traced_and_batched_values_give_what_concrete_ones_give(name):
    recipe = ALL[name]
    B = couplings("grid", np.float64)
    A = dominant((B + B.T) / 2, np.float64, positive_definite=True)
    if isinstance(recipe, RugeStuben | SmoothedAggregation | GeometricMultigrid):
        # Only with the same representative values is the shape of the hierarchy the same.
        recipe = type(recipe)(like=A, bottom=recipe.bottom)
    if isinstance(recipe, Multigrid):
        recipe = Multigrid(like=A)
    x = vectors(A.shape[0], np.float64)[0]

    def apply(data):
        return recipe.build(SparseMatrix(data, A.pattern, A.facts)).mv(x)

    eager = recipe.build(A).mv(x)
    one, half = jax.jit(jax.vmap(apply))(jnp.stack([A.data, 2 * A.data]))
    assert close(one, eager, np.float64)
    assert close(2 * half, eager, np.float64)


@pytest.mark.parametrize("name", mostly_slow(SYMMETRIC, QUICK))
@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
def test_insulated_systems_are_solved(name, dtype):
    A = SparseMatrix.from_scipy(poisson((12, 16), "insulated").astype(dtype)).declare(symmetric=True)
    b = vectors(A.shape[0], dtype)[0]
    b = b - jnp.mean(b)
    rtol = 1e-8 if dtype == np.float64 else 1e-4
    out = jax.jit(lambda A, b: solve(A, ALL[name].build(A), b, rtol))(A, b)
    assert out.status == 0
    assert out.x.dtype == dtype
    assert np.isfinite(np.asarray(out.x)).all()


@pytest.mark.parametrize("name", [n for n in ALL if n != "geometric"])
def test_dense_matrices_are_preconditioned_too(name):
    A = dominant(couplings("grid", np.float64), np.float64)
    z = jax.jit(lambda A, x: ALL[name].build(A).mv(x))(DenseMatrix(A.as_matrix()), jnp.ones(A.shape[0]))
    assert np.isfinite(np.asarray(z)).all()


@pytest.mark.parametrize("name", [n for n in ALL if n != "geometric"])
def test_zero_diagonals_are_survived(name):
    A = SparseMatrix.from_dense(np.array([[0.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]]))
    assert np.isfinite(np.asarray(ALL[name].build(A).mv(jnp.ones(3)))).all()


class Opaque(Wrapper):
    operator: DenseMatrix

    def mv(self, x):
        return self.operator.mv(x)


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("chebyshev", "neumann")])
def test_unknown_entries_are_refused_with_advice(name):
    with pytest.raises(StructureError, match=r"js\.matrix_from_function"):
        ALL[name].build(Opaque(DenseMatrix(jnp.eye(4))))


@every_recipe
def test_rectangular_matrices_are_refused(name):
    with pytest.raises(StructureError, match="needs a square matrix"):
        ALL[name].build(SparseMatrix.from_dense(np.ones((3, 4))))


def test_polynomials_need_products_alone():
    A = dominant(couplings("grid", np.float64), np.float64)
    M = Chebyshev(3).build(Opaque(DenseMatrix(A.as_matrix())))
    x, y = vectors(A.shape[0], np.float64)
    assert close(jnp.vdot(y, M.mv(x)), jnp.vdot(M.T.mv(y), x), np.float64)


def test_jacobi_reads_any_known_diagonal():
    A = CoordinateOperator(jnp.array([2.0, 4.0]), jnp.array([0, 1]), jnp.array([0, 1]), (2, 2))
    assert Jacobi().build(A).mv(jnp.ones(2)).tolist() == [0.5, 0.25]
    assert Jacobi().build(Diagonal(jnp.array([2.0, 4.0]))).mv(jnp.ones(2)).tolist() == [0.5, 0.25]


def test_gradients_do_not_feel_the_preconditioner():
    A = dominant(couplings("grid", np.float64), np.float64)
    x = jnp.ones(A.shape[0])

    def loss(data):
        B = SparseMatrix(jax.lax.stop_gradient(data), A.pattern, A.facts)
        return jnp.sum(SSOR().build(B).mv(x)) + jnp.sum(data)

    assert jnp.allclose(jax.grad(loss)(A.data), 1)
