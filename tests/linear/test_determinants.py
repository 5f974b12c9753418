"""Determinants, traces and diagonals of inverses: against NumPy's, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.linear import inverse_entries

METHODS = {
    "dense": (np.asarray, None),
    "sparse-direct": (sps.csr_array, js.Solve("sparse-direct")),
    "device": (sps.csr_array, js.Solve(js.SparseDirect("device"))),
    "small": (sps.csr_array, None),
    "factors": (lambda A: js.factorize(sps.csr_array(A)), None),
}
KEY = jax.random.key(1)


def matrix(dtype=float, n=9, seed=0):
    """Regular, not symmetric, with rows out of order and entries missing."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if dtype is complex else 0)
    A = np.where(rng.random((n, n)) < 0.5, A, 0) + np.diag(3 + rng.random(n))[rng.permutation(n)]
    return A.astype(dtype)


def laplacian(n):
    return sps.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=(-1, 0, 1)).tocsr()


def spread(n):
    """Positive definite, with eigenvalues over three decades and units that differ."""
    rng = np.random.default_rng(n)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    d = np.logspace(0, 1, n)
    return d[:, None] * (Q * np.logspace(-2, 1, n)) @ Q.T * d


SLOW = pytest.mark.slow


@pytest.mark.few(2)
@pytest.mark.parametrize("dtype", [np.float32, complex, pytest.param(float, marks=SLOW)])
@pytest.mark.parametrize(
    "method",
    ["dense", "sparse-direct", "factors", *(pytest.param(m, marks=SLOW) for m in ("device", "small"))],
)
def test_value_and_sign_are_those_of_slogdet(method, dtype):
    make, solve = METHODS[method]
    for seed in range(4):
        A = matrix(dtype, seed=seed)
        sign, size = np.linalg.slogdet(A)
        info = js.logdet_info(make(A), solve)
        tight = 2e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(info.value, size, rtol=tight, atol=tight)
        np.testing.assert_allclose(info.sign, sign, rtol=tight, atol=tight)
        assert info.value.dtype == np.finfo(dtype).dtype
        assert info.sign.dtype == dtype
        assert float(info.standard_error) == 0
        assert float(js.logdet(make(A), solve)) == float(info.value)


@pytest.mark.further
def test_other_factors_and_units():
    A = spread(6)
    size = np.linalg.slogdet(A)[1]
    np.testing.assert_allclose(js.logdet(A, js.Solve("Cholesky")), size, rtol=1e-12)
    assert js.logdet_info(A, js.Solve("Cholesky")).method == "Cholesky"
    for scale in (1e-200, 1e200):
        for solve in (js.Solve("LU"), js.Solve("sparse-direct")):
            B = A if solve.method.name == "LU" else sps.csr_array(A)
            np.testing.assert_allclose(js.logdet(scale * B, solve), size + 6 * np.log(scale), rtol=1e-12)
    # Of small matrices and of none.
    assert float(js.logdet(jnp.zeros((0, 0)))) == 0
    assert float(js.logdet(-3.0 * jnp.eye(1))) == pytest.approx(np.log(3))
    np.testing.assert_allclose(js.logdet([[2, 0], [0, 4]]), np.log(8))
    # Methods whose factors tell no determinant leave it to others.
    T = laplacian(300)
    exact = np.linalg.slogdet(T.toarray())[1]
    for solve in (js.Solve("banded"), js.Solve("QR"), None):
        np.testing.assert_allclose(js.logdet(T, solve), exact, rtol=1e-12)


@pytest.mark.few(1)
@pytest.mark.parametrize("method", ["sparse-direct", "dense"])
def test_a_singular_matrix_has_minus_infinity_and_no_derivative(method):
    make, solve = METHODS[method]
    A = np.diag([1.0, 0.0, 2.0]) + np.diag([1.0, 0.0], 1)
    info = js.logdet_info(make(A), solve)
    assert (float(info.value), float(info.sign)) == (-np.inf, 0)
    assert float(js.logdet(make(A), solve)) == -np.inf
    if method == "dense":
        assert np.isnan(jax.grad(js.logdet)(jnp.asarray(A))).all()
    else:
        M = js.SparseMatrix.from_dense(A)
        assert np.isnan(jax.grad(lambda v: js.logdet(js.SparseMatrix(v, M.pattern), solve))(M.data)).all()


