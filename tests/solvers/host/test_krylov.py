"""SciPy's Krylov solvers: every kind, on every form of a matrix, by the numbers of SciPy itself."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

import jaxsolve as js
from jaxsolve.core.host_call import FAILURES
from jaxsolve.operators.conversion import as_operator
from jaxsolve.operators.operator import Conjugated, Declared, Product, Scaled, Sum, Transposed
from jaxsolve.preconditioners.ilu.triangular import series_inverse
from jaxsolve.solvers.host.scipy_krylov import NAMES, _Solve
from jaxsolve.solvers.host.scipy_methods import Task, _plain

N = 40


def sample(kind, dtype):
    """A well conditioned matrix of the sort that a kind needs."""
    rng = np.random.default_rng(3)
    A = rng.normal(size=(N, N))
    if np.issubdtype(dtype, np.complexfloating):
        A = A + 1j * rng.normal(size=(N, N))
    A[rng.random((N, N)) < 0.8] = 0
    if kind in ("cg", "minres"):
        A = A + A.conj().T
        return (A + (14 if kind == "cg" else 3) * np.eye(N)).astype(dtype)
    return (A + 7 * np.eye(N)).astype(dtype)


def run(kind, A, M, b, goal, limit=1000):
    """What the callback returns for one lane, without compiling anything."""
    leaves, structure = jax.tree.flatten((A, M))
    arrays = (b, np.asarray(goal), np.asarray(limit), *(np.asarray(leaf) for leaf in leaves))
    return [value[0] for value in _Solve(kind, structure)(*(array[None] for array in arrays))]


@pytest.mark.parametrize(("limit", "allowed"), [(1000, 400), (401, 400), (400, 400), (30, 30)])
def test_what_does_not_end_in_many_times_n_steps_begins_again(limit, allowed):
    def solver(A, r, maxiter, callback, **_):
        for _ in range(maxiter):
            callback(None)
        return 0 * r, maxiter

    answer = _plain(solver)(Task(None, None, np.ones(N), 0.0, limit))
    assert answer.iterations == allowed
    # Stagnation, from which the driver begins again, where the limit of the user leaves iterations.
    assert answer.halt == (js.Status.stagnation if limit > allowed else 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128, np.complex64])
@pytest.mark.parametrize("kind", NAMES)
def test_every_kind_on_every_form_and_preconditioner(kind, dtype):
    dense = sample(kind, dtype)
    b = np.random.default_rng(5).normal(size=N).astype(dtype)
    sparse = js.SparseMatrix.from_dense(dense)
    goal = (1e-4 if np.finfo(dtype).bits == 32 else 1e-9) * np.linalg.norm(b)
    definite = kind in ("cg", "minres")
    inverses = [None, js.ILU(definite=definite).build(sparse)]
    if kind != "minres":
        inverses.append(js.Diagonal(1 / sparse.diagonal()))
    for A in (sparse, sparse.layout(), js.DenseMatrix(jnp.asarray(dense))):
        for M in inverses:
            x, norm, halt, iterations, products = run(kind, A, M, b, goal)
            assert halt == 0
            assert x.dtype == dtype
            assert np.linalg.norm(b - dense @ x) <= 1.1 * goal
            assert norm <= goal
            assert 0 < iterations <= products


def test_scipy_may_write_into_what_a_product_returns():
    compiled = series_inverse(js.SparseMatrix.from_dense(np.tril(np.ones((4, 4)), -1)), 2)
    for A in (
        compiled,
        js.SparseMatrix.from_dense(np.eye(4)),
        js.DenseMatrix(jnp.eye(4)),
        js.Identity(4, jnp.float64),
    ):
        host = jax.tree.map(np.asarray, A).on_host()
        for product in (host.matvec, host.rmatvec):
            assert product(np.ones(4)).flags.writeable


def test_compiled_products_move_arrays_in_so_many_words():
    A = series_inverse(js.SparseMatrix.from_dense(np.tril(np.ones((4, 4)), -1)), 2)
    host = jax.tree.map(np.asarray, A).on_host()
    expected = [product(np.ones(4)) for product in (host.matvec, host.rmatvec)]
    with jax.transfer_guard("disallow"):
        found = [product(np.ones(4)) for product in (host.matvec, host.rmatvec)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["bicg", "bicgstab", "gmres", "qmr", "lsqr"])
def test_the_transposed_system_and_its_transposed_preconditioner(kind):
    dense = sample(kind, np.float64)
    A = js.SparseMatrix.from_dense(dense)
    M = js.ILU().build(A)
    b = np.random.default_rng(6).normal(size=N)
    x, _, halt, _, _ = run(kind, A.T, M.T, b, 1e-9)
    assert halt == 0
    np.testing.assert_allclose(x, np.linalg.solve(dense.T, b), rtol=1e-7)


def test_iterations_are_those_of_scipy():
    dense = sample("cg", np.float64)
    b = np.random.default_rng(7).normal(size=N)
    count = []
    scipy.sparse.linalg.cg(dense, b, rtol=1e-8, callback=count.append)
    info = js.solve_linear_info(jnp.asarray(dense), jnp.asarray(b), js.Solve("scipy-CG", rtol=1e-8))
    # The goal is a tenth below the tolerance, which costs an iteration at most.
    assert len(count) <= info.iterations <= len(count) + 1
    assert info.converged
    assert info.function_evaluations >= info.iterations
    assert info.method == "scipy-CG"


def test_the_limit_of_iterations_is_kept_and_named():
    A = jnp.asarray(sample("gmres", np.float64))
    for name in ("scipy-lGMres", "scipy-biCG-stab"):
        info = js.solve_linear_info(A, jnp.ones(N), js.Solve(name, rtol=1e-12, max_iterations=3))
        assert info.status == js.Status.max_iterations, name
        assert info.iterations == 3


def test_a_good_guess_costs_few_iterations_and_an_exact_one_none():
    dense = sample("gmres", np.float64)
    x = np.random.default_rng(8).normal(size=N)
    b = jnp.asarray(dense @ x)
    exact = js.solve_linear_info(jnp.asarray(dense), b, js.Solve("scipy-GMres", x0=jnp.asarray(x)))
    assert exact.iterations == 0
    assert exact.converged


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["scipy-GMres", pytest.param("scipy-biCG-stab", marks=pytest.mark.slow)])
def test_jit_vmap_and_gradients(name):
    dense = sample("gmres", np.float64)
    A = js.SparseMatrix.from_dense(dense)
    B = jnp.asarray(np.random.default_rng(9).normal(size=(3, N)))
    solve = js.Solve(name, rtol=1e-11, preconditioner="ilu")

    def loss(data, b):
        return js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve)[2]

    x = jax.jit(jax.vmap(lambda b: js.solve_linear(A, b, solve)))(B)
    np.testing.assert_allclose(x, np.linalg.solve(dense, np.asarray(B).T).T, rtol=1e-8)
    by_data, by_b = jax.jit(jax.grad(loss, argnums=(0, 1)))(A.data, B[0])
    weights = np.linalg.inv(dense)[2]
    np.testing.assert_allclose(by_b, weights, rtol=1e-7, atol=1e-10)
    expected = -np.outer(weights, np.linalg.solve(dense, B[0]))[dense != 0]
    np.testing.assert_allclose(by_data, expected, rtol=1e-6, atol=1e-10)


def test_qmr_takes_a_preconditioner_on_either_side_and_on_both():
    units = np.logspace(0, 2, N)
    dense = units[:, None] * sample("qmr", np.float64) * units
    left = right = js.Diagonal(jnp.asarray(1 / units))
    b = jnp.asarray(dense @ np.linspace(1, 2, N))
    both = js.solve_linear_info(dense, b, js.Solve("scipy-QMR", rtol=1e-9, preconditioner=(left, right)))
    none = js.solve_linear_info(dense, b, js.Solve("scipy-QMR", rtol=1e-9))
    assert both.converged
    assert both.iterations < (none.iterations if none.converged else 1000)
    assert np.linalg.norm(b - dense @ np.asarray(both.x)) <= 1e-9 * np.linalg.norm(b)


def test_a_function_that_cannot_be_traced_runs_as_its_compiled_product():
    def f(x):
        return 3 * x + 0.1 * jnp.real(jnp.fft.ifft(jnp.fft.fft(x) * jnp.linspace(1, 2, N)))

    b = jnp.arange(1.0, N + 1)
    x = js.solve_linear(f, b, js.Solve("scipy-GMres", rtol=1e-10))
    np.testing.assert_allclose(f(x), b, rtol=1e-8)


def test_least_squares_are_said_to_be_that():
    rng = np.random.default_rng(10)
    A, b = rng.normal(size=(30, 7)), rng.normal(size=30)
    for name in ("scipy-lsqr", "scipy-lsmr"):
        info = js.solve_linear_info(jnp.asarray(A), jnp.asarray(b), js.Solve(name, rtol=1e-10))
        assert info.status == js.Status.least_squares
        np.testing.assert_allclose(info.x, np.linalg.lstsq(A, b)[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["cg", "gmres", "bicgstab"])
def test_a_matrix_without_entries_gives_no_nan(kind):
    # Its product with NaN is zero, so that no residual shows the NaN.
    empty = as_operator(scipy.sparse.csr_matrix((N, N)))
    x, norm, halt, *_ = run(kind, empty, None, np.ones(N), 1e-8)
    assert np.isfinite(x).all()
    assert norm == np.linalg.norm(np.ones(N))
    assert halt


def test_a_singular_system_is_no_solution_and_no_nan():
    A = jnp.array([[1.0, 2.0], [2.0, 4.0]])
    for name in ("scipy-CG", "scipy-QMR", "scipy-minres"):
        info = js.solve_linear_info(A, jnp.array([1.0, 0.0]), js.Solve(name))
        assert not info.converged, name
        assert np.isfinite(info.x).all(), name


def test_an_indefinite_preconditioner_of_minres_is_an_outcome():
    dense = sample("minres", np.float64)
    M = js.Diagonal(-jnp.ones(N))
    solve = js.Solve("scipy-minres", preconditioner=M)
    info = js.solve_linear_info(jnp.asarray(dense), jnp.ones(N), solve)
    assert info.status == js.Status.host_failure
    assert "positive definite preconditioner" in str(FAILURES[-1])
    with pytest.raises(
        js.NotConverged, match=r"ValueError: scipy-minres: .* positive definite preconditioner"
    ):
        js.jit(lambda b: js.solve_linear(jnp.asarray(dense), b, solve))(jnp.ones(N))


def test_operators_have_the_same_products_on_the_host():
    dense = sample("gmres", np.complex128)
    A = js.SparseMatrix.from_dense(dense)
    M = js.SparseDirect().prepare(A)
    banded = js.SparseMatrix.from_dense(np.triu(np.tril(dense, 2), -1)).layout()
    x = np.random.default_rng(11).normal(size=N) + 0.5j
    plain = [
        A,
        A.layout(),
        banded,
        js.DenseMatrix(jnp.asarray(dense)),
        js.Identity(N, jnp.complex128),
        js.Diagonal(jnp.asarray(dense[0])),
        M,
        M.T,
    ]
    wrapped = [
        Scaled(A, 2 - 1j),
        Sum(A, banded),
        Product(A, banded),
        Transposed(A),
        Conjugated(A),
        Declared(A, A.traits),
    ]
    for operator in plain + wrapped:
        matrix = np.asarray(operator.as_matrix())
        leaves, structure = jax.tree.flatten(operator)
        host = jax.tree.unflatten(structure, [np.asarray(leaf) for leaf in leaves]).on_host()
        np.testing.assert_allclose(host.matvec(x), matrix @ x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(host.rmatvec(x), matrix.conj().T @ x, rtol=1e-9, atol=1e-9)


def test_two_threads_at_once_come_to_an_end():
    n = 20_000
    diagonals = jnp.stack([jnp.full(n, -1.0), jnp.full(n, 2.5), jnp.full(n, -1.0)])
    A = as_operator(scipy.sparse.dia_array((np.asarray(diagonals), [-1, 0, 1]), shape=(n, n)).tocsr())
    program = jax.jit(lambda b: js.solve_linear(A, b, js.Solve("scipy-CG", rtol=1e-8, preconditioner="ilu")))
    results = {}

    def work(k):
        for _ in range(5):
            results[k] = np.asarray(program(jnp.full(n, float(k + 1))))

    program(jnp.ones(n)).block_until_ready()
    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    np.testing.assert_allclose(results[1], 2 * results[0], rtol=1e-7)
