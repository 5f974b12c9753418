"""Systems that are set up once: solves, updates, derivatives, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
from jax.experimental.sparse import BCOO

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance

N = 36
GRID = sps.csr_array(problems.poisson_2d(6, 6) + 0.5 * np.eye(N))
PATTERN = js.SparseMatrix.from_scipy(GRID).pattern
DATA = jnp.asarray(GRID.data)
B = jnp.asarray(np.random.default_rng(1).normal(size=N))
TIGHT = 1e-12
CG = js.Solve("CG", rtol=TIGHT, preconditioner="jacobi")


def matrix(data):
    return js.SparseMatrix(data, PATTERN)


def dense(data):
    return matrix(data).todense()


def reference(data, b=B):
    return jnp.linalg.solve(dense(data), b)


#: Symmetric changes of the values.
ROWS = jnp.asarray(PATTERN.rows)
ON_DIAGONAL = jnp.asarray(PATTERN.rows == PATTERN.indices)


def moved(t):
    return DATA + jnp.where(ON_DIAGONAL, t, 0.0)


def test_it_solves_as_the_request_does_and_says_what_it_holds():
    ready = js.setup(GRID, CG)
    assert distance(js.solve_linear(ready, B), reference(DATA)) < 1e-10
    columns = jnp.stack([B, 2 * B], axis=1)
    assert distance(js.solve_linear_many(ready, columns)[:, 1], 2 * reference(DATA)) < 1e-10
    loose = js.solve_linear_info(ready, B, js.Solve(rtol=1e-2, x0=0.1 * B))
    assert (loose.method, bool(loose.converged)) == ("CG", True)
    assert int(loose.iterations) < int(js.solve_linear_info(ready, B).iterations)
    for word in ("CG + jacobi", "DiagonalsOperator 36x36 float64", " kB"):
        assert word in repr(ready)
    assert "Ready" in repr(jax.tree.map(lambda v: v, ready))


@pytest.mark.further
def test_it_passes_through_the_transformations():
    ready = js.setup(GRID, CG)
    assert distance(jax.jit(js.solve_linear)(ready, B), reference(DATA)) < 1e-10
    several = jnp.stack([B, B**2])
    x = jax.jit(jax.vmap(js.solve_linear, in_axes=(None, 0)))(ready, several)
    assert distance(x[1], reference(DATA, B**2)) < 1e-10
    # A batch by vmap is used by vmap.
    stack = jax.vmap(lambda t: js.setup(matrix(moved(t)), CG))(jnp.array([0.0, 1.0]))
    x = jax.vmap(js.solve_linear)(stack, several)
    assert distance(x[1], reference(moved(1.0), B**2)) < 1e-10
    with pytest.raises(ValueError, match=r"setups of a batch of shape \(2,\).*jax.vmap"):
        js.solve_linear(stack, B)


@pytest.mark.further
def test_derivatives_in_a_scan_are_those_of_the_solution():
    def value(t, b):
        def body(carry, s):
            ready = js.setup(matrix(moved(carry)), CG)
            return jnp.mean(js.solve_linear(ready, b * s) ** 2) + t, None

        return jax.lax.scan(body, t, jnp.array([1.0, 2.0]))[0]

    def expected(t, b):
        carry = t
        for s in (1.0, 2.0):
            carry = jnp.mean(reference(moved(carry), b * s) ** 2) + t
        return carry

    found = jax.jit(jax.value_and_grad(jax.grad(value)))(0.5, B)
    assert distance(jnp.stack(found), jnp.stack(jax.value_and_grad(jax.grad(expected))(0.5, B))) < 1e-8


@pytest.mark.further
def test_derivatives_by_a_setup_reach_its_operator_alone():
    ready = js.setup(matrix(DATA), CG)
    slope = jax.grad(lambda r: jnp.sum(js.solve_linear(r, B)))(ready)
    assert all(not np.any(v) for v in jax.tree.leaves(slope.inverses))
    # d sum(x) / d A = -λ xᵀ on the diagonals, with Aᵀ λ = 1.
    found = jax.vjp(lambda d: matrix(d).layout(), DATA)[1](slope.A)[0]
    assert distance(found, jax.grad(lambda d: jnp.sum(reference(d)))(DATA)) < 1e-8


SIZES = jnp.sin(jnp.arange(N * 1.0))


def scaled(t):
    """D A D with a diagonal D, of which Jacobi's method of A alone knows nothing."""
    D = jnp.exp(t * SIZES)
    return DATA * D[ROWS] * D[jnp.asarray(PATTERN.indices)]


