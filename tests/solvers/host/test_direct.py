"""Sparse direct solvers: factors made once, shared, transposed, remade when forgotten."""

import gc
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

import jaxsolve as js
from jaxsolve.solvers.host import cholmod, klu, pardiso
from jaxsolve.solvers.host.factor import FACTORS, refined
from jaxsolve.solvers.host.handle import Handle
from jaxsolve.solvers.host.scaling import equilibrated
from jaxsolve.solvers.host.superlu import SuperLU

N = 24
BACKENDS = [
    "superlu",
    pytest.param("klu", marks=pytest.mark.skipif(klu._library() is None, reason="needs klujax")),
    pytest.param("pardiso", marks=pytest.mark.skipif(pardiso._library() is None, reason="needs mkl")),
]


def sample(dtype=np.float64, seed=4410):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(N, N))
    if np.issubdtype(dtype, np.complexfloating):
        A = A + 1j * rng.normal(size=(N, N))
    A[rng.random((N, N)) < 0.7] = 0
    A += 6 * np.eye(N)
    return A.astype(dtype)


@pytest.fixture
def b():
    return np.random.default_rng(97).normal(size=N)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
def test_the_inverse_and_its_transposes(dtype, backend, b):
    dense = sample(dtype)
    M = js.SparseDirect(backend).prepare(js.SparseMatrix.from_dense(dense))
    b = b.astype(dtype)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for operator, matrix in ((M, dense), (M.T, dense.T), (M.H, dense.conj().T), (M.T.T, dense)):
        z = operator.mv(jnp.asarray(b))
        assert z.dtype == dtype
        np.testing.assert_allclose(z, np.linalg.solve(matrix, b), rtol=tolerance, atol=tolerance)


def test_a_real_matrix_solves_for_complex_right_hand_sides(b):
    dense = sample()
    M = js.SparseDirect().prepare(js.SparseMatrix.from_dense(dense))
    np.testing.assert_allclose(M.mv(jnp.asarray(b + 2j)), np.linalg.solve(dense, b + 2j), rtol=1e-11)


def test_a_constant_matrix_is_factorised_while_tracing_and_never_again(b):
    A = js.SparseMatrix.from_dense(sample(seed=1))
    program = jax.jit(lambda v: js.SparseDirect().prepare(A).mv(v))
    made = FACTORS.made
    for k in range(3):
        program((k + 1) * jnp.asarray(b))
    assert FACTORS.made == made + 1


def test_a_traced_matrix_is_factorised_once_a_solve(b):
    A = js.SparseMatrix.from_dense(sample(seed=2))

    def repeated(data, v):
        M = js.SparseDirect().prepare(js.SparseMatrix(data, A.pattern))
        return jax.lax.fori_loop(0, 6, lambda _, x: M.mv(M.T.mv(x)), v)

    program = jax.jit(repeated)
    made = FACTORS.made
    program(A.data, jnp.asarray(b))
    assert FACTORS.made == made + 1
    program(3 * A.data, jnp.asarray(b))
    assert FACTORS.made == made + 2


def test_lanes_over_right_hand_sides_share_a_factor_and_lanes_of_matrices_do_not(b):
    dense = sample(seed=3)
    A = js.SparseMatrix.from_dense(dense)
    B = jnp.stack([jnp.asarray(b), 2 * jnp.asarray(b)])
    scales = jnp.array([1.0, 2.0, 4.0])

    def one(data, v):
        return js.SparseDirect().prepare(js.SparseMatrix(data, A.pattern)).mv(v)

    made = FACTORS.made
    x = jax.jit(jax.vmap(one, in_axes=(None, 0)))(A.data, B)
    assert FACTORS.made == made + 1
    np.testing.assert_allclose(x, np.linalg.solve(dense, np.asarray(B).T).T, rtol=1e-10)
    x = jax.jit(jax.vmap(one, in_axes=(0, None)))(scales[:, None] * A.data, B[0])
    assert FACTORS.made == made + 3
    np.testing.assert_allclose(x, np.linalg.solve(dense, b)[None] / np.asarray(scales)[:, None], rtol=1e-10)


