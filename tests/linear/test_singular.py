"""Singular systems: the null space is kept out of iteration, solution and gradients, and found in b."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance

N = 12
NEUMANN = problems.neumann_2d(3, 4)
DRIFT = problems.periodic_drift(N)
B = problems.random(N, seed=2)
B0 = B - B.mean()
W = problems.random(N, seed=5)


def pinv(A):
    return np.linalg.pinv(np.asarray(A))


def rtol(method, **options):
    return js.Solve(method, rtol=1e-10, **options)


WAYS = {
    "declared": {"rank_deficiency": 1},
    "detected": {},
    "vector": {"null_space": np.ones(N)},
    "scaled vector": {"null_space": -7.5 * np.ones(N)},
    "matrix": {"null_space": np.ones((N, 1))},
    "sequence": {"null_space": [np.ones(N)]},
}
GENERAL = ("biCG-stab", "GMres", "lsmr", "LU")


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("method", "way"),
    [("CG", way) for way in WAYS]
    + [(method, way) for method in ("minres", "LU", "GMres") for way in ("declared", "detected")],
)
def test_the_solution_is_the_one_orthogonal_to_the_null_space(method, way):
    info = js.solve_linear_info(NEUMANN, B0, rtol(method, **WAYS[way]))
    assert info.status is js.Status.converged
    assert distance(info.x, pinv(NEUMANN) @ B0) < 1e-8
    assert abs(np.mean(info.x)) < 1e-12


@pytest.mark.parametrize("way", ["declared", "detected"])
@pytest.mark.parametrize("method", GENERAL)
def test_it_is_so_for_matrices_without_symmetry(way, method):
    info = js.solve_linear_info(DRIFT, B0, rtol(method, **WAYS[way]))
    assert info.status is js.Status.converged
    assert distance(info.x, pinv(DRIFT) @ B0) < 1e-8


@pytest.mark.parametrize("method", ["biCG-stab", "GMres", "LU"])
def test_the_null_space_of_the_transpose_may_differ(method):
    # Rows in different units: constants are still mapped to zero, but b must be orthogonal to something else.
    rows = np.linspace(1, 3, N)
    A = rows[:, None] * NEUMANN
    b = A @ problems.random(N, seed=3)
    assert abs(b.mean()) > 1e-2
    for way in ("declared", "detected"):
        info = js.solve_linear_info(A, b, rtol(method, **WAYS[way]))
        assert info.status is js.Status.converged, way
        assert distance(info.x, pinv(A) @ b) < 1e-7


@pytest.mark.parametrize("way", ["declared", "vector", "detected"])
@pytest.mark.parametrize("method", ["CG", "GMres", "LU"])
def test_a_right_hand_side_out_of_reach_is_said_to_be(way, method):
    info = js.solve_linear_info(NEUMANN, B, rtol(method, **WAYS[way]))
    assert info.status in (js.Status.inconsistent, js.Status.singular)
    assert not bool(info.converged)
    assert not bool(info.diverged)
    if way != "detected":
        # The best approximation: what is left is the mean of b.
        np.testing.assert_allclose(info.residual, np.full(N, B.mean()), atol=1e-8)
        assert distance(info.x, pinv(NEUMANN) @ B) < 1e-8
    with pytest.raises(js.NotConverged, match=info.status.name):
        js.solve_linear(NEUMANN, B, rtol(method, **WAYS[way]))


@pytest.mark.parametrize("method", ["CG", "minres", "GMres", "biCG-stab", "lsmr", "LU"])
def test_the_zero_matrix_is_singular_and_solves_zero(method):
    info = js.solve_linear_info(np.zeros((N, N)), B, rtol(method))
    assert not bool(info.converged)
    assert np.all(np.isfinite(info.x))
    assert js.solve_linear_info(np.zeros((N, N)), 0 * B, rtol(method)).status is js.Status.converged


@pytest.mark.parametrize("method", ["CG", "minres", "GMres", "biCG-stab", "LU", "QR"])
def test_a_singular_matrix_of_unknown_null_space_is_honest(method):
    Q, _ = np.linalg.qr(problems.random(N, N, seed=8))
    A = (Q * np.r_[np.zeros(2), np.linspace(1, 2, N - 2)]) @ Q.T
    for b in (A @ B, B):
        info = js.solve_linear_info(A, b, rtol(method))
        residual = np.linalg.norm(b - A @ np.asarray(info.x)) / np.linalg.norm(b)
        assert bool(info.converged) == (residual <= 1.01e-10)
        assert np.all(np.isfinite(info.x))
        if bool(info.converged):
            assert np.linalg.norm(info.x) < 1e8


FACTORISATIONS = ("LU", js.Banded(1, 1), "sparse-direct", "scipy-direct")


@pytest.mark.few(5)
@pytest.mark.parametrize("stored", ["dense", "sparse"])
@pytest.mark.parametrize("way", ["declared", "detected"])
@pytest.mark.parametrize("method", FACTORISATIONS)
def test_factorisations_solve_singular_systems(method, way, stored):
    path = problems.neumann(N)
    A = path if stored == "dense" else js.SparseMatrix.from_dense(path)
    info = js.solve_linear_info(A, B0, rtol(method, **WAYS[way]))
    assert info.status is js.Status.converged
    assert distance(info.x, pinv(path) @ B0) < 1e-8


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("stored", ["dense", "sparse"])
@pytest.mark.parametrize("method", FACTORISATIONS)
def test_factorisations_solve_systems_with_several_null_vectors(method, stored):
    # Three separate paths, the middle one in other units.
    scale = np.repeat([1.0, 2.0, 1.0], N)
    path = scale[:, None] * np.kron(np.eye(3), problems.neumann(N)) * scale
    basis = np.kron(np.eye(3), np.ones((N, 1))) / scale[:, None]
    mixed = basis @ np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 2.0], [1.0, 0.5, 1.0]])
    b = path @ problems.random(3 * N, seed=4)

    A = jnp.asarray(path) if stored == "dense" else js.SparseMatrix.from_dense(path)

    def solved(A, b):
        return js.solve_linear(A, b, rtol(method, null_space=mixed))

    for x in (solved(A, b), jax.jit(solved)(A, b)):
        assert distance(x, pinv(path) @ b) < 1e-8


def test_any_basis_of_the_null_space_may_be_given():
    Q, _ = np.linalg.qr(problems.random(N, N, seed=8))
    A = (Q * np.r_[np.zeros(2), np.linspace(1, 2, N - 2)]) @ Q.T
    b = A @ B
    basis = Q[:, :2] @ np.array([[2.0, 1.0], [0.5, -3.0]])
    for given in (basis, list(basis.T), tuple(jnp.asarray(basis.T)), jnp.asarray(basis)):
        info = js.solve_linear_info(A, b, rtol("CG", null_space=given))
        assert info.status is js.Status.converged
        assert distance(info.x, pinv(A) @ b) < 1e-8


def test_a_null_space_may_be_a_pytree():
    def f(x):
        total = NEUMANN @ jnp.concatenate([x["u"].ravel(), x["p"]])
        return {"u": total[:8].reshape(2, 4), "p": total[8:]}

    b = {"u": jnp.asarray(B0[:8].reshape(2, 4)), "p": jnp.asarray(B0[8:])}
    null = {"u": jnp.ones((2, 4)), "p": jnp.ones(4)}
    for given in (null, [null]):
        x = js.solve_linear(f, b, rtol("CG", null_space=given))
        assert distance(np.r_[x["u"].ravel(), x["p"]], pinv(NEUMANN) @ B0) < 1e-8


@pytest.mark.further
def test_complex_null_spaces_are_projected_with_conjugation():
    Q, _ = np.linalg.qr(problems.random(N, N, seed=8, dtype=np.complex128))
    A = (Q * np.r_[0, np.linspace(1, 2, N - 1)]) @ Q.conj().T
    b = A @ problems.random(N, seed=1, dtype=np.complex128)
    for method in ("CG", "GMres", "LU"):
        x = js.solve_linear(A, b, rtol(method, null_space=Q[:, 0] * 2j))
        assert distance(x, pinv(A) @ b) < 1e-8
    # The transposed system has the conjugate null space.
    w = A.T @ problems.random(N, seed=4, dtype=np.complex128)
    pulled = jax.vjp(lambda b: js.solve_linear(A, b, rtol("GMres", null_space=Q[:, 0])), b)[1](w)[0]
    assert distance(pulled, pinv(A).T @ w) < 1e-8


def stencil(u, k):
    """Diffusion on an insulated grid with conductivities k between neighbours in a row."""
    flux = k * jnp.diff(u)
    return jnp.pad(flux, (1, 0)) - jnp.pad(flux, (0, 1))


@pytest.mark.parametrize("way", ["declared", "detected"])
def test_matrix_free_operators_have_null_spaces_too(way):
    k = 1 + np.arange(N - 1) / N
    dense = np.asarray(jax.vmap(lambda e: stencil(e, k), out_axes=1)(jnp.eye(N)))
    x = js.solve_linear(stencil, B0, rtol("CG", **WAYS[way]), k)
    assert distance(x, pinv(dense) @ B0) < 1e-8


@pytest.mark.few(3)
@pytest.mark.parametrize("way", ["declared", "detected"])
@pytest.mark.parametrize("preconditioner", ["jacobi", "ssor", lambda r: r / 3])
def test_preconditioned_singular_systems_are_solved(way, preconditioner):
    A = js.SparseMatrix.from_dense(NEUMANN)
    info = js.solve_linear_info(A, B0, rtol("CG", preconditioner=preconditioner, **WAYS[way]))
    assert info.status is js.Status.converged
    assert distance(info.x, pinv(NEUMANN) @ B0) < 1e-8


@pytest.mark.further
def test_batches_of_singular_and_regular_systems_are_told_apart():
    As = np.stack([NEUMANN, NEUMANN + np.eye(N), 1e6 * NEUMANN])
    info = js.solve_linear_info(As, B0, rtol("CG"))
    assert np.all(info.converged)
    for k in range(3):
        assert distance(info.x[k], pinv(As[k]) @ B0) < 1e-8
    lanes = js.solve_linear_info(NEUMANN, np.stack([B0, B, 0 * B]), rtol("CG", rank_deficiency=1))
    assert np.asarray(lanes.status).tolist() == [0, int(js.Status.inconsistent), 0]


@pytest.mark.parametrize("exponent", [-60, 60])
def test_detection_does_not_depend_on_units(exponent):
    A, unit = NEUMANN * 2.0**exponent, 2.0**exponent
    info = js.solve_linear_info(A, B0, rtol("CG"))
    expected = js.solve_linear_info(NEUMANN, B0, rtol("CG"))
    assert info.iterations == expected.iterations
    np.testing.assert_array_equal(info.x, expected.x / unit)


def test_detection_can_be_switched_off():
    guess = B0 + 5
    kept = js.solve_linear(NEUMANN, B0, rtol("CG", rank_deficiency=0, x0=guess))
    assert np.mean(kept) == pytest.approx(5, abs=1e-6)


@pytest.mark.parametrize("way", ["declared", "detected"])
def test_a_guess_with_a_constant_in_it_loses_it(way):
    x = js.solve_linear(NEUMANN, B0, rtol("CG", x0=B0 + 5, **WAYS[way]))
    assert abs(np.mean(x)) < 1e-9
    exact = pinv(NEUMANN) @ B0
    warm = js.solve_linear(NEUMANN, B0, rtol("CG", x0=exact + 5, **WAYS[way]))
    assert abs(np.mean(warm)) < 1e-9


def test_nearly_singular_is_not_singular():
    A = NEUMANN + 1e-6 * np.eye(N)
    info = js.solve_linear_info(A, B, rtol("LU"))
    assert info.status is js.Status.converged
    assert distance(info.x, np.linalg.solve(A, B)) < 1e-8


def test_a_wrongly_declared_null_space_is_not_called_solved():
    A = problems.poisson(N)
    info = js.solve_linear_info(A, B, rtol("CG", rank_deficiency=1))
    assert not bool(info.converged)


@pytest.mark.further
def test_a_wrongly_declared_null_space_does_not_make_a_consistent_system_inconsistent():
    A = deficient("dense")
    A[5] = A[2] + A[3]
    b = A @ np.arange(1.0, 9)
    for method in ("LU", "CG"):
        assert (
            js.solve_linear_info(A, b, rtol(method, rank_deficiency=1)).status is not js.Status.inconsistent
        )
    info = js.solve_linear_info(A, b, rtol("auto", rank_deficiency=1))
    assert (bool(info.converged), info.method) == (True, "lsmr")
    assert distance(info.x, np.linalg.pinv(A) @ b) < 1e-8


def test_factors_that_rounding_makes_regular_beside_a_wrongly_declared_null_space_lead_on():
    # In these units LU meets no pivot that is zero.
    units = np.random.default_rng(1).uniform(0.5, 2, (2, 8))
    A = deficient("dense")
    A[5] = A[2] + A[3]
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(8)
        M = (units[0][:, None] * A * units[1])[order]
        b = M @ np.arange(1.0, 9)
        info = js.solve_linear_info(M, b, rtol("auto", rank_deficiency=1))
        assert (bool(info.converged), info.method) == (True, "lsmr")
        assert distance(info.x, np.linalg.pinv(M) @ b) < 1e-7


@pytest.mark.parametrize("way", ["declared", "detected"])
@pytest.mark.parametrize("method", ["CG", "LU"])
def test_gradients_are_those_of_the_pseudo_inverse(way, method):
    solve = rtol(method, **WAYS[way])
    in_b = jax.grad(lambda b: jnp.sum(jnp.sin(js.solve_linear(NEUMANN, b, solve))))(jnp.asarray(B0))
    x = pinv(NEUMANN) @ B0
    assert distance(in_b, pinv(NEUMANN).T @ np.cos(x)) < 1e-8


@pytest.mark.further
@pytest.mark.parametrize("way", ["declared", "detected"])
def test_gradients_in_the_coefficients_of_a_singular_operator(way):
    k = jnp.asarray(1 + np.arange(N - 1) / N)

    def of(k):
        return W @ js.solve_linear(stencil, B0, rtol("CG", **WAYS[way]), k)

    def dense(k):
        A = jax.vmap(lambda e: stencil(e, k), out_axes=1)(jnp.eye(N))
        return W @ (jnp.linalg.solve(A + jnp.ones((N, N)) / N, B0))

    assert distance(jax.grad(of)(k), jax.grad(dense)(k)) < 1e-8
    tangent = jax.jvp(of, (k,), (jnp.ones(N - 1),))[1]
    assert float(tangent) == pytest.approx(float(jnp.sum(jax.grad(dense)(k))), rel=1e-8)


@pytest.mark.parametrize("way", ["declared", "detected"])
def test_the_gradient_of_the_mean_is_zero(way):
    # The solution has no mean, whatever b: the cotangent lies in the null space and leaves rounding only.
    found = jax.grad(lambda b: 0.1 * jnp.sum(js.solve_linear(NEUMANN, b, rtol("CG", **WAYS[way]))))(
        jnp.asarray(B0)
    )
    assert np.linalg.norm(found) < 1e-10


@pytest.mark.further
def test_gradients_where_the_transpose_has_another_null_space():
    rows = jnp.linspace(1.0, 3.0, N)
    A = rows[:, None] * NEUMANN
    b = A @ problems.random(N, seed=3)
    for way in ("declared", "detected"):
        found = jax.grad(lambda b, way=way: W @ js.solve_linear(A, b, rtol("GMres", **WAYS[way])))(b)
        # Determined up to what is orthogonal to all right-hand sides that have a solution.
        direction = A @ problems.random(N, seed=6)
        assert float(found @ direction) == pytest.approx(float(W @ (pinv(A) @ direction)), rel=1e-7)


@pytest.mark.further
def test_gradients_of_a_batch_of_singular_systems():
    As = jnp.stack([NEUMANN, 2 * NEUMANN])
    found = jax.grad(lambda b: jnp.sum(W * js.solve_linear(As, b, rtol("CG", rank_deficiency=1))))(
        jnp.asarray(np.stack([B0, B0]))
    )
    expected = np.stack([pinv(A).T @ W for A in As])
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_single_precision_detects_and_solves():
    A, b = NEUMANN.astype(np.float32), B0.astype(np.float32)
    for scale in (1, 1e-12, 1e12):
        info = js.solve_linear_info(np.float32(scale) * A, b, js.Solve("CG", rtol=1e-5))
        assert info.status is js.Status.converged
        assert distance(np.float64(info.x) * scale, pinv(NEUMANN) @ B0) < 1e-3


UNDECLARED = "A is singular: it maps constants to zero"


@pytest.mark.further
@pytest.mark.parametrize("method", ["auto", "CG", "minres", "lsmr", "sparse-direct"])
def test_a_singular_system_that_was_solved_undeclared_is_reported(method):
    A = js.SparseMatrix.from_dense(NEUMANN) if method == "sparse-direct" else NEUMANN
    info = js.solve_linear_info(A, B0, rtol(method))
    assert bool(info.converged)
    assert UNDECLARED in info.message
    assert "`rank_deficiency=1`" in info.message
    compiled = jax.jit(lambda b: js.solve_linear_info(A, b, rtol(method)))
    assert UNDECLARED in compiled(B0).message
    # What was declared, or is not so, is no news; a failure has its own words.
    assert UNDECLARED not in js.solve_linear_info(A, B0, rtol(method, rank_deficiency=1)).message
    assert UNDECLARED not in js.solve_linear_info(NEUMANN + np.eye(N), B0, rtol(method)).message
    assert UNDECLARED not in compiled(B).message


def test_of_a_batch_the_singular_systems_are_counted():
    As = np.stack([NEUMANN, NEUMANN + np.eye(N), 2 * NEUMANN])
    message = js.solve_linear_info(As, B0, rtol("CG")).message
    assert f"{UNDECLARED}, in 2 of 3 systems" in message


def deficient(kind):
    """A singular matrix that is not symmetric, and how auto finds out."""
    M = np.array(problems.convection(8))
    if kind == "empty row and column":
        M[3], M[:, 5] = 0, 0
        return sps.csr_array(M)
    if kind == "stored zeros":
        M[3] = 0
        full = sps.csr_array(np.ones((8, 8)))
        return sps.csr_array((M.ravel(), full.indices, full.indptr), shape=(8, 8))
    if kind == "unpaired":  # two rows with one entry each, in the same column
        M[2], M[6] = 0, 0
        M[2, 4], M[6, 4] = 1, 2
        return sps.csr_array(M)
    M[6] = 2 * M[1] - M[2]
    return M if kind == "dense" else sps.csr_array(M)


@pytest.mark.further
@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["empty row and column", "stored zeros", "unpaired", "by values", "dense"])
def test_auto_solves_singular_systems_that_have_a_solution(kind):
    A = deficient(kind)
    M = A if isinstance(A, np.ndarray) else A.toarray()
    b = M @ np.arange(1.0, 9)
    info = js.solve_linear_info(A, b, js.Solve(rtol=1e-10))
    assert (bool(info.converged), info.method) == (True, "lsmr")
    assert distance(info.x, np.linalg.pinv(M) @ b) < 1e-8
    assert "A is singular: of the solutions this is the one of least norm" in info.message
    assert distance(js.solve_linear(A, np.stack([b, 2 * b]), js.Solve(rtol=1e-10))[1], 2 * info.x) < 1e-8
    # One without a solution fails, and so does a method that was asked for.
    none = b + np.linalg.svd(M)[0][:, -1]
    failed = js.solve_linear_info(A, none)
    assert not bool(failed.converged)
    # Whether the least residual is known for that is a matter of rounding, and of the device.
    assert failed.status.name in ("singular", "inconsistent") or jax.default_backend() != "cpu"
    assert js.solve_linear_info(A, b, js.Solve("LU")).status.name == "singular"
    if kind not in ("by values", "dense"):
        assert "positions of its entries" in str(js.explain(A, b))
        compiled = jax.jit(lambda b: js.solve_linear_info(A, b, js.Solve(rtol=1e-10)))(b)
        assert distance(compiled.x, info.x) < 1e-8
        # A program says so, too: no factorisation was tried there.
        assert compiled.method == "lsmr"
        assert "A is singular: of the solutions this is the one of least norm" in compiled.message


ROUNDED = "A is singular to working precision"


def last_pivot(A):
    *_, U = scipy.linalg.lu(A)
    return U[-1, -1]


def singular_but_for_rounding(n, dtype, definite=False, rank=None, equations=1e3):
    """U diag(s, 0) Vᴴ as it is computed, in units of its own, and a b in its range."""
    wide = np.result_type(dtype, np.float64)
    U, V = (np.linalg.qr(problems.random(n, n, seed=seed, dtype=wide))[0] for seed in (3, 4))
    s = np.geomspace(1, 0.1, n) * (np.arange(n) < (n - 1 if rank is None else rank))
    A = (U * s) @ (U if definite else V).conj().T
    if not definite:
        A = np.geomspace(1, equations, n)[:, None] * A * np.geomspace(1e2, 1, n)
    A = A.astype(dtype)
    # On some processors rounding makes the last pivot zero, which is another way to find out.
    while last_pivot(A) == 0:
        A[-1, -1] *= 1 + 4 * np.finfo(dtype).eps
    return A, A @ problems.random(n, seed=5, dtype=wide).astype(dtype)


DIRECT = ("auto", "LU", "Cholesky", "QR", js.Banded(7, 7), "sparse-direct", js.SparseDirect("device"))


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
@pytest.mark.parametrize("method", DIRECT, ids=str)
def test_factors_of_a_matrix_that_rounding_alone_makes_regular_are_told_from_honest_ones(method, dtype):
    # Reflections mix equations, so that those in small units are rounded as the largest ones are.
    options = {"definite": method == "Cholesky", "equations": 1 if method == "QR" else 1e3}
    A, b = singular_but_for_rounding(8, dtype, **options)
    if isinstance(method, js.SparseDirect | js.Banded):
        A = js.SparseMatrix.from_dense(A)
    elif method == "sparse-direct" and dtype == np.float32:
        A, b = singular_but_for_rounding(8, np.float64)  # the host works in double precision
    solve = js.Solve(method, rtol=1e-3)
    info = js.solve_linear_info(A, b, solve)
    if method == "Cholesky" and not bool(info.converged):
        return  # a last pivot below zero is another way to find out
    assert bool(info.converged)
    assert ROUNDED in info.message
    assert "null space" in info.message
    assert ROUNDED in jax.jit(lambda A, b: js.solve_linear_info(A, b, solve))(A, b).message


def honest(kind):
    """A regular matrix that looks bad: ill-conditioned, or in units far apart."""
    n, units = 9, np.geomspace(1e-15, 1e15, 9)
    B = problems.random(n, n, seed=6)
    return {
        "Hilbert": 1 / (1 + np.add.outer(np.arange(8.0), np.arange(8.0))),
        "units on the diagonal": np.diag(units**2),
        "rows": units[:, None] * B,
        "columns": B * units,
        "similar": units[:, None] * B / units,
        "graded": np.minimum.outer(units, units),
    }[kind]


@pytest.mark.few(4)
@pytest.mark.parametrize("method", ["LU", "QR", "sparse-direct", js.SparseDirect("superlu")], ids=str)
@pytest.mark.parametrize("kind", ["Hilbert", "units on the diagonal", "rows", "columns", "similar", "graded"])
def test_ill_conditioned_and_badly_scaled_matrices_are_not_called_singular(kind, method):
    A = honest(kind)
    stored = js.SparseMatrix.from_dense(A) if isinstance(method, js.SparseDirect) else A
    info = js.solve_linear_info(stored, A @ np.ones(len(A)), js.Solve(method))
    assert bool(info.converged)
    assert not bool(info.undetermined)
    assert ROUNDED not in info.message


@pytest.mark.further
def test_of_a_batch_the_matrices_that_are_singular_but_for_rounding_are_counted():
    A, b = singular_but_for_rounding(6, np.float64)
    info = js.solve_linear_info(np.stack([A, A + np.eye(6), 3 * A]), b, js.Solve("LU"))
    assert np.asarray(info.undetermined).tolist() == [True, False, True]
    assert f"{ROUNDED}, in 2 of 3 systems" in info.message
    # Several right-hand sides share the factors; a null space that is declared makes them regular.
    assert ROUNDED in js.solve_linear_info(A, np.stack([b, 2 * b]), js.Solve("LU")).message
    null = np.linalg.svd(A)[2][-1]
    assert not bool(js.solve_linear_info(A, b, js.Solve("LU", null_space=null)).undetermined)
    # Methods without factors have nothing to say.
    assert js.solve_linear_info(A, b, js.Solve("lsmr")).undetermined is None


@pytest.mark.parametrize("backend", ["auto", "device"])
def test_a_factorisation_tells_it_of_each_solve(backend):
    A, b = singular_but_for_rounding(6, np.float64, rank=4)
    with js.SolveTape() as solves:
        x = js.factorize(A, backend=backend).solve(b)
    assert np.linalg.norm(A @ x - b) <= 1e-5 * np.linalg.norm(b)
    assert ROUNDED in solves[0].message


@pytest.mark.further
def test_factors_that_are_judged_do_not_stand_in_the_way_of_a_gradient():
    # The condition number is estimated of values that stand still.
    A, b = js.SparseMatrix.from_dense(problems.convection(6)), jnp.arange(1.0, 7)

    def of(p):
        return js.factorize(js.SparseMatrix(A.data * p, A.pattern), backend="device").solve(b).sum()

    assert float(jax.grad(of)(2.0)) == pytest.approx(-float(of(1.0)) / 4, rel=1e-8)


@pytest.mark.few(1)
@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_rectangular_matrices_without_full_rank_are_told_by_their_qr_factors(shape):
    full = problems.random(*shape, seed=7)
    A = (
        full @ singular_but_for_rounding(shape[1], np.float64, rank=min(shape) - 1)[0]
        if shape[0] > 4
        else full
    )
    if shape[0] == 4:
        A = singular_but_for_rounding(4, np.float64)[0] @ full
    b = A @ np.ones(shape[1])
    assert ROUNDED in js.solve_linear_info(A, b, js.Solve("QR")).message
    assert not bool(js.solve_linear_info(full, full @ np.ones(shape[1]), js.Solve("QR")).undetermined)