def newton_like(ready, ts, after=False):
    """The solutions along changing values, and the iterations."""

    def body(ready, t):
        info = js.solve_linear_info(ready, B)
        new = ready.update(matrix(scaled(t)), after=info if after else None)
        return new, (info.x, info.iterations, info.converged, ready.age)

    return jax.lax.scan(body, ready, ts)


TIMES = jnp.array([0.5, 1.0, 1.5, 2.0, 2.5])


@pytest.mark.parametrize(
    ("refresh", "ages"),
    [
        pytest.param("always", [0, 0, 0, 0, 0], marks=pytest.mark.slow),
        pytest.param("never", [0, 1, 2, 3, 4], marks=pytest.mark.slow),
        pytest.param(2, [0, 1, 0, 1, 0], marks=pytest.mark.further),
        ("growth", None),
    ],
)
def test_what_lags_is_refreshed_by_its_policy(refresh, ages):
    ready = js.setup(GRID, js.Solve("CG", rtol=1e-11, preconditioner="jacobi"), refresh=refresh)
    _, (x, steps, converged, age) = jax.jit(lambda r: newton_like(r, TIMES, refresh == "growth"))(ready)
    for k, t in enumerate([0.0, *TIMES[:-1]]):
        assert distance(x[k], reference(scaled(t))) < 1e-7
    assert converged.all()
    if ages is not None:
        assert age.tolist() == ages
    else:
        # Kept until the iterations doubled: then made anew.
        grown = [k for k in range(4) if age[k + 1] == 0]
        assert age[1] == 1
        assert grown
        assert steps[grown[0]] > 2 * steps[0]
        assert steps[grown[0] + 1] < steps[grown[0]]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["LU", pytest.param("sparse-direct", marks=pytest.mark.slow)])
def test_factors_of_other_values_solve_all_the_same(method):
    # Refinement with factors of A + 0.5 diverges for 40 A - ...: the program factorises anew.
    ready = js.setup(GRID, js.Solve(method, rtol=TIGHT), refresh="never")
    far = ready.update(matrix(-3 * DATA[::-1]))
    info = js.solve_linear_info(far, B)
    assert bool(info.converged)
    assert distance(info.x, reference(-3 * DATA[::-1])) < 1e-9

    def value(t):
        return jnp.sum(js.solve_linear(ready.update(matrix(-t * DATA)), B) ** 2)

    def expected(t):
        return jnp.sum(reference(-t * DATA) ** 2)

    assert distance(jax.jit(jax.grad(value))(3.0), jax.grad(expected)(3.0)) < 1e-8


CASES = {
    "auto": js.Solve(),
    "GMres+ilu": js.Solve("GMres", rtol=TIGHT, preconditioner="ilu"),
    "CG+amg": js.Solve("CG", rtol=TIGHT, preconditioner="amg"),
    "sparse-direct": js.Solve("sparse-direct"),
    "device": js.Solve(js.SparseDirect("device")),
    "LU": js.Solve("LU"),
    "scipy-CG": js.Solve("scipy-CG", rtol=TIGHT),
    "lsmr": js.Solve("lsmr", rtol=TIGHT),
    "function": js.Solve("CG", rtol=TIGHT, preconditioner=lambda r: r / 4),
    "pair": js.Solve("GMres", rtol=TIGHT, preconditioner=("jacobi", lambda r: 2 * r)),
    "gradient_solve": js.Solve("CG", rtol=TIGHT, preconditioner="ssor", gradient_solve=js.Solve("LU")),
    "plain": js.Solve("biCG-stab", rtol=TIGHT),
}


@pytest.mark.parametrize("refresh", [None, 2])
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_methods_and_preconditioners(case, refresh):
    solve = CASES[case]
    ready = js.setup(GRID, solve, refresh=refresh)
    assert distance(js.solve_linear(ready, B), reference(DATA)) < 1e-8
    assert distance(jax.jit(js.solve_linear)(ready, B), reference(DATA)) < 1e-8
    twice = ready.update(matrix(2 * DATA))
    assert distance(js.solve_linear(twice, B, js.Solve(rtol=TIGHT)), reference(2 * DATA)) < 1e-8

    def value(t):
        ready = js.setup(matrix(moved(t)), solve, refresh=refresh)
        return jnp.sum(js.solve_linear(ready.update(matrix(moved(2 * t))), B, js.Solve(rtol=TIGHT)) ** 2)

    wanted = jax.grad(lambda t: jnp.sum(reference(moved(2 * t)) ** 2))(0.3)
    assert distance(jax.jit(jax.grad(value))(0.3), wanted) < 1e-7