@pytest.mark.further
@pytest.mark.parametrize(
    ("method", "dtype", "order"),
    [
        ("dense", complex, 1),
        ("sparse-direct", float, 2),
        *[
            pytest.param(method, dtype, 2, marks=SLOW)
            for method in ("dense", "sparse-direct", "device")
            for dtype in (float, complex)
        ],
    ],
)
def test_gradient_and_hessian_are_those_of_the_dense_inverse(method, dtype, order):
    A = matrix(dtype, 6, seed=2)
    M = js.SparseMatrix.from_dense(A)
    rows, columns = np.asarray(M.pattern.rows), np.asarray(M.pattern.indices)
    solve = METHODS[method][1]

    def dense(v):
        return jnp.zeros(A.shape, v.dtype).at[rows, columns].set(v)

    def f(v):
        return js.logdet(dense(v) if method == "dense" else js.SparseMatrix(v, M.pattern), solve)

    X = np.linalg.inv(A)
    # d log|det A| = Re tr(A⁻¹ dA); JAX's gradient of a complex argument is the conjugate of Re's.
    np.testing.assert_allclose(jax.grad(f)(M.data), X[columns, rows], rtol=1e-9)
    if order == 1:
        return
    t, u = np.random.default_rng(5).normal(size=(2, M.nnz))
    dA, dB = (np.asarray(dense(jnp.asarray(v, dtype))) for v in (t, u))
    second = -np.trace(X @ dB @ X @ dA).real
    t, u = jnp.asarray(t, dtype), jnp.asarray(u, dtype)
    along = lambda v: jax.jvp(f, (v,), (t,))[1]  # noqa: E731
    np.testing.assert_allclose(jax.jvp(along, (M.data,), (u,))[1], second, rtol=1e-9)
    found = jnp.sum(jax.grad(along)(M.data) * u).real
    np.testing.assert_allclose(found, second, rtol=1e-9)


@pytest.mark.further
def test_the_sign_of_a_complex_determinant_turns():
    A, dA = matrix(complex, 5), matrix(complex, 5, seed=7)
    sign, turned = jax.jvp(lambda A: js.logdet_info(A).sign, (jnp.asarray(A),), (jnp.asarray(dA),))
    h = 1e-6
    slope = (np.linalg.slogdet(A + h * dA)[0] - np.linalg.slogdet(A - h * dA)[0]) / (2 * h)
    np.testing.assert_allclose(turned, slope, rtol=1e-7)
    np.testing.assert_allclose(sign, np.linalg.slogdet(A)[0])


@pytest.mark.further
@pytest.mark.parametrize("method", ["dense", pytest.param("sparse-direct", marks=SLOW)])
def test_derivatives_in_scan_vmap_and_jit(method):
    A, solve = matrix(n=4), METHODS[method][1]
    M, unit = js.SparseMatrix.from_dense(A), js.SparseMatrix.from_dense(np.eye(4))

    def one(t):
        if method == "dense":
            return js.logdet(A + t**2 * jnp.eye(4), solve)
        return js.logdet(M + t**2 * unit, solve)

    def ref(t):
        return jnp.linalg.slogdet(A + t**2 * jnp.eye(4))[1]

    def scanned(t):
        return jax.lax.scan(lambda c, k: (c + k * one(t * k), None), 0.0, jnp.array([0.5, 1.0]))[0]

    def expected(t):
        return 0.5 * ref(0.5 * t) + ref(t)

    for transform in (jax.grad, jax.hessian):
        np.testing.assert_allclose(
            jax.jit(transform(scanned))(0.7), transform(expected)(0.7), rtol=1e-9, atol=1e-12
        )
    ts = jnp.array([0.1, 0.6])
    np.testing.assert_allclose(jax.vmap(jax.grad(one))(ts), jax.vmap(jax.grad(ref))(ts), rtol=1e-9)


@pytest.mark.further
def test_a_batch_of_matrices():
    A = np.stack([matrix(n=4, seed=k) for k in range(6)]).reshape(2, 3, 4, 4)
    A[1, 1] = 0
    sign, size = np.linalg.slogdet(A)
    info = jax.jit(js.logdet_info)(A)
    np.testing.assert_allclose(info.value, size, rtol=1e-12)
    np.testing.assert_allclose(info.sign, sign)
    assert info.standard_error.shape == (2, 3)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("width", [3, pytest.param(256, marks=SLOW)])
