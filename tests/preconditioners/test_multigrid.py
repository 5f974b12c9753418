"""Iteration counts of the multigrid recipes, the shapes of their hierarchies, singular problems."""

import gc
import re
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core.errors import MissingBackendError, StructureError
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.coarse_solve import host_inverse
from jaxsolve.preconditioners.grid import Grid
from jaxsolve.preconditioners.grid_search import grid_of
from jaxsolve.preconditioners.multigrid.algebraic import RugeStuben, SmoothedAggregation
from jaxsolve.preconditioners.multigrid.automatic import Multigrid
from jaxsolve.preconditioners.multigrid.geometric import GeometricMultigrid
from jaxsolve.preconditioners.multigrid.grid import axis_galerkin
from jaxsolve.preconditioners.multigrid.grid.grid_hierarchy import HALVES, THIRDS
from jaxsolve.preconditioners.multigrid.near_null import modes_interpolation
from jaxsolve.preconditioners.multigrid.smoother_bounds import host_spectrum
from jaxsolve.preconditioners.stencil import StencilOperator, stencil_of
from jaxsolve.solvers.driver import Control, iterate
from jaxsolve.solvers.krylov.bicgstab import BiCGStab
from jaxsolve.solvers.krylov.cg import CG
from jaxsolve.solvers.nullspace import NullSpace
from tests.preconditioners.problems import convection, elasticity, irregular, poisson, rough


def matrix(scipy_matrix, **traits):
    return SparseMatrix.from_scipy(scipy_matrix).declare(**traits)


def iterations(A, recipe, method=None, mean_free=False, rtol=1e-8):
    b = jnp.asarray(np.random.default_rng(0).standard_normal(A.shape[0]).astype(A.dtype))
    b = b - jnp.mean(b) if mean_free else b
    M = recipe.build(A)
    method = CG() if method is None else method
    run = jax.jit(
        lambda A, M, b: iterate(method, A.layout(), M, b, None, Control(rtol, 0.0, 200), NullSpace())
    )
    out = run(A, M, b)
    assert out.status == 0
    return int(out.iterations)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("recipe", "most"),
    [(GeometricMultigrid(), 9), (RugeStuben(), 8), (SmoothedAggregation(), 9), (Multigrid(), 9)],
)
def test_poisson_takes_few_iterations(recipe, most):
    assert iterations(matrix(poisson((64, 64)), positive_definite=True), recipe) <= most


@pytest.mark.further
def test_jumping_coefficients_take_few_iterations():
    A = matrix(rough(64), positive_definite=True)
    assert iterations(A, Multigrid()) <= 12
    assert isinstance(Multigrid().choice(A), RugeStuben)


@pytest.mark.further
def test_irregular_graphs_take_few_iterations():
    A = matrix(irregular(1500), positive_definite=True)
    assert iterations(A, Multigrid()) <= 20


@pytest.mark.further
def test_weak_axes_are_not_halved_first():
    A = matrix(poisson((64, 64), weights=(1.0, 1e-3)), positive_definite=True)
    assert iterations(A, GeometricMultigrid()) <= 12


def test_convection_takes_few_iterations():
    assert iterations(matrix(convection(64)), Multigrid(), BiCGStab()) <= 10