FORMS = {
    "array": (lambda d: dense(d), "DenseMatrix"),
    "BCOO": (lambda d: BCOO.fromdense(dense(DATA)) * 1.0 if d is DATA else matrix(d).to_bcoo(), "Diag"),
    "complex": (lambda d: matrix(d * (1 + 0.5j)), "complex128"),
    "operator": (lambda d: Twice(matrix(d / 2)), "Twice"),
}


class Twice(js.LinearOperator):
    half: js.SparseMatrix

    @property
    def shape(self):
        return self.half.shape

    @property
    def dtype(self):
        return self.half.dtype

    def mv(self, x):
        return 2 * self.half.mv(x)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_matrix(form):
    make, word = FORMS[form]
    ready = js.setup(make(DATA), js.Solve("GMres", rtol=TIGHT))
    assert word in repr(ready)
    factor = 1 + 0.5j if form == "complex" else 1
    assert distance(js.solve_linear(ready, B), reference(DATA * factor)) < 1e-9
    assert distance(js.solve_linear(ready.update(make(3 * DATA)), B), reference(3 * DATA * factor)) < 1e-9
    wanted = jax.grad(lambda t: jnp.abs(reference(t * DATA * factor)).sum())(1.5)
    found = jax.grad(lambda t: jnp.abs(js.solve_linear(ready.update(make(t * DATA)), B)).sum())(1.5)
    assert distance(found, wanted) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("refresh", [None, "never"])
def test_batches_of_matrices(refresh):
    data = jnp.stack([DATA, moved(1.0)])
    ready = js.setup(matrix(data), js.Solve("GMres", rtol=TIGHT, preconditioner="jacobi"), refresh=refresh)
    assert ready.shape == (2, N, N)
    b = jnp.stack([B, 2 * B])
    for solve in (js.solve_linear, jax.jit(js.solve_linear)):
        x = solve(ready, b)
        assert distance(x[1], 2 * reference(moved(1.0))) < 1e-9
        x = solve(ready.update(matrix(3 * data)), jnp.stack([b, b]))
        assert distance(x[1, 0], reference(3 * DATA)) < 1e-9
    dense_batch = js.setup(jax.vmap(dense)(data), js.Solve("LU"))
    assert distance(js.solve_linear(dense_batch, B)[1], reference(moved(1.0))) < 1e-9
    slope = jax.grad(lambda t: js.solve_linear(ready.update(matrix(t * data)), b).sum())(2.0)
    wanted = -(reference(DATA) + 2 * reference(moved(1.0))).sum() / 4
    assert distance(slope, wanted) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lsmr", "QR"])
def test_rectangular_systems(method):
    A = np.random.default_rng(2).normal(size=(9, 5))
    b = A @ np.arange(5.0) + 0.1
    ready = js.setup(A, js.Solve(method, rtol=TIGHT))
    assert distance(js.solve_linear_info(ready, b).x, np.linalg.lstsq(A, b, rcond=None)[0]) < 1e-8


def affine(x, k):
    return {"u": k * x["u"] + x["p"][:3] + 1.0, "p": 5 * x["p"] - jnp.roll(x["p"], 1)}


@pytest.mark.further
def test_functions_of_pytrees_add_their_constant():
    x0 = {"u": jnp.zeros(3), "p": jnp.zeros(4)}
    b = {"u": jnp.arange(3.0), "p": jnp.ones(4)}
    solve = js.Solve("GMres", rtol=TIGHT, preconditioner="jacobi")
    ready = js.setup(affine, solve, 4.0, x_like=x0)

    def residual(x, k):
        return max(distance(affine(x, k)[name], b[name]) for name in b)

    assert residual(js.solve_linear(ready, b), 4.0) < 1e-10
    moved_on = jax.jit(lambda k: js.solve_linear(ready.update(affine, k), b))(2.0)
    assert residual(moved_on, 2.0) < 1e-10
    with pytest.raises(ValueError, match="b has the structure that the function returned"):
        js.solve_linear(ready, b["u"])
    with pytest.raises(ValueError, match=r"Use jax\.vmap"):
        js.solve_linear_many(ready, jnp.ones((7, 2)))


@pytest.mark.slow
def test_functions_of_vectors():
    f = lambda x, k: k * x - 0.5 * jnp.roll(x, 1) + 2.0  # noqa: E731
    M = 3 * np.eye(N) - 0.5 * np.roll(np.eye(N), 1, axis=0)
    for g in (f, js.jit_compile_linear(f)):
        for solve in (js.Solve("GMres", rtol=TIGHT, x0=jnp.zeros(N)), js.Solve(x0=jnp.zeros(N))):
            ready = js.setup(g, solve, 3.0)
            X = js.solve_linear_many(ready, jnp.stack([B, 2 * B], axis=1), js.Solve(rtol=TIGHT))
            assert distance(X, np.linalg.solve(M, np.stack([B - 2, 2 * B - 2], axis=1))) < 1e-9

    def value(k):
        ready = js.setup(f, js.Solve("GMres", rtol=TIGHT, x0=B), k)
        return js.solve_linear(ready.update(f, 2 * k), B).sum()

    h = 1e-5
    assert distance(jax.grad(value)(3.0), (value(3.0 + h) - value(3.0 - h)) / (2 * h)) < 1e-7