def test_entries_of_an_inverse_are_found_in_blocks(width, monkeypatch):
    monkeypatch.setattr(inverse_entries, "MOST", width)
    T = js.SparseMatrix.from_scipy(laplacian(11))
    X = np.linalg.inv(laplacian(11).toarray())
    solve = js.Solve("sparse-direct")
    slope = jax.grad(lambda v: js.logdet(js.SparseMatrix(v, T.pattern), solve))(T.data)
    np.testing.assert_allclose(slope, X[T.pattern.indices, T.pattern.rows], rtol=1e-10)
    np.testing.assert_allclose(js.inverse_diagonal(T, solve=solve), np.diag(X), rtol=1e-10)


@pytest.mark.further
def test_functions_of_vectors_and_of_pytrees():
    def f(x, k):
        return {"a": k * x["a"] + x["b"][::-1], "b": 3 * x["b"] - x["a"]}

    like = {"a": jnp.zeros(3), "b": jnp.zeros(3)}
    dense = js.matrix_from_function(f, like, 2.0)[0].todense()
    value, slope = jax.value_and_grad(lambda k: js.logdet(f, None, None, k, x_like=like))(2.0)
    np.testing.assert_allclose(value, np.linalg.slogdet(dense)[1], rtol=1e-12)
    np.testing.assert_allclose(slope, np.diag(np.linalg.inv(dense))[:3].sum(), rtol=1e-10)
    np.testing.assert_allclose(js.logdet(f, js.Solve(x0=like), None, 2.0), value)
    np.testing.assert_allclose(
        js.trace_inverse(f, None, 2.0, x_like=like), np.trace(np.linalg.inv(dense)), rtol=1e-10
    )


def test_an_estimate_of_little():
    info = js.logdet_info(jnp.diag(jnp.array([1.0, 4.0])), js.Solve("CG"), KEY)
    assert float(info.value) == pytest.approx(np.log(4), abs=1e-12)
    # Of what is not symmetric there is none.
    with pytest.raises(ValueError, match="positive definite"):
        js.logdet(jnp.array([[2.0, 1.0], [0.0, 2.0]]), js.Solve("CG"), KEY)


class Kernel(js.LinearOperator):
    """Known by its products alone."""

    A: jax.Array
    readable = False
    shape = property(lambda self: self.A.shape)
    dtype = property(lambda self: self.A.dtype)

    def mv(self, x):
        return self.A @ x


@pytest.mark.slow
def test_an_estimate_is_within_its_error():
    A = spread(60)
    exact = np.linalg.slogdet(A)[1]
    for B in (jnp.asarray(A), Kernel(jnp.asarray(A))):
        info = js.logdet_info(B, js.Solve("CG"), KEY, probes=64)
        assert 0 < info.standard_error < 0.2 * abs(exact)
        assert abs(info.value - exact) < 4 * info.standard_error
        assert info.method == "stochastic Lanczos quadrature"
    # Too few steps show in the error.
    rough = js.logdet_info(A, js.Solve("CG"), KEY, probes=64, steps=3)
    assert abs(rough.value - exact) < 4 * rough.standard_error
    hermitian = np.kron(np.array([[2, 1j], [-1j, 2]]), A)
    info = js.logdet_info(hermitian, js.Solve("CG"), KEY)
    assert abs(info.value - np.linalg.slogdet(hermitian)[1]) < 4 * info.standard_error
    assert float(js.logdet_info(jnp.eye(3), js.Solve("CG"), KEY).value) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_derivatives_of_an_estimate_estimate_the_derivatives():
    A, n = laplacian(40), 40
    A, X = js.SparseMatrix.from_scipy(A), np.linalg.inv(A.toarray())
    solve, bump = js.Solve("CG", rtol=1e-10), np.linspace(1, 2, n)

    def f(t):
        values = A.data * jnp.where(A.pattern.rows == A.pattern.indices, 1 + t * bump[A.pattern.rows], 1)
        return js.logdet(js.SparseMatrix(values, A.pattern), solve, KEY, probes=400)

    E = np.diag(2.5 * bump)
    first, second = np.trace(X @ E), -np.trace(X @ E @ X @ E)
    np.testing.assert_allclose(jax.grad(f)(0.0), first, rtol=0.02)
    np.testing.assert_allclose(jax.jit(jax.hessian(f))(0.0), second, rtol=0.05)
    np.testing.assert_allclose(jax.jvp(f, (0.0,), (1.0,))[1], jax.grad(f)(0.0), rtol=1e-8)


