"""FieldSplit: against its formulas, in solves, gradients and batches, and what it refuses."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js

SIZES = (5, 3, 4)
FIELDS = [np.arange(5), np.arange(5, 8), np.arange(8, 12)]
SCATTERED = [np.array([11, 0, 3, 7]), np.array([1, 2, 10, 8, 9, 4, 6, 5])]


def matrix(dtype=float, symmetric=False, n=12):
    rng = np.random.default_rng(3)
    A = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if dtype is complex else 0)
    A = np.where(rng.random((n, n)) < 0.6, A, 0)
    A = A + A.conj().T if symmetric else A
    return A + 6 * np.eye(n)


def saddle(dtype=float):
    A = matrix(dtype)
    A[8:, 8:] = 0
    return A


def parts(A, sets):
    return [[A[np.ix_(i, j)] for j in sets] for i in sets]


def exact(A, sets, kind, schur="full", complement=None):
    """The inverse that FieldSplit is with exact inverses of the fields, by dense formulas."""
    order = np.concatenate(sets)
    B, inv = parts(A, sets), np.linalg.inv
    ends = np.cumsum([0, *map(len, sets)])
    spot = [slice(a, b) for a, b in itertools.pairwise(ends)]
    P = np.zeros_like(A)
    if kind == "schur":
        (F, U), (L, C) = B
        S = C - L @ np.diag(1 / np.diag(F)) @ U if complement is None else complement
        if schur == "diagonal":
            S = S if np.trace(S).real > 0 else -S
        one = np.eye(len(A), dtype=A.dtype)
        lower, upper, D = one.copy(), one.copy(), np.zeros_like(A)
        D[spot[0], spot[0]], D[spot[1], spot[1]] = F, S
        if schur in ("lower", "full"):
            lower[spot[1], spot[0]] = L @ inv(F)
        if schur in ("upper", "full"):
            upper[spot[0], spot[1]] = inv(F) @ U
        P = inv(lower @ D @ upper)
    else:
        D, Lower = np.zeros_like(A), np.zeros_like(A)
        for i, one in enumerate(spot):
            D[one, one] = B[i][i]
            for j in range(i):
                Lower[one, spot[j]] = B[i][j]
        if kind == "additive":
            P = inv(D)
        elif kind == "multiplicative":
            P = inv(D + Lower)
        else:
            whole = A[np.ix_(order, order)]
            Upper = whole - D - Lower
            P = inv(D + Upper) @ D @ inv(D + Lower)
    back = np.argsort(order)
    return P[np.ix_(back, back)]


CASES = [("additive", "full"), ("multiplicative", "full"), ("symmetric", "full")]
CASES += [("schur", form) for form in ("diagonal", "lower", "upper", "full")]


@pytest.mark.few(2)
@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("kind", "schur"), CASES)
def test_it_is_what_its_formula_says_and_its_transpose_is_exact(kind, schur, dtype, form):
    sets = SCATTERED if kind == "schur" else FIELDS
    A = matrix(dtype)
    given = js.SparseMatrix.from_dense(A) if form == "sparse" else jnp.asarray(A)
    inner = js.Solve("LU") if form == "dense" else js.Solve(js.SparseDirect("superlu"))
    M = js.FieldSplit([(one, inner) for one in sets], kind, schur).build(given)
    expected = exact(A, sets, kind, schur)
    np.testing.assert_allclose(M.as_matrix(), expected, atol=1e-12)
    np.testing.assert_allclose(M.T.as_matrix(), expected.T, atol=1e-12)
    np.testing.assert_allclose(M.H.as_matrix(), expected.conj().T, atol=1e-12)


@pytest.mark.further
def test_a_symmetric_matrix_keeps_its_symmetry():
    A = js.DenseMatrix(jnp.asarray(matrix(symmetric=True))).declare(symmetric=True, hermitian=True)
    for kind in ("additive", "symmetric"):
        M = js.FieldSplit([(one, "jacobi") for one in FIELDS], kind).build(A)
        assert M.traits.symmetric
        np.testing.assert_allclose(M.as_matrix(), M.as_matrix().T, atol=1e-12)


@pytest.mark.further
@pytest.mark.parametrize("kind", ["given", "minus", "operator", "recipe", "inner"])
def test_complements(kind):
    A, sets = saddle(), [np.arange(8), np.arange(8, 12)]
    (F, U), (L, C) = parts(A, sets)
    S = C - L @ np.linalg.inv(F) @ U
    inner = js.Solve("GMres", rtol=1e-13)
    complement = {
        "given": S,
        "minus": sps.csr_array(-S),
        "operator": js.DenseMatrix(jnp.asarray(S)),
        "recipe": js.Solve("LU"),
        "inner": inner,
    }[kind]
    second = None if kind == "recipe" else "jacobi" if kind == "inner" else js.Solve("LU")
    M = js.FieldSplit([(sets[0], js.Solve("LU")), (sets[1], second)], "schur", "full", complement).build(A)
    expected = exact(A, sets, "schur") if kind == "recipe" else np.linalg.inv(A)
    # Of a saddle point that is not symmetric the sign of a complement is that of "selfp", on the whole.
    flips = np.sign(np.trace(S)) != np.sign(np.trace(C - L @ np.diag(1 / np.diag(F)) @ U))
    if not (flips and kind in ("given", "minus", "operator")):
        np.testing.assert_allclose(M.as_matrix(), expected, atol=1e-9)
    split = js.FieldSplit([(sets[0], js.Solve("LU")), (sets[1], second)], "schur", "full", complement)
    solve = js.Solve("fGMres" if kind == "inner" else "GMres", rtol=1e-10, preconditioner=split)
    info = js.solve_linear_info(A, jnp.ones(12), solve)
    assert info.converged
    np.testing.assert_allclose(A @ info.x, 1, atol=1e-8)


class State(NamedTuple):
    u: jax.Array
    v: jax.Array
    p: jax.Array


def flow(x, k):
    u, v, p = x
    return (4 * u - jnp.roll(u, 1) + p[:4], k * v + 0.3 * p[1:], jnp.append(u + v, 0.0) - 0.5 * p)


@pytest.mark.further
@pytest.mark.parametrize(
    "structure", ["tuple", *(pytest.param(s, marks=pytest.mark.slow) for s in ("dict", "named"))]
)
def test_fields_are_the_leaves_of_the_unknown_and_gradients_do_not_feel_it(structure):
    wrap = {"dict": lambda u, v, p: {"u": u, "v": v, "p": p}, "tuple": lambda *x: x, "named": State}[
        structure
    ]
    names = (0, 1, 2) if structure == "tuple" else ("u", "v", "p")

    def f(x, k):
        return wrap(*flow([x[name] for name in names] if structure == "dict" else tuple(x), k))

    b = wrap(jnp.arange(4.0), jnp.ones(4), jnp.arange(5.0))
    split = js.FieldSplit({names[:2]: js.Solve("LU"), names[2]: "jacobi"}, kind="schur")

    def loss(k, solve):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(js.solve_linear(f, b, solve, k)))

    with_it = jax.value_and_grad(lambda k: loss(k, js.Solve("GMres", rtol=1e-11, preconditioner=split)))(3.0)
    plain = jax.value_and_grad(lambda k: loss(k, js.Solve("LU")))(3.0)
    np.testing.assert_allclose(with_it, plain, rtol=1e-8)
    # "full" with an exact first field and S itself diagonal but for the roll: few steps.
    assert js.solve_linear_info(f, b, js.Solve("GMres", preconditioner=split), 3.0).iterations <= 6


@pytest.mark.further
@pytest.mark.parametrize("kind", ["multiplicative", "schur"])
def test_traced_values_and_lanes_give_what_constants_give(kind):
    A = js.SparseMatrix.from_dense(matrix())
    split = js.FieldSplit([(SCATTERED[0], "jacobi"), (SCATTERED[1], "ilu")], kind)
    solve = js.Solve("GMres", rtol=1e-10, preconditioner=split)
    b = jnp.arange(12.0)

    def one(data):
        return js.solve_linear(js.SparseMatrix(data, A.pattern), b, solve)

    scales = jnp.array([1.0, 3.0])
    found = jax.jit(jax.vmap(one))(scales[:, None] * A.data)
    expected = np.linalg.solve(matrix(), b) / scales[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.further
def test_a_saddle_point_is_found_by_its_diagonal():
    A = sps.csr_array(saddle())
    b = jnp.ones(12)
    info = js.solve_linear_info(A, b, js.Solve("GMres", rtol=1e-10, preconditioner="field-split"))
    assert info.converged
    M = js.FieldSplit().build(A)
    told = js.FieldSplit([(np.arange(8), "ilu"), (np.arange(8, 12), "ilu")], "schur").build(A)
    np.testing.assert_allclose(M.as_matrix(), told.as_matrix(), rtol=1e-10)


def staggered_stokes(n):
    """Velocities on the edges and pressures in the cells of n x n cells, with walls around."""
    I, h = sps.eye_array, 1 / n

    def second(m, half):
        L = sps.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=(-1, 0, 1)).tolil()
        if half:
            L[0, 0] = L[-1, -1] = 3
        return L.tocsr()

    d = sps.diags_array([-np.ones(n - 1), np.ones(n - 1)], offsets=(0, 1), shape=(n - 1, n))
    u = sps.kron(second(n - 1, False), I(n)) + sps.kron(I(n - 1), second(n, True))
    v = sps.kron(second(n, True), I(n - 1)) + sps.kron(I(n), second(n - 1, False))
    x, y = sps.kron(d, I(n)), sps.kron(I(n), d)
    rows = [[u / h**2, None, x / h], [None, v / h**2, y / h], [x.T / h, y.T / h, None]]
    return sps.block_array(rows).tocsr(), 2 * n * (n - 1)


@pytest.mark.slow
@pytest.mark.parametrize("schur", ["diagonal", "lower", "upper", "full"])
def test_iterations_on_stokes_do_not_grow_with_the_mesh(schur):
    counts = []
    for n in (8, 16, 32):
        A, velocities = staggered_stokes(n)
        N = velocities + n**2
        split = js.FieldSplit(
            [(np.arange(velocities), js.Solve("sparse-direct")), (np.arange(velocities, N), "jacobi")],
            kind="schur", schur=schur, complement=sps.eye_array(N - velocities),
        )  # fmt: skip
        constants = jnp.concatenate([jnp.zeros(velocities), jnp.ones(N - velocities)])
        b = np.random.default_rng(0).normal(size=N)
        b[velocities:] -= b[velocities:].mean()
        method = "minres" if schur == "diagonal" else "GMres"
        solve = js.Solve(method, rtol=1e-8, preconditioner=split, null_space=constants)
        info = js.solve_linear_info(A, b, solve)
        assert info.converged
        counts.append(int(info.iterations))
    assert counts[2] <= 1.35 * counts[0]
    assert counts[2] <= (45 if schur == "diagonal" else 30)


def _solve(split, method="GMres", b=None):
    return js.solve_linear(matrix(), jnp.ones(12) if b is None else b, js.Solve(method, preconditioner=split))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: js.FieldSplit({"u": "amg"}, kind="schwarz"), ValueError, "kind must be"),
        (lambda: js.FieldSplit({"u": "amg", "p": None}, schur="left"), ValueError, "schur must be"),
        (lambda: js.FieldSplit({"u": "jacobbi"}), ValueError, "jacobi"),
        (lambda: js.FieldSplit({"u": None}, "schur"), ValueError, "two fields; got 1"),
        (lambda: js.FieldSplit({}), ValueError, "at least one field"),
        (lambda: js.FieldSplit("u"), ValueError, "dictionary"),
        (lambda: js.FieldSplit({("u", "v"): None, "v": None}), ValueError, "leaves v are in two"),
        (lambda: js.FieldSplit([([0, 0], None)]), ValueError, "distinct"),
        (lambda: js.FieldSplit([([0.5], None)]), ValueError, "distinct"),
        (lambda: _solve(js.FieldSplit({"u": None})), ValueError, "the unknown is one array"),
        (
            lambda: _solve(js.FieldSplit({"u": None, "q": None}), b={"u": jnp.ones(8), "p": jnp.ones(4)}),
            ValueError,
            r"no leaf 'q'; it has \['p', 'u'\]",
        ),
        (
            lambda: _solve(js.FieldSplit({"u": None}), b={"u": jnp.ones(8), "p": jnp.ones(4)}),
            ValueError,
            "8, 9, 10|in no field",
        ),
        (lambda: _solve(js.FieldSplit([(range(8), None), (range(7, 12), None)])), ValueError, "in two fields"),
        (lambda: _solve(js.FieldSplit([(range(8), None)])), ValueError, "4 of 12 unknowns are in no field"),
        (lambda: _solve(js.FieldSplit([(range(13), None)])), ValueError, "unknown 12 of 12"),
        (
            lambda: _solve(
                js.FieldSplit([(range(8), None), (range(8, 12), None)], "schur", complement=jnp.eye(3))
            ),
            ValueError,
            r"shape \(4, 4\); got \(3, 3\)",
        ),
        (
            lambda: _solve(js.FieldSplit([(range(8), jnp.eye(3)), (range(8, 12), None)])),
            ValueError,
            r"field 0 .*shape \(8, 8\); got \(3, 3\)",
        ),
        (lambda: _solve(js.FieldSplit([(range(12), js.Solve("CG"))])), ValueError, "fGMres"),
        (lambda: js.FieldSplit({"u": None}).build(jnp.eye(2)), ValueError, "index sets"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