@pytest.mark.further
@pytest.mark.parametrize(
    "preconditioner", ["chebyshev", *[pytest.param(name, marks=pytest.mark.slow) for name in ("amg", "ilu")]]
)
def test_it_is_the_carry_of_a_scan_that_updates_it(preconditioner):
    ready = js.setup(GRID, js.Solve("GMres", rtol=TIGHT, preconditioner=preconditioner), refresh=3)
    end, (x, _, _, age) = jax.jit(lambda r: newton_like(r, TIMES))(ready)
    assert distance(x[4], reference(scaled(TIMES[3]))) < 1e-7
    assert age.tolist() == [0, 1, 2, 0, 1]
    assert distance(js.solve_linear(end, B), reference(scaled(TIMES[4]))) < 1e-7


@pytest.mark.further
def test_singular_systems_keep_their_null_space():
    neumann = js.SparseMatrix.from_dense(np.array([[1.0, -1, 0], [-1, 2, -1], [0, -1, 1]]))
    b = np.array([1.0, 0, -1])
    for solve in (js.Solve("CG", rtol=TIGHT), js.Solve("sparse-direct", rank_deficiency=1), js.Solve()):
        x = js.solve_linear(js.setup(neumann, solve), b)
        assert distance(x - x.mean(), np.linalg.pinv(neumann.todense()) @ b) < 1e-8
    info = js.solve_linear_info(js.setup(jnp.zeros((2, 2)), js.Solve("LU")), jnp.ones(2))
    assert info.status.name == "singular"
    assert js.solve_linear(js.setup(jnp.zeros((2, 2)), js.Solve("CG")), jnp.zeros(2)).tolist() == [0.0, 0.0]


READY = js.setup(GRID, CG)
OTHER = sps.csr_array(np.eye(N))
REFUSED = {
    "a setup": (lambda: js.setup(READY), TypeError, "is set up already"),
    "another method": (lambda: js.solve_linear(READY, B, js.Solve("GMres")), ValueError, "method CG; GMres needs"),
    "another preconditioner": (
        lambda: js.solve_linear(READY, B, js.Solve("CG", preconditioner="ic")), ValueError, "preconditioner jacobi; ic",
    ),
    "a null space": (lambda: js.solve_linear(READY, B, js.Solve(rank_deficiency=1)), ValueError, "rank_deficiency"),
    "no request": (lambda: js.solve_linear(READY, B, "CG"), TypeError, "js.Solve"),
    "arguments": (lambda: js.solve_linear(READY, B, None, 3.0), TypeError, r"ready.update\(f"),
    "the size of b": (lambda: js.solve_linear(READY, B[:3]), ValueError, "needs a right-hand side of 36"),
    "columns": (lambda: js.solve_linear_many(READY, jnp.ones((3, 2))), ValueError, r"\(36, k\)"),
    "other positions": (lambda: READY.update(OTHER), ValueError, "other positions"),
    "another shape": (lambda: READY.update(np.eye(3)), ValueError, r"takes A of shape \(36, 36\)"),
    "another dtype": (lambda: READY.update(matrix(DATA + 1j)), ValueError, "of dtype float64"),
    "an array": (lambda: READY.update(GRID.toarray()), ValueError, "positions"),
    "a function": (lambda: READY.update(lambda x: 2 * x), TypeError, "another kind"),
    "no vectors": (lambda: js.setup(lambda x: 2 * x, CG), TypeError, "x_like"),
    "a policy": (lambda: js.setup(GRID, CG, refresh="sometimes"), ValueError, "refresh expects"),
    "no iterations": (lambda: js.setup(GRID, CG, refresh="growth").update(GRID), ValueError, "after=info"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_words(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


@pytest.mark.further
def test_the_same_request_given_again_is_no_other_one():
    solve = eqx.tree_at(lambda s: s.rtol, CG, 1e-3)
    assert bool(js.solve_linear_info(READY, B, solve).converged)
    auto = js.setup(GRID, js.Solve())
    assert distance(js.solve_linear(auto, B, js.Solve("LU")), reference(DATA)) < 1e-9