@pytest.mark.further
@pytest.mark.parametrize("ends", ["insulated", pytest.param("periodic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", [GeometricMultigrid(), RugeStuben(), SmoothedAggregation()])
def test_singular_problems_take_few_iterations(recipe, ends):
    A = matrix(poisson((48, 64), ends), symmetric=True)
    assert iterations(A, recipe, mean_free=True) <= 20


@pytest.mark.further
def test_cycles_in_single_precision_serve_double_precision_solves():
    A = matrix(poisson((64, 64)), positive_definite=True)
    recipe = GeometricMultigrid(dtype=np.float32)
    assert recipe.build(A).mv(jnp.ones(A.shape[0])).dtype == np.float64
    assert iterations(A, recipe) <= 9


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("recipe", [GeometricMultigrid(), RugeStuben(), SmoothedAggregation()])
def test_single_precision_takes_as_few_iterations(recipe):
    A = matrix(poisson((48, 64)).astype(np.float32), positive_definite=True)
    assert recipe.build(A).dtype == np.float32
    assert iterations(A, recipe, rtol=1e-5) <= 7


@pytest.mark.further
def test_singular_problems_in_single_precision_take_few_iterations():
    A = matrix(poisson((48, 64), "insulated").astype(np.float32), symmetric=True)
    for recipe in (GeometricMultigrid(), SmoothedAggregation()):
        assert iterations(A, recipe, mean_free=True, rtol=1e-4) <= 12


def test_iterations_on_a_real_matrix(matrices):
    path = matrices / "1138_bus.npz"
    if not path.exists():
        pytest.skip("not in the folder")
    # Plain CG does not reach 1e-8 in 1000 iterations.
    A = matrix(sps.csr_matrix(sps.load_npz(path)), positive_definite=True)
    assert iterations(A, RugeStuben()) <= 10
    assert iterations(A, SmoothedAggregation()) <= 40


def test_the_repr_lists_the_levels():
    text = repr(RugeStuben().build(matrix(poisson((40, 40)), positive_definite=True)))
    assert text.startswith("RugeStuben: ")
    assert "1600 unknowns" in text
    assert "operator complexity" in text


def test_grids_are_read_from_patterns():
    assert grid_of(matrix(poisson((6, 7))).pattern) == Grid((6, 7), (False, False))
    assert grid_of(matrix(poisson((6, 7, 8))).pattern) == Grid((6, 7, 8), (False,) * 3)
    assert grid_of(matrix(poisson((30,))).pattern) == Grid((30,), (False,))
    assert grid_of(matrix(poisson((6, 8), "periodic")).pattern) == Grid((6, 8), (True, True))
    assert grid_of(matrix(irregular(50)).pattern) is None


def test_geometric_multigrid_refuses_what_is_no_grid():
    with pytest.raises(StructureError, match="RugeStuben"):
        GeometricMultigrid().build(matrix(irregular(50)))


def test_representative_values_must_fit_and_be_concrete():
    A = matrix(poisson((20, 20)), positive_definite=True)
    with pytest.raises(StructureError, match="same"):
        RugeStuben(like=poisson((5, 5))).build(A)
    with pytest.raises(StructureError, match="outside of jit"):
        jax.jit(lambda data: RugeStuben(like=SparseMatrix(data, A.pattern)).build(A).mv(data[:400]))(A.data)


@pytest.mark.further
def test_near_null_vectors_serve_elasticity():
    A, B = elasticity(16)
    A = matrix(A, positive_definite=True)
    plain, with_B = iterations(A, SmoothedAggregation()), iterations(A, SmoothedAggregation(B=B, block=2))
    assert with_B <= 16
    assert with_B < plain


@pytest.mark.further
def test_interpolation_reproduces_near_null_vectors():
    scipy_matrix, B = elasticity(9)
    pattern = matrix(scipy_matrix).pattern
    label = np.repeat(np.arange(len(B) // 2) // 5, 2)
    plan = modes_interpolation(pattern, label, B)
    P = plan.pattern.to_scipy(plan.numbers(scipy_matrix.data))
    # Away from the side that is held springs do not resist rigid motions, and smoothing leaves these as they are.
    inside = np.abs(scipy_matrix @ B).max(axis=1) < 1e-12
    assert inside.sum() > len(B) // 2
    np.testing.assert_allclose((P @ plan.modes)[inside], B[inside], atol=1e-10)
    np.testing.assert_allclose(plan.values(jnp.asarray(scipy_matrix.data)), P.data, atol=1e-12)


@pytest.mark.further
def test_hierarchies_with_near_null_vectors_are_the_same_for_traced_values():
    scipy_matrix, B = elasticity(7)
    A = matrix(scipy_matrix, positive_definite=True)
    recipe = SmoothedAggregation(B=B, block=2, bottom=12, like=A)
    x = jnp.asarray(np.random.default_rng(5).standard_normal(A.shape[0]))
    eager = recipe.build(A)
    traced = jax.jit(lambda data, x: recipe.build(SparseMatrix(data, A.pattern, A.traits)).mv(x))(A.data, x)
    assert len(eager.sizes) > 2
    np.testing.assert_allclose(traced, eager.mv(x), rtol=1e-9, atol=1e-12)
    single = SmoothedAggregation(B=B, block=2, bottom=12, like=A, dtype=np.float32)
    levels = jax.eval_shape(lambda data: single.build(SparseMatrix(data, A.pattern, A.traits)), A.data).levels
    assert all(leaf.dtype != np.float64 for leaf in jax.tree.leaves(levels))


def test_near_null_vectors_must_fit():
    A = matrix(poisson((20, 20)), positive_definite=True)
    with pytest.raises(StructureError, match="row for each unknown"):
        SmoothedAggregation(B=np.ones(7)).build(A)
    with pytest.raises(StructureError, match="complex"):
        SmoothedAggregation(B=1j * np.ones(400)).build(A)
    with pytest.raises(StructureError, match="columns"):
        SmoothedAggregation(B=np.ones((4, 3, 2)))
    with pytest.raises(StructureError, match="finite"):
        SmoothedAggregation(B=np.full(400, np.nan))
    with pytest.raises(StructureError, match="blocks"):
        SmoothedAggregation(block=2)


@pytest.mark.further
@pytest.mark.parametrize("recipe", [SmoothedAggregation(hierarchy="pyamg"), RugeStuben(hierarchy="pyamg")])
def test_hierarchies_of_pyamg_run_on_the_device(recipe):
    pytest.importorskip("pyamg")
    A = matrix(poisson((40, 40)), positive_definite=True)
    M = recipe.build(A)
    assert "(pyamg)" in repr(M)
    dense = np.asarray(jax.vmap(M.mv, 1, 1)(jnp.eye(1600)))
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert iterations(A, recipe) <= 15
    with pytest.raises(StructureError, match="traced"):
        jax.jit(lambda data: recipe.build(SparseMatrix(data, A.pattern)).mv(data[:1600]))(A.data)


def test_a_missing_pyamg_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyamg", None)
    A = matrix(poisson((20, 20)), positive_definite=True)
    with pytest.raises(MissingBackendError, match=r"jaxsolve\[amg\]"):
        SmoothedAggregation(hierarchy="pyamg").build(A)
    with pytest.raises(StructureError, match="'own' or 'pyamg'"):
        RugeStuben(hierarchy="hypre")


@pytest.mark.cpu
def test_aggregates_on_grids_are_blocks():
    A = matrix(poisson((64, 64)), positive_definite=True)
    M = SmoothedAggregation(bottom=50).build(A)
    assert M.sizes == (4096, 484, 64, 9)
    assert all(isinstance(level.A, StencilOperator) for level in M.levels[1:])
    # The finest level is what the solver multiplies with, not a copy.
    assert np.shares_memory(M.levels[0].A.values, A.layout().values)
    weak = SmoothedAggregation().build(matrix(poisson((64, 64), weights=(1.0, 1e-3)), positive_definite=True))
    assert weak.sizes[1] == 22 * 64


def test_aggregates_around_periodic_axes_are_blocks():
    M = SmoothedAggregation(bottom=50).build(matrix(poisson((64, 63), "periodic"), symmetric=True))
    assert M.sizes == (4032, 441, 49)
    assert all(isinstance(level.A, DiagonalsOperator) for level in M.levels[1:])


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("shape", "ends"), [((9,), "fixed"), ((7, 8), "fixed"), ((6, 9), "periodic"), ((4, 5, 6), "insulated")]
)
@pytest.mark.parametrize("by", [HALVES, THIRDS])
@pytest.mark.parametrize("host", [True, False])
def test_coarse_stencils_are_products_of_matrices(shape, ends, by, host):
    rng = np.random.default_rng(8)
    A = poisson(shape, ends).tocoo()
    A = sps.csr_matrix((A.data * rng.uniform(0.5, 1.5, A.nnz), (A.row, A.col)), A.shape)
    pattern = SparseMatrix.from_scipy(A).pattern
    stencil = stencil_of(
        SparseMatrix(A.data if host else jnp.asarray(A.data), pattern),
        Grid(shape, (ends == "periodic",) * len(shape)),
    )
    for axis, length in enumerate(shape):
        if ends == "periodic" and length % by.factor:
            continue
        P, R = by.interpolation(stencil, axis), by.interpolation(stencil.T, axis)
        coarse = by.galerkin(R, stencil, P)
        P, R, coarse = jax.device_put((P, R, coarse))
        expected = R.as_matrix().T @ A.toarray() @ P.as_matrix()
        np.testing.assert_allclose(coarse.as_matrix(), expected, atol=1e-12)
        np.testing.assert_allclose(P.T.as_matrix(), P.as_matrix().T, atol=1e-14)


@pytest.mark.parametrize("shape", [(24, 24), (25, 31), (30, 20), (7, 6, 9)])
@pytest.mark.parametrize("by", [HALVES, THIRDS])
def test_coarse_stencils_do_not_depend_on_the_slabs_they_are_made_in(shape, by, monkeypatch):
    A = poisson(shape).tocoo()
    A = sps.csr_matrix((A.data * np.random.default_rng(8).uniform(0.5, 1.5, A.nnz), (A.row, A.col)), A.shape)

    def coarse(entries):
        monkeypatch.setattr(axis_galerkin, "CACHED", entries)
        stencil = stencil_of(
            SparseMatrix(A.data, SparseMatrix.from_scipy(A).pattern), Grid(shape, (False,) * len(shape))
        )
        for axis in (*range(len(shape)), *range(len(shape))):
            P, R = by.interpolation(stencil, axis), by.interpolation(stencil.T, axis)
            stencil = by.galerkin(R, stencil, P)
        return stencil.host_matrix()

    whole = coarse(1 << 30)
    for entries in (7, 60, 200, 500):
        np.testing.assert_allclose(coarse(entries), whole, atol=1e-12 * np.abs(whole).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bottoms_are_inverted_whether_singular_or_not(dtype):
    shuffled = np.eye(70)[np.random.default_rng(4).permutation(70)]
    indefinite = poisson((7, 9)).toarray() - 1.5 * np.eye(63)
    for A in (poisson((7, 9)).toarray(), poisson((7, 9), "insulated").toarray(), indefinite, shuffled):
        dense = A.astype(dtype)
        X = host_inverse(dense, bool((dense == dense.T).all()))
        assert X.dtype == dtype
        np.testing.assert_allclose(dense @ X @ dense, dense, atol=1e5 * np.finfo(dtype).eps)
    X = host_inverse(convection(8).toarray().astype(dtype), False)
    np.testing.assert_allclose(X @ convection(8).toarray(), np.eye(64), atol=1e4 * np.finfo(dtype).eps)
    assert np.isnan(host_inverse(np.full((3, 3), np.nan, dtype), True)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_constants_leave_the_bottom_without_eigenvalues(dtype, monkeypatch):
    A = poisson((15, 16), "insulated").toarray()
    scale = 1 / np.sqrt(np.diagonal(A))
    expected = (
        scale[:, None] * np.linalg.pinv(scale[:, None] * A * scale, rcond=1e-10, hermitian=True) * scale
    )

    def no_decomposition(*_, **__):
        raise AssertionError("decomposed")

    monkeypatch.setattr(np.linalg, "pinv", no_decomposition)
    X = host_inverse(A.astype(dtype), True)
    np.testing.assert_allclose(X, expected, atol=1e5 * np.finfo(dtype).eps)
    # Two null vectors are beyond this shortcut.
    twice = np.kron(np.eye(2), A).astype(dtype)
    with pytest.raises(AssertionError, match="decomposed"):
        host_inverse(twice, True)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("recipe", [Multigrid(), RugeStuben(), SmoothedAggregation()])
def test_units_do_not_matter_in_single_precision(recipe, scale):
    matrix_of_ones = poisson((24, 25))
    counts = []
    for factor in (1.0, scale):
        A = matrix((factor * matrix_of_ones).astype(np.float32), positive_definite=True)
        b = (factor * np.random.default_rng(0).standard_normal(600)).astype(np.float32)
        info = js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-4, preconditioner=recipe))
        assert info.converged
        counts.append(int(info.iterations))
    assert counts[0] == counts[1]


@pytest.mark.further
def test_hierarchies_are_forgotten_with_their_matrix():
    A = matrix(irregular(300), positive_definite=True)
    RugeStuben(bottom=50).build(A)
    pattern = weakref.ref(A.pattern)
    del A
    gc.collect()
    assert pattern() is None


@pytest.mark.further
@pytest.mark.parametrize("recipe", [GeometricMultigrid(), SmoothedAggregation()])
def test_large_grids_of_any_length_take_few_iterations(recipe):
    for shape in ((700, 900), (83, 90, 95)):
        assert iterations(matrix(poisson(shape), positive_definite=True), recipe) <= 11


@pytest.mark.further
def test_blocks_of_three_are_of_two_at_both_ends_rather_than_of_one_at_one():
    A = matrix(poisson((31,)), positive_definite=True)
    P = SmoothedAggregation(bottom=15).build(A).levels[0].P.as_matrix()
    assert P.shape == (31, 11)
    mostly = np.argmax(np.abs(P), axis=1)
    assert np.bincount(mostly).tolist() == [2, *([3] * 9), 2]
    assert iterations(matrix(poisson((235, 235)), positive_definite=True), SmoothedAggregation()) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [GeometricMultigrid(), RugeStuben(), SmoothedAggregation()])
def test_iterations_do_not_grow_with_the_grid(recipe):
    counts = [
        iterations(matrix(poisson((n, n)), positive_definite=True), recipe) for n in (128, 256, 512, 1024)
    ]
    assert counts[-1] <= 1.3 * counts[0]
    assert max(counts) <= 10


@pytest.mark.slow
def test_the_reference_problems_take_the_promised_iterations():
    for recipe in (Multigrid(), SmoothedAggregation()):
        assert iterations(matrix(poisson((64, 64, 64)), positive_definite=True), recipe) <= 12
        assert iterations(matrix(poisson((512, 512)), positive_definite=True), recipe) <= 10
    assert iterations(matrix(rough(512), positive_definite=True), Multigrid()) <= 25
    assert iterations(matrix(convection(256)), Multigrid(), BiCGStab()) <= 15


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("recipe", "shape"),
    [(GeometricMultigrid(), (400, 3)), (Multigrid(), (3, 200, 3)), (SmoothedAggregation(), (400, 4))],
)
def test_axes_may_shrink_to_two_points(recipe, shape):
    # Steps across such an axis share diagonals with others.
    assert iterations(matrix(poisson(shape), positive_definite=True), recipe) <= 9


@pytest.mark.parametrize("like", [3, "amg", [], np.eye(3)])
def test_representatives_are_sparse_matrices(like):
    for recipe in (GeometricMultigrid, RugeStuben, SmoothedAggregation, Multigrid):
        with pytest.raises(
            StructureError, match=r"`like` must be a js\.SparseMatrix or a SciPy sparse matrix; got"
        ):
            recipe(like=like)


def test_a_cycle_for_a_batch_is_as_many_cycles():
    lanes = 4
    A = matrix(poisson((64, 64)), positive_definite=True)
    M = GeometricMultigrid().build(A)

    def work(f, *shape):
        analysis = jax.jit(f).lower(M, jnp.ones(shape)).compile().cost_analysis()
        assert analysis is not None
        return analysis["flops"]

    # What windows are cut from is computed once, not once a window.
    one = work(lambda M, b: M.mv(b), 64**2)
    many = work(jax.vmap(lambda M, b: M.mv(b), (None, 0)), lanes, 64**2)
    assert many < 1.5 * lanes * one


def test_a_lane_of_a_batch_that_is_no_number_leaves_the_others_alone():
    M = GeometricMultigrid().build(matrix(poisson((16, 16)), positive_definite=True))
    b = np.random.default_rng(3).standard_normal((3, 256))
    b[0] = np.nan
    z = jax.vmap(M.mv)(jnp.asarray(b))
    assert np.isnan(z[0]).all()
    for k in (1, 2):
        np.testing.assert_allclose(z[k], M.mv(jnp.asarray(b[k])), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("recipe", [GeometricMultigrid(), SmoothedAggregation()])
def test_in_the_set_up_for_a_batch_the_batch_stays_in_front(recipe):
    pattern = SparseMatrix.from_scipy(poisson((40, 30))).pattern

    def built(data):
        return recipe.build(SparseMatrix(data, pattern).declare(positive_definite=True))

    program = str(jax.make_jaxpr(jax.vmap(built))(jnp.ones((4, pattern.nnz))))
    # What vmap moves around is computed once for each use: one Galerkin product of 16 fields of 256² along an axis took
    # 78 ms, 56 without.
    assert "f64[4,5,40,30]" in program
    assert not re.search(r"permutation=\((?!0)(\d, ){3}", program)


@pytest.mark.cpu
@pytest.mark.further
def test_a_function_on_a_grid_is_set_up_without_index_arrays():
    def laplacian(u):
        u = jnp.pad(u, 1)
        return 4 * u[1:-1, 1:-1] - u[2:, 1:-1] - u[:-2, 1:-1] - u[1:-1, 2:] - u[1:-1, :-2]

    def solved(k, b):
        return js.solve_linear(lambda u: k * laplacian(u), b, js.Solve("CG", preconditioner="geometric"))

    program = jax.jit(solved).lower(2.0, jnp.ones((256, 256))).compile().as_text() or ""
    # Index arrays of this size would enter the program by callbacks.
    assert "while" in program
    assert not re.search(r"s32\[[\d,]+\]\S* custom-call", program)


@pytest.mark.further
def test_methods_for_hermitian_matrices_set_up_one_interpolation_for_both_ways():
    class Spy(GeometricMultigrid):
        def build(self, A):
            M = super().build(A)
            seen.append(M.levels[0].R.T is M.levels[0].P or A.traits.hermitian)
            return M

    A, seen = matrix(poisson((32, 32))), []
    for method in ("CG", "minres", "biCG-stab(2)"):
        js.solve_linear(A, jnp.ones(32**2), js.Solve(method, preconditioner=Spy()))
    assert seen == [True, True, False]


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("name", ["laplacian", "convection", "one long row"])
def test_spectra_found_on_the_host_are_close_upper_estimates(kind, name):
    A = sps.csr_matrix({"convection": convection(12)}.get(name, poisson((12, 12)))).astype(kind)
    if name == "one long row":
        # Gershgorin's bound is a million times the spectral radius, whose powers are no numbers of single precision.
        A = sps.csr_matrix(sps.eye(144) + sps.csr_matrix(([1e6], ([0], [143])), (144, 144))).astype(kind)
    D = A.diagonal()
    truth = np.abs(np.linalg.eigvals(A.toarray() / D[:, None])).max()
    rows = np.asarray(abs(A).sum(axis=1)).reshape(-1)
    found = host_spectrum(D, A.__matmul__, rows).largest
    assert 0.97 * truth <= found <= 1.3 * truth


@pytest.mark.further
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("recipe", [GeometricMultigrid, SmoothedAggregation, RugeStuben])
def test_cycles_may_be_less_precise_than_the_solve(recipe, dtype):
    A = matrix(poisson((20, 20)), positive_definite=True)
    b = jnp.asarray(np.random.default_rng(0).standard_normal(400))
    M = recipe(dtype=dtype, bottom=30)
    assert M.build(A).levels[0].A.dtype == dtype

    def solved(data):
        A_of_data = SparseMatrix(data, A.pattern).declare(positive_definite=True)
        return js.solve_linear_info(A_of_data, b, js.Solve("CG", rtol=1e-10, preconditioner=M))

    # What is traced goes the same way for all recipes from the spectrum on.
    traced = [jax.jit(solved)(A.data)] if recipe is GeometricMultigrid and dtype != jnp.float32 else []
    for info in (solved(A.data), *traced):
        assert info.converged
        assert info.iterations <= 14
        np.testing.assert_allclose(A.mv(info.x), b, atol=1e-8)