@pytest.mark.slow
def test_an_estimate_of_what_is_not_positive_definite_is_none():
    A = matrix(n=12) + 8 * np.eye(12)
    for wrong in (A, -spread(12), spread(12) @ np.diag([1.0] * 11 + [-1.0]), np.full((3, 3), np.nan)):
        assert np.isnan(js.logdet_info(wrong, js.Solve("CG"), KEY).value)
        with pytest.raises(ValueError, match="positive definite"):
            js.logdet(wrong, js.Solve("CG"), KEY)
    with pytest.raises(ValueError, match="positive definite"):
        js.logdet(-jnp.eye(3), js.Solve("Cholesky"))


@pytest.mark.further
def test_pivots_that_cannot_be_trusted_are_not():
    # Without exchanges of rows (the values are traced) the pivot vanishes.
    A = js.SparseMatrix.from_dense(jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 2.0], [0.0, 1.0, 1.0]]))
    solve = js.Solve(js.SparseDirect("device"))
    traced = jax.jit(lambda v: js.logdet_info(js.SparseMatrix(v, A.pattern), solve).value)(A.data)
    exact = np.linalg.slogdet(A.todense())[1]
    assert np.isnan(traced) or abs(traced - exact) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False])
def test_trace_and_diagonal_of_an_inverse(exact, monkeypatch):
    monkeypatch.setattr("jaxsolve.linear.inverse_traces.EXACT", 100 if exact else 10)
    A = matrix(n=30) + 20 * np.eye(30)
    X, probes = np.linalg.inv(A), 4 if exact else 3000
    near = {"rtol": 1e-10} if exact else {"rtol": 0.02}

    def trace(t):
        return js.trace_inverse(t * jnp.asarray(A), KEY, probes=probes)

    np.testing.assert_allclose(js.inverse_diagonal(A, KEY, probes=probes), np.diag(X), **near)
    np.testing.assert_allclose(
        js.inverse_diagonal(sps.csr_array(A), solve=js.Solve("GMres", rtol=1e-12)), np.diag(X)
    )
    np.testing.assert_allclose(trace(1.0), np.trace(X), **near)
    # tr((t A)⁻¹) = tr(A⁻¹) / t
    np.testing.assert_allclose(jax.grad(trace)(1.0), -np.trace(X), **near)
    np.testing.assert_allclose(jax.hessian(trace)(1.0), 2 * np.trace(X), **near)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: js.logdet(jnp.ones((2, 3))), ValueError, r"square matrix; got shape \(2, 3\)"),
        (lambda: js.logdet(lambda x: 2 * x), TypeError, "x_like"),
        (lambda: js.logdet("A"), TypeError, "A must be"),
        (lambda: js.logdet(jnp.eye(2), "CG"), TypeError, "js.Solve"),
        (lambda: js.logdet(jnp.eye(2), js.Solve("CG")), ValueError, "needs a key"),
        (lambda: js.logdet(Kernel(jnp.eye(2))), ValueError, "needs a key"),
        (lambda: js.logdet(jnp.eye(2), js.Solve("newton")), ValueError, "not for linear systems"),
        (lambda: js.logdet(jnp.eye(2), None, None, 3.0), TypeError, "must be a function"),
        (lambda: js.logdet(jnp.eye(2), probes=1), ValueError, "probes of at least 2"),
        (lambda: js.logdet(jnp.conj, x_like=jnp.zeros(2, complex)), TypeError, "real numbers alone"),
        (lambda: js.inverse_diagonal(jnp.ones((2, 3))), ValueError, "square matrix"),
        (lambda: js.inverse_diagonal(jnp.ones((2, 3, 3))), ValueError, "one matrix"),
        (lambda: js.inverse_diagonal(jnp.zeros((3, 3))), js.NotConverged, "singular"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
