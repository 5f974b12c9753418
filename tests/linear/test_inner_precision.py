"""Mixed precision: passes in float32 refined to the digits of b, the same verdict, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from tests.gallery import methods, problems
from tests.gallery.methods import distance

TIGHT = 1e-12
N = 36
GRID = sps.csr_array(problems.poisson_2d(6, 6) + 0.5 * np.eye(N))
DENSE = jnp.asarray(GRID.toarray())
MATRIX = js.SparseMatrix.from_scipy(GRID)
B = jnp.asarray(np.random.default_rng(3).normal(size=N))
X = np.linalg.solve(GRID.toarray(), B)
#: Single precision alone leaves errors of this size.
SINGLE = 1e-7


def asked(method="CG", **options):
    return js.Solve(method, **{"rtol": TIGHT, "inner_dtype": jnp.float32} | options)


further, slow = pytest.mark.further, pytest.mark.slow
#: What is solved with in every run of CI.
FEW = ("biCG-stab", "GMres", "LU", "tridiagonal")
#: Methods that have an inner precision; those whose factors are on the host keep their own.
TAKING = [n for n in js.methods() if not n.startswith("scipy") and n not in ("lsqr", "lsmr", "SVD")]


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.complex128, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [n if n == "CG" else pytest.param(n, marks=further if n in FEW else slow) for n in TAKING]
)
def test_methods_reach_what_double_precision_reaches(name, dtype):
    A, b = methods.system(name, dtype=dtype)
    info = js.solve_linear_info(jnp.asarray(A), jnp.asarray(b), asked(methods.made(name)))
    assert info.status.name == "converged"
    assert info.x.dtype == dtype
    assert np.linalg.norm(b - A @ info.x) <= 1.01 * TIGHT * np.linalg.norm(b)
    assert distance(info.x, np.linalg.solve(A, b)) < 1e-10


class Observed(js.CG):
    """CG that takes down the dtypes it meets."""

    def start(self, A, M, r):
        SEEN.append((r.dtype, A.dtype, M.mv(r).dtype, A.mv(r).dtype))
        return super().start(A, M, r)


SEEN = []


def test_a_method_meets_the_lower_precision_alone():
    SEEN.clear()
    js.solve_linear(MATRIX, B, asked(Observed(), preconditioner="jacobi"))
    assert set(SEEN) == {(jnp.dtype("float32"),) * 4}


@further
def test_complex_systems_are_narrowed_to_complex_numbers():
    SEEN.clear()
    js.solve_linear(MATRIX, B + 1j, asked(Observed(), preconditioner="jacobi"))
    complex64, float32 = map(jnp.dtype, ("complex64", "float32"))
    assert set(SEEN) == {(complex64, float32, complex64, complex64)}


def test_the_precision_of_b_is_no_other_one():
    plain, same = (js.Solve("CG", inner_dtype=d) for d in (None, jnp.float64))
    ones = (js.solve_linear_info(MATRIX, B, solve) for solve in (plain, same))
    first, second = ones
    assert np.array_equal(first.x, second.x)
    assert int(first.iterations) == int(second.iterations)
    assert "inner_dtype=float32" in repr(asked())


@slow
def test_a_single_precision_system_is_solved_in_it():
    low = js.SparseMatrix.from_scipy(GRID.astype(np.float32))
    x = js.solve_linear(low, B.astype(jnp.float32), js.Solve("CG", inner_dtype=jnp.complex64))
    assert x.dtype == jnp.float32
    assert distance(x, X) < 1e-4


@pytest.mark.parametrize("scale", [pytest.param(1e300, marks=further), pytest.param(1e-300, marks=slow)])
@pytest.mark.parametrize("method", ["CG", pytest.param("LU", marks=slow)])
def test_values_beyond_the_range_of_single_precision(method, scale):
    preconditioner = "jacobi" if method == "CG" else None
    matrix = js.SparseMatrix(scale * MATRIX.data, MATRIX.pattern)
    x = js.solve_linear(matrix, B, asked(method, preconditioner=preconditioner))
    assert distance(scale * x, X) < 1e-10
    x = js.solve_linear(MATRIX, scale * B, asked(method, preconditioner=preconditioner))
    assert distance(x / scale, X) < 1e-10


def conditioned(size, seed=5, n=24):
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return jnp.asarray(Q * np.logspace(0, -size, n) @ Q.T)


@pytest.mark.parametrize("method", ["LU", *(pytest.param(m, marks=slow) for m in ("GMres", *TAKING[:4]))])
def test_what_does_not_contract_ends_and_says_so(method):
    A, b = conditioned(11), B[:24]
    info = js.solve_linear_info(A, b, js.Solve(method, rtol=1e-8, inner_dtype=jnp.float32))
    left = np.linalg.norm(b - A @ info.x)
    assert not info.converged
    assert left > 1e-8 * np.linalg.norm(b)
    assert np.isclose(left, float(info.residual_norm), rtol=1e-3)
    assert "leave it out" in info.message


def test_rounding_does_not_make_a_matrix_singular():
    A = jnp.array([[1.0, 1.0], [1.0, 1.0 + 1e-9]])
    info = js.solve_linear_info(A, jnp.array([1.0, 2.0]), asked("LU"))
    assert info.status.name == "stagnation"
    assert "1e6" not in info.message
    assert js.solve_linear_info(A, jnp.array([1.0, 2.0]), js.Solve("LU", rtol=TIGHT)).converged


@further
def test_factors_with_few_digits_are_refined():
    A = conditioned(6)
    info = js.solve_linear_info(A, B[:24], js.Solve("LU", rtol=1e-10, inner_dtype=jnp.float32))
    assert info.converged
    assert int(info.iterations) > 3


def smooth(t, solve, **options):
    """A function of a solve whose derivatives all differ from zero."""
    A = t**2 * DENSE + jnp.diag(t * jnp.arange(1.0, N + 1) / N)
    x = jnp.linalg.solve(A, jnp.sin(t) * B) if solve is None else js.solve_linear(A, jnp.sin(t) * B, solve)
    return jnp.sum(jnp.sin(x)) / N


def in_scan(t, solve):
    return jax.lax.scan(lambda c, _: (c + smooth(c, solve), None), t, None, length=2)[0]


@pytest.mark.parametrize(
    "method", [pytest.param("CG", marks=further), *(pytest.param(m, marks=slow) for m in ("LU", "GMres"))]
)
def test_derivatives_are_refined_alike(method):
    gradients = [
        jax.jit(jax.grad(lambda t, s=s: smooth(t, s)))(1.3) for s in (asked(method, rtol=1e-13), None)
    ]
    assert np.isclose(*gradients, rtol=1e-10)


@slow
@pytest.mark.parametrize("method", ["CG", "LU", "GMres"])
def test_second_derivatives_are_refined_alike_also_in_a_loop(method):
    solve = asked(method, rtol=1e-13)
    ours, reference = (
        jax.jit(jax.jacfwd(jax.grad(lambda t, s=s: in_scan(t, s))))(1.3) for s in (solve, None)
    )
    assert np.isclose(ours, reference, rtol=1e-10)


@slow
def test_third_derivatives_and_a_request_for_gradients():
    solve = asked(gradient_solve=asked("LU"))
    thrice = lambda g: jax.grad(jax.jacfwd(jax.grad(g)))  # noqa: E731
    assert np.isclose(
        thrice(lambda t: smooth(t, solve))(1.3), thrice(lambda t: smooth(t, None))(1.3), rtol=1e-8
    )


@further
def test_columns():
    columns = jnp.stack([B, 0 * B, 3 * B], axis=1)
    assert (
        distance(js.solve_linear_many(MATRIX, columns, asked()), np.stack([X, 0 * X, 3 * X], axis=1)) < 1e-10
    )


@slow
def test_batches_and_lanes():
    stack, solve = jnp.stack([DENSE, 2 * DENSE]), asked(preconditioner="jacobi")
    assert distance(js.solve_linear(stack, B, solve), np.stack([X, X / 2])) < 1e-10
    lanes = jax.jit(jax.vmap(lambda A: js.solve_linear(A, B, asked("LU"))))(stack)
    assert distance(lanes, np.stack([X, X / 2])) < 1e-10


@pytest.mark.parametrize("refresh", [pytest.param("never", marks=further), pytest.param(None, marks=slow)])
def test_a_setup_is_updated(refresh):
    ready = js.setup(MATRIX, asked(preconditioner="ic"), refresh=refresh)
    assert distance(js.solve_linear(ready, B), X) < 1e-10
    data = MATRIX.data * (1 + 0.3 * jnp.asarray(MATRIX.pattern.rows == MATRIX.pattern.indices))
    other = js.SparseMatrix(data, MATRIX.pattern)
    info = js.solve_linear_info(ready.update(other), B)
    assert info.converged
    assert distance(info.x, np.linalg.solve(other.todense(), B)) < 1e-10
    # Far off, in another unit: what is kept is of no use, and made anew by the program.
    far = js.SparseMatrix(1e200 * data, MATRIX.pattern)
    assert (
        distance(1e200 * js.solve_linear(ready.update(far), B), np.linalg.solve(other.todense(), B)) < 1e-10
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=further if n == "amg" else slow)
        for n in js.preconditioners()
        if n != "field-split"
    ],
)
def test_recipes_are_made_in_the_lower_precision(name):
    info = js.solve_linear_info(MATRIX, B, asked("fGMres", preconditioner=name))
    assert info.converged
    assert distance(info.x, X) < 1e-10
    traced = jax.jit(
        lambda d: js.solve_linear(js.SparseMatrix(d, MATRIX.pattern), B, asked("fGMres", preconditioner=name))
    )
    assert distance(traced(MATRIX.data), X) < 1e-10


GIVEN = {
    "function": lambda: lambda r: r / 4.5,
    "array": lambda: jnp.diag(1 / jnp.diag(DENSE)),
    "operator": lambda: js.DenseMatrix(jnp.linalg.inv(DENSE)),
    "factors": lambda: js.factorize(MATRIX),
    "pair": lambda: (js.DenseMatrix(jnp.linalg.inv(DENSE)), "jacobi"),
}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=slow) for k in GIVEN])
def test_given_preconditioners_are_converted(kind):
    info = js.solve_linear_info(MATRIX, B, asked("GMres", preconditioner=GIVEN[kind]()))
    assert info.converged
    assert distance(info.x, X) < 1e-10
    if kind in ("operator", "factors"):
        assert int(info.iterations) <= 4


class Product(js.LinearOperator):
    """An operator that tells its products alone."""

    matrix: jax.Array
    shape = property(lambda self: self.matrix.shape)
    dtype = property(lambda self: self.matrix.dtype)

    def mv(self, x):
        assert x.dtype == self.matrix.dtype  # it does not know how to be narrower
        return self.matrix @ x


def circulant(x, k):
    return jnp.fft.ifft(jnp.fft.fft(x) * (2 + jnp.cos(k * jnp.arange(N)))).real


@further
def test_operators_and_functions_that_cannot_be_read_convert_their_vectors():
    assert distance(js.solve_linear(Product(DENSE), B, asked()), X) < 1e-10
    x = js.solve_linear(circulant, B, asked("GMres"), 2 * np.pi / N)
    assert distance(circulant(x, 2 * np.pi / N), B) < 1e-10


def coupled(x, k):
    return k * x - 0.5 * jnp.roll(x, 1) - 0.5 * jnp.roll(x, -1)


@further
def test_functions_are_read_and_rounded():
    assert distance(coupled(js.solve_linear(coupled, B, asked(), 2.0), 2.0), B) < 1e-10
    told = str(js.explain(coupled, B, asked(preconditioner="jacobi"), 2.0))
    assert "in float32, refined to float64" in told
    assert "preconditioner: jacobi" in told


@slow
def test_derivatives_of_functions_are_refined():
    def solve(k):
        return js.solve_linear(coupled, B, asked(), k)

    slope, eps = jax.jacfwd(solve)(2.0), 1e-5
    assert distance(slope, (solve(2 + eps) - solve(2 - eps)) / (2 * eps)) < 1e-7


@slow
def test_null_spaces_are_kept_out():
    ring = sps.csr_array(sps.diags_array([-1.0, 2, -1], offsets=[-1, 0, 1], shape=(N, N)).tolil())
    ring = ring.tolil()
    ring[0, N - 1] = ring[N - 1, 0] = -1
    b = B - B.mean()
    reference = np.linalg.pinv(ring.toarray()) @ b
    for method in ("CG", "LU"):
        for declared in (None, 1):
            x = js.solve_linear(ring.tocsr(), b, asked(method, rank_deficiency=declared))
            assert distance(x, reference) < 1e-9


@further
def test_a_tape_hears_of_all_passes():
    with js.SolveTape(record_trajectories=True) as solves:
        info = js.solve_linear_info(MATRIX, B, asked(x0=0.5 * B))
    assert info.converged
    assert len(solves) == 1
    assert solves[0].trajectory.residual_norm.dtype == jnp.float64
    assert solves[0].trajectory.iterations[-1] == int(solves[0].iterations) == int(info.iterations)


def test_small_and_empty_systems():
    assert np.allclose(js.solve_linear(jnp.array([[3.0]]), jnp.array([2.0]), asked()), 2 / 3, rtol=1e-14)
    assert js.solve_linear(jnp.zeros((0, 0)), jnp.zeros(0), asked()).shape == (0,)


@pytest.mark.parametrize(
    ("solve", "error", "words"),
    [
        (
            lambda: js.Solve("CG", inner_dtype=jnp.float16),
            ValueError,
            "float16, in which no system is solved",
        ),
        (lambda: js.Solve("CG", inner_dtype=jnp.int32), ValueError, "expects jnp.float32"),
        (lambda: js.Solve("CG", inner_dtype="some floats"), TypeError, "got"),
        (lambda: asked("scipy-CG"), ValueError, "iterates on the host.*another method"),
        (lambda: asked("lsmr"), ValueError, "least squares"),
    ],
)
def test_what_is_refused(solve, error, words):
    with pytest.raises(error, match=words):
        js.solve_linear(MATRIX, B, solve())


def test_what_depends_on_the_system_is_refused():
    with pytest.raises(ValueError, match="float64 is wider than the float32 of this system"):
        js.solve_linear(
            DENSE.astype(jnp.float32), B.astype(jnp.float32), js.Solve("CG", inner_dtype=jnp.float64)
        )
    with pytest.raises(js.StructureError, match=r"least squares \(`QR`"):
        js.solve_linear(DENSE[:, :5], B, asked("QR"))
    # The choice of the package is one that works.
    assert distance(js.solve_linear(DENSE[:, :5], DENSE[:, 2], asked("auto")), np.eye(5)[2]) < 1e-9
    assert "in float64 throughout" in str(js.explain(MATRIX, B, asked("sparse-direct")))
    with pytest.raises(ValueError, match="inner_dtype is for the iterations of a linear system"):
        js.solve_nonlinear(lambda x: x**3 + x, B, js.Solve("newton", x0=B, inner_dtype=jnp.float32))


@slow
def test_linear_systems_of_newtons_method():
    f = lambda x: x**3 + jnp.asarray(DENSE) @ x  # noqa: E731
    for linear in (asked("LU"), asked("GMres"), asked("GMres", preconditioner="jacobi")):
        x = js.solve_nonlinear(f, B, js.Solve(js.Newton(linear=linear), x0=0 * B, rtol=1e-11))
        assert distance(f(x), B) < 1e-10