def test_forgotten_factors_are_made_again(b):
    dense = sample(seed=5)
    A = js.SparseMatrix.from_dense(dense)
    M = js.SparseDirect().prepare(A)
    many = jax.vmap(lambda s: js.SparseDirect().prepare(js.SparseMatrix(s * A.data, A.pattern)))(
        jnp.array([1.0, 2.0])
    )
    FACTORS.clear()
    expected = np.linalg.solve(dense, b)
    np.testing.assert_allclose(M.mv(jnp.asarray(b)), expected, rtol=1e-10)
    FACTORS.clear()
    x = jax.vmap(lambda m: m.mv(jnp.asarray(b)))(many)
    np.testing.assert_allclose(x, np.stack([expected, expected / 2]), rtol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_singular_matrices_are_called_singular(backend):
    exact = js.SparseMatrix.from_dense(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(js.NotConverged, match="singular") as caught:
        js.solve_linear(exact, jnp.array([1.0, 0.0, 0.0]), js.Solve(js.SparseDirect(backend)))
    assert caught.value.result.status == js.Status.singular
    assert np.isfinite(caught.value.result.x).all()
    # Structurally singular: an empty row.
    empty = js.SparseMatrix.from_dense(np.array([[1.0, 2.0], [0.0, 0.0]]))
    assert js.SparseDirect(backend).prepare(empty).status == js.Status.singular


def test_a_dense_matrix_of_deficient_rank_is_called_singular():
    rng = np.random.default_rng(6)
    A = rng.normal(size=(20, 18)) @ rng.normal(size=(18, 20))
    info = js.solve_linear_info(jnp.asarray(A), jnp.ones(20), js.Solve("scipy-direct"))
    assert info.status == js.Status.singular


def test_nan_in_the_matrix_is_invalid_input():
    A = js.SparseMatrix.from_dense(np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert js.SparseDirect().prepare(A).status == js.Status.invalid_input
    assert js.solve_linear_info(A, jnp.ones(2), js.Solve("sparse-direct")).status == js.Status.invalid_input


def test_scaling_rounds_nothing_and_keeps_symmetry():
    dense = sample(seed=8)
    dense = dense + dense.T
    units = 10.0 ** np.arange(-12, 12)
    dense *= units[:, None] * units
    A = js.SparseMatrix.from_dense(dense)
    scaled, left, right = equilibrated(A.pattern, np.asarray(A.data))
    # But for the unit of the matrix, which does not stand under the square roots: it changes nothing else.
    assert (left / right == left[0] / right[0]).all()
    twice, _, same = equilibrated(A.pattern, 2 * np.asarray(A.data))
    assert (twice != scaled).nnz == 0
    assert (same == right).all()
    assert (np.frexp(left)[0] == 0.5).all()
    assert (np.abs(scaled) != np.abs(scaled).T).nnz == 0
    assert np.abs(scaled).max() <= 4
    x = SuperLU(A.pattern).factor(np.asarray(A.data)).solve(dense @ (1 / units)[:, None], "N")
    np.testing.assert_allclose(x[:, 0] * units, 1, rtol=1e-9)


@pytest.mark.further
def test_factorize_solves_columns_and_transposes_and_differentiates(b):
    dense = sample(seed=9)
    A = js.SparseMatrix.from_dense(dense)
    with js.factorize(A) as solver:
        both = solver.solve(jnp.stack([b, 2 * b], axis=1))
        np.testing.assert_allclose(both, np.linalg.solve(dense, np.stack([b, 2 * b], axis=1)), rtol=1e-11)
        np.testing.assert_allclose(solver.solve_transpose(b), np.linalg.solve(dense.T, b), rtol=1e-11)
        slope = jax.grad(lambda v: solver.solve(v)[3])(jnp.asarray(b))
        np.testing.assert_allclose(slope, np.linalg.inv(dense)[3], rtol=1e-10, atol=1e-14)
        held = len(FACTORS)
    assert len(FACTORS) == held - 1
    np.testing.assert_allclose(solver.solve(b), np.linalg.solve(dense, b), rtol=1e-11)


def test_factorize_says_what_is_wrong():
    with pytest.raises(js.NotConverged, match="singular"):
        js.factorize(jnp.array([[1.0, 2.0], [2.0, 4.0]])).solve(jnp.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="square"):
        js.factorize(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="known backends: auto, superlu, klu, pardiso"):
        js.factorize(scipy.sparse.eye(3), backend="mumps")
    with pytest.raises(ValueError, match=r"b of shape \(3,\)"):
        js.factorize(scipy.sparse.eye(3)).solve(jnp.ones(4))
    with pytest.raises(TypeError, match=r"array of shape \(3,\) or \(3, k\); got a dict"):
        js.factorize(scipy.sparse.eye(3)).solve({"b": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"one square matrix; got shape \(4, 2, 2\)"):
        js.factorize(jnp.ones((4, 2, 2)))
    with pytest.raises(ValueError, match="known backends: auto"):
        js.SparseDirect(backend="mumps")


def test_integers_are_solved_for_as_numbers():
    for A in (jnp.array([[2, 1], [0, 4]]), scipy.sparse.csr_matrix(np.array([[2, 1], [0, 4]]))):
        np.testing.assert_allclose(js.factorize(A).solve(jnp.array([4, 7])), [1.125, 1.75])
        np.testing.assert_allclose(js.factorize(A).solve_transpose([4, 7]), [2.0, 1.25])


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_solved_for_in_nothing(backend):
    assert js.factorize(scipy.sparse.csr_matrix((0, 0)), backend).solve(jnp.zeros(0)).shape == (0,)
    solve = js.Solve(js.SparseDirect(backend))
    assert js.solve_linear(scipy.sparse.csr_matrix((0, 0)), jnp.zeros(0), solve).shape == (0,)


def test_the_factors_of_a_batch_are_used_by_vmap(b):
    A = js.SparseMatrix.from_dense(sample(seed=18))
    several = jax.vmap(lambda s: js.factorize(js.SparseMatrix(s * A.data, A.pattern)))(jnp.array([1.0, 2.0]))
    x = jax.vmap(lambda solver: solver.solve(b))(several)
    np.testing.assert_allclose(x[0], 2 * x[1], rtol=1e-12)
    np.testing.assert_allclose(x[0], np.linalg.solve(sample(seed=18), b), rtol=1e-11)
    with pytest.raises(ValueError, match=r"a batch of matrices of shape \(2,\); solve with each by jax.vmap"):
        several.solve(b)
    assert several.description == "factors of a batch of matrices of shape (2,)"


@pytest.mark.further
def test_right_hand_sides_that_are_no_numbers_raise_in_solves_by_factors(b):
    solver = js.factorize(js.SparseMatrix.from_dense(sample(seed=17)))
    for bad in (np.nan, np.inf):
        spoilt = jnp.asarray(b).at[3].set(bad)
        for solve in (solver.solve, js.jit(solver.solve), jax.grad(lambda v: solver.solve(v)[0])):
            with pytest.raises(js.Diverged, match=r"b, x0 or A .* holds NaN or infinity"):
                solve(spoilt)
        with pytest.raises(js.Diverged, match="invalid_input"):
            solver.solve(jnp.stack([b, spoilt], axis=1))


def test_eager_gradients_through_factors_of_singular_matrices_keep_the_class():
    A = js.SparseMatrix.from_dense(np.array([[1.0, 2.0], [2.0, 4.0]]))
    for of in (lambda d: js.factorize(js.SparseMatrix(d, A.pattern)), lambda _: js.factorize(A)):
        with pytest.raises(js.NotConverged, match="singular"):
            jax.grad(lambda d, b, f=of: f(d).solve(b)[0], argnums=(0, 1))(A.data, jnp.array([1.0, 0.0]))
        with pytest.raises(js.NotConverged, match="singular"):
            jax.jvp(lambda b, f=of: f(A.data).solve(b), (jnp.eye(2),), (jnp.eye(2),))


@pytest.mark.parametrize(("module", "extra"), [(klu, "klu"), (pardiso, "pardiso"), (cholmod, "cholmod")])
def test_a_missing_library_is_named_with_its_extra(module, extra, monkeypatch):
    monkeypatch.setattr(module, "_library", lambda: None)
    with pytest.raises(ImportError, match=rf"pip install 'jaxsolve\[{extra}\]'"):
        js.factorize(scipy.sparse.eye(3), backend=extra)


def grid(n):
    """A symmetric pattern with a full diagonal, and values that are not symmetric."""
    line = scipy.sparse.diags_array(
        [-np.ones(n - 1), 2 * np.ones(n), -0.5 * np.ones(n - 1)], offsets=[-1, 0, 1]
    )
    return scipy.sparse.csr_matrix(scipy.sparse.kron(line, np.eye(n)) + scipy.sparse.kron(np.eye(n), line))


@pytest.mark.parametrize(
    "matrix", [grid(7), scipy.sparse.csr_matrix(sample(seed=12) * (1 + 1j))], ids=["grid", "any"]
)
def test_the_second_factorisation_of_a_pattern_reuses_the_ordering(matrix, monkeypatch):
    A = js.SparseMatrix.from_scipy(matrix)
    asked = []
    splu = scipy.sparse.linalg.splu
    monkeypatch.setattr(
        scipy.sparse.linalg, "splu", lambda *a, **k: asked.append(k["permc_spec"]) or splu(*a, **k)
    )
    recipe, rhs = SuperLU(A.pattern), np.random.default_rng(2).normal(size=(A.shape[0], 2)).astype(A.dtype)
    for k in range(3):
        values = np.asarray(A.data) * (1 + np.linspace(0, 0.1 * k, A.data.size))
        dense = A.pattern.to_scipy(values).toarray()
        factor = recipe.factor(values)
        for form, operator in (("N", dense), ("T", dense.T), ("H", dense.conj().T)):
            np.testing.assert_allclose(
                factor.solve(rhs, form), np.linalg.solve(operator, rhs), rtol=1e-10, atol=1e-12
            )
    assert asked[0] != "NATURAL"
    assert asked[1:] == ["NATURAL"] * 2


def test_refinement_recovers_what_the_factors_lost():
    dense = sample(seed=13)
    worse = np.linalg.inv(dense + 1e-6 * np.random.default_rng(1).normal(size=(N, N)))
    b = np.random.default_rng(3).normal(size=(N, 2))
    calls = []
    x = refined(lambda r: calls.append(0) or worse @ r, lambda x: dense @ x, b, np.abs(dense).max())
    np.testing.assert_allclose(x, np.linalg.solve(dense, b), rtol=1e-12)
    assert 2 <= len(calls) <= 4
    calls.clear()
    exact = np.linalg.inv(dense)
    refined(lambda r: calls.append(0) or exact @ r, lambda x: dense @ x, b, np.abs(dense).max())
    assert len(calls) == 1


@pytest.mark.further
def test_the_adjoint_solve_does_not_factorise_again(b):
    A = js.SparseMatrix.from_dense(sample(seed=14))

    def loss(data, b, preconditioner, method):
        solve = js.Solve(method, rtol=1e-10, preconditioner=preconditioner)
        return js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve)[3]

    for preconditioner, method in ((None, "sparse-direct"), ("ilu", "GMres")):
        program = jax.jit(lambda d, b, p=preconditioner, m=method: jax.grad(loss, argnums=(0, 1))(d, b, p, m))
        made = FACTORS.made
        program(1.5 * A.data, jnp.asarray(b))
        assert FACTORS.made == made + 1, method


@pytest.mark.cpu
def test_a_constant_matrix_needs_no_factorising_callback_in_a_compiled_solve(b):
    dense = sample(seed=15)
    for A in (js.SparseMatrix.from_dense(dense), scipy.sparse.csr_matrix(dense), jnp.asarray(dense)):
        for solve in (js.Solve("scipy-direct"), js.Solve("GMres", preconditioner="ilu")):
            text = str(jax.make_jaxpr(lambda b, A=A, s=solve: js.solve_linear(A, b, s))(jnp.asarray(b)))
            assert "_Make" not in text
            assert "_Solve" in text


def test_eager_solves_by_factors_compile_once(b, compilations):
    solver = js.factorize(js.SparseMatrix.from_dense(sample(seed=16)))
    solver.solve(b)
    with compilations() as seen:
        solver.solve(2 * b)
    assert not seen


@pytest.mark.further
def test_a_singular_matrix_raises_in_compiled_solves_by_factors_too():
    A = js.SparseMatrix.from_dense(np.array([[1.0, 2.0], [2.0, 4.0]]))

    def solve(data, b):
        return js.factorize(js.SparseMatrix(data, A.pattern)).solve(b)

    with pytest.raises(js.NotConverged, match="singular"):
        js.jit(solve)(A.data, jnp.array([1.0, 0.0]))
    with pytest.raises(js.NotConverged, match="singular"):
        js.jit(lambda b: js.factorize(A).solve(b))(jnp.array([1.0, 0.0]))
    x = js.jit(jax.vmap(solve, in_axes=(0, None)))(
        jnp.array([[2.0, 1, 0, 4], [1.0, 0, 1, 1]]), jnp.array([4.0, 8.0])
    )
    np.testing.assert_allclose(x, [[1.0, 2.0], [4.0, 4.0]])


def test_the_factors_say_how_they_were_made():
    assert js.factorize(grid(5)).description == "SuperLU, minimum degree on A + Aᵀ, diagonal pivots"
    assert "COLAMD" in js.factorize(scipy.sparse.csr_matrix(np.eye(4)[::-1])).description


def test_one_thread_makes_and_frees_the_factors_of_superlu():
    threads = []

    class Factors:
        nnz = 3

        def __init__(self):
            threads.append(threading.get_ident())

        def __del__(self):
            threads.append(threading.get_ident())

    handle = Handle(lambda matrix: Factors(), None)
    assert handle.nnz == 3
    del handle
    gc.collect()
    # Its own factors come after what is to be freed.
    Handle(lambda matrix: None, None)
    assert len(threads) == 2
    assert threads[0] == threads[1] != threading.get_ident()
    with pytest.raises(RuntimeError, match="singular"):
        Handle(scipy.sparse.linalg.splu, scipy.sparse.csc_matrix((2, 2)))
