"""The automatic choice: what is taken for which system, that it solves it, and how it fares on real matrices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.front.request import method_name
from jaxsolve.linear.auto import PLAIN, Rule, choose, table
from jaxsolve.operators.operator import LinearOperator, Wrapper
from tests.gallery.methods import relative_residual
from tests.gallery.practice import errors
from tests.linear.test_real_matrices import FOLDER, load, single
from tests.preconditioners.problems import convection, poisson, rough

RNG = np.random.default_rng(40127)


@pytest.fixture(autouse=True)
def _without_cholmod(monkeypatch):
    """What is chosen does not follow what is installed: CHOLMOD makes elimination cheaper."""
    monkeypatch.setattr("jaxsolve.linear.knowledge.has_cholmod", lambda: False)


class Opaque(Wrapper):
    operator: LinearOperator

    def mv(self, x):
        return self.operator.mv(x)


def sparse(matrix, **traits):
    return js.SparseMatrix.from_scipy(matrix).declare(**traits)


def saddle(n):
    """A Stokes-like matrix with zeros on its diagonal."""
    L = poisson((n, n))
    # The rows of B are independent by their pattern: with an empty one the matrix is singular, and known to be.
    B = sps.random_array((n * n // 4, n * n), density=4 / n**2, rng=np.random.default_rng(5))
    B = B + sps.eye_array(n * n // 4, n * n)
    return sps.csr_matrix(sps.block_array([[L, B.T], [B, None]]))


def rotated(n):
    """Diffusion that is a thousand times faster along a direction of 30 degrees, by bilinear elements."""
    c, s, e = np.cos(np.pi / 6), np.sin(np.pi / 6), 1e-3
    K = np.array([[c, -s], [s, c]]) @ np.diag([1, e]) @ np.array([[c, s], [-s, c]])
    mass, stiff, drift = (
        sps.diags_array(
            np.broadcast_to(np.array(v, float)[:, None], (3, n)), offsets=(-1, 0, 1), shape=(n, n)
        )
        for v in ([1 / 6, 2 / 3, 1 / 6], [-1, 2, -1], [-0.5, 0, 0.5])
    )
    both = sps.kron(drift.T, drift)
    return sps.csr_matrix(
        K[0, 0] * sps.kron(stiff, mass) + K[1, 1] * sps.kron(mass, stiff) + K[0, 1] * (both + both.T)
    )


def random_graph(n):
    """The Laplacian of a graph of 4 n random edges, with something on the diagonal."""
    rng = np.random.default_rng(8)
    i, j = rng.integers(0, n, (2, 4 * n))
    W = sps.coo_array((np.ones(4 * n), (i, j)), shape=(n, n)).tocsr()
    W = W + W.T - sps.diags_array((W + W.T).diagonal())
    return sps.csr_matrix(sps.diags_array(np.asarray(W.sum(1)).ravel() + 0.1) - W)


def links(n):
    """PageRank: columns of sum 1 - 0.85, a few rows that many columns lead to."""
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, n, 5 * n), (n * rng.uniform(size=5 * n) ** 3).astype(int)
    W = sps.coo_array((np.ones(5 * n), (target, source)), shape=(n, n)).tocsr()
    shares = sps.diags_array(0.85 / np.maximum(np.asarray(W.sum(0)).ravel(), 1))
    return sps.csr_matrix(sps.eye_array(n) - W @ shares)


def recirculation(n, eps):
    """Upwind convection in a closed vortex and diffusion eps on a grid of n by n inner points: an M-matrix."""
    h = 1 / (n + 1)
    x, y = np.meshgrid(h * np.arange(1, n + 1), h * np.arange(1, n + 1), indexing="ij")
    u, v = (4 * x * (x - 1) * (1 - 2 * y)).ravel(), (-4 * y * (y - 1) * (1 - 2 * x)).ravel()
    back, one = sps.csr_matrix(np.eye(n) - np.eye(n, k=-1)), sps.identity(n)

    def upwind(w, B):
        return sps.diags(np.maximum(w, 0)) @ B - sps.diags(np.minimum(w, 0)) @ B.T

    drift = upwind(u, sps.kron(back, one)) + upwind(v, sps.kron(one, back))
    return sps.csr_matrix(eps / h**2 * poisson((n, n)) + drift / h)


def traced(A):
    """What is chosen where the values of a matrix are traced."""
    found = []
    jax.eval_shape(lambda A: found.append(choose(A, js.Solve())) or A, A)
    return found[0]


def names(choice):
    return method_name(choice.method), getattr(choice.preconditioner, "name", None)


BIG = 210
CASES = {
    "small dense": (js.DenseMatrix(jnp.asarray(RNG.standard_normal((9, 9)))), "LU", None),
    "dense, definite": (js.DenseMatrix(3 * jnp.eye(9)).declare(positive_definite=True), "Cholesky", None),
    "tridiagonal": (sparse(poisson((400,))), "banded", None),
    "small sparse": (sparse(poisson((10, 12))), "LU", None),
    "sparse": (sparse(convection(20)), "sparse-direct", None),
    "big stencil, proved": (sparse(poisson((BIG, BIG))), "CG", "amg"),
    "big stencil, negative": (sparse(-poisson((BIG, BIG))), "CG", "amg"),
    "big, insulated": (sparse(poisson((BIG, BIG), "insulated")), "CG", "amg"),
    "big, jumps": (sparse(rough(BIG)), "CG", "amg"),
    "big, convection": (sparse(convection(BIG)), "GMres", "amg"),
    "big, saddle point": (sparse(saddle(190)), "GMres", "ilu"),
    "big, a little indefinite": (sparse(poisson((BIG, BIG)) - 0.1 * sps.identity(BIG**2)), "sparse-direct", None),
    "big, rotated anisotropy": (sparse(rotated(BIG)), "sparse-direct", None),
    "random graph": (sparse(random_graph(8000)), "CG", "jacobi"),
    "links of pages": (sparse(links(21_000)), "biCG-stab", "jacobi"),
    "recirculating flow": (sparse(recirculation(BIG, 1e-3)), "sparse-direct", None),
    "rectangular": (sparse(poisson((10, 10))[:, :50]), "SVD", None),
    "rectangular, large": (sparse(poisson((50, 50))[:, :1000]), "lsmr", None),
    "rectangular, products alone": (Opaque(sparse(poisson((10, 10))[:, :50])), "lsmr", None),
    "products alone": (Opaque(sparse(poisson((10, 10)))), "IDR(s)", None),
    "products alone, definite": (
        Opaque(sparse(poisson((10, 10)))).declare(positive_definite=True), "CG", None,
    ),
    "products alone, symmetric": (Opaque(sparse(poisson((10, 10)))).declare(symmetric=True), "minres", None),
}  # fmt: skip


#: Elimination on the host, of more unknowns than are worth a round trip from another device.
ON_A_CPU = ("big, a little indefinite", "big, rotated anisotropy", "recirculating flow")


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.cpu] * (c in ON_A_CPU)) for c in CASES])
def test_each_kind_of_system_gets_what_suits_it(case):
    A, method, preconditioner = CASES[case]
    choice = choose(A, js.Solve())
    assert names(choice) == (method, preconditioner)
    assert choice.reasons


TRACED = {
    "small": ("small sparse", "LU", None),
    "band": ("tridiagonal", "banded", None),
    "sparse": ("sparse", "sparse-direct", None),
    "stencil": ("big stencil, proved", "GMres", "amg"),
    "saddle point": ("big, saddle point", "GMres", "ilu"),
}


@pytest.mark.parametrize("case", TRACED)
def test_traced_values_are_taken_for_nothing_that_is_not_known(case):
    of, method, preconditioner = TRACED[case]
    assert names(traced(CASES[of][0])) == (method, preconditioner)


def test_what_is_declared_of_traced_values_is_believed():
    A = CASES["big stencil, proved"][0].declare(positive_definite=True)
    assert names(traced(A)) == ("CG", "amg")


def test_away_from_a_cpu_fewer_matrices_go_to_the_host(monkeypatch):
    monkeypatch.setattr("jaxsolve.linear.auto.jax.default_backend", lambda: "gpu")
    assert names(choose(sparse(poisson((80, 80))), js.Solve())) == ("CG", "amg")


@pytest.mark.parametrize(
    ("width", "n", "method"), [(2, 10_000, "sparse-direct"), (1, 10_000, "banded"), (2, 200, "banded")]
)
def test_away_from_a_cpu_no_long_elimination_runs_row_by_row(width, n, method, monkeypatch):
    monkeypatch.setattr("jaxsolve.linear.auto.jax.default_backend", lambda: "gpu")
    offsets = range(-width, width + 1)
    A = sps.diags_array([np.full(n - abs(k), 4.0 if k == 0 else -0.5) for k in offsets], offsets=offsets)
    assert names(choose(sparse(A.tocsr()), js.Solve())) == (method, None)


GIVEN = {
    "CG, stencil": ("CG", "big stencil, proved", "amg"),
    "CG, small": ("CG", "small sparse", "ic"),
    "CG, not symmetric": ("CG", "sparse", "jacobi"),
    "minres, indefinite": ("minres", "big, a little indefinite", "ilu"),
    "GMres, saddle point": ("GMres", "big, saddle point", "ilu"),
    "GMres, products": ("GMres", "products alone", None),
}


@pytest.mark.parametrize("case", GIVEN)
def test_a_named_method_gets_a_preconditioner_that_it_can_use(case):
    method, of, preconditioner = GIVEN[case]
    A = CASES[of][0]
    assert names(choose(A, js.Solve(method, preconditioner="auto"))) == (method, preconditioner)
    # None is none for a named method.
    assert names(choose(A, js.Solve(method))) == (method, None)


def test_an_asked_for_preconditioner_is_kept_and_rules_factorisations_out():
    A = CASES["sparse"][0]
    assert names(choose(A, js.Solve(preconditioner="ssor"))) == ("IDR(s)", "ssor")
    assert names(choose(A, js.Solve(preconditioner="auto"))) == ("GMres", "ilu")
    small = CASES["small sparse"][0]
    assert names(choose(small, js.Solve(preconditioner="auto"))) == ("CG", "ic")


def test_the_table_of_rules_can_be_read():
    text = table()
    for pair in ("SVD", "lsmr", "banded", "sparse-direct", "CG + amg", "GMres + ilu", "IDR(s)"):
        assert f"\n{pair}" in f"\n{text}"


SOLVED = ["small sparse", "sparse", "tridiagonal", "products alone"]


@pytest.mark.few(2)
@pytest.mark.parametrize("case", SOLVED)
def test_what_is_chosen_solves_the_system(case):
    A = CASES[case][0]
    b = RNG.standard_normal(A.shape[0])
    x = js.solve_linear(A, b, js.Solve(rtol=1e-8))
    assert np.linalg.norm(b - A.mv(x)) <= 1.1e-8 * np.linalg.norm(b)


@pytest.mark.further
@pytest.mark.parametrize(
    "matrix",
    [poisson((300,), "insulated"), pytest.param(poisson((20, 20), "insulated"), marks=pytest.mark.slow)],
)
def test_sparse_factors_of_singular_systems_are_pinned(matrix):
    b = RNG.standard_normal(matrix.shape[0])
    b = b - b.mean()
    A = sparse(matrix)

    def mean(b):
        x = js.solve_linear(A, b, js.Solve(rtol=1e-8))
        return jnp.vdot(b, x)

    x = js.solve_linear(A, b, js.Solve(rtol=1e-8))
    assert relative_residual(matrix, x, b) <= 1.01e-8
    assert abs(float(jnp.mean(x))) < 1e-10 * float(jnp.max(jnp.abs(x)))
    # d(bᵀA⁺b) = 2 A⁺b.
    np.testing.assert_allclose(jax.grad(mean)(b), 2 * x, rtol=1e-6, atol=1e-8 * float(jnp.max(jnp.abs(x))))


def test_functions_are_read_where_they_can_be(monkeypatch):
    def stencil(u, k):
        p = jnp.pad(u, 1)
        return k * (4.01 * u - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:])

    def spectral(u):
        return jnp.fft.irfft(jnp.fft.rfft(u) * (1 + jnp.arange(33) ** 2 / 1e3), n=64)

    b = jnp.ones((8, 9))
    assert js.explain(stencil, b, js.Solve(), 2.0).method == "LU"
    info = js.solve_linear_info(stencil, b, js.Solve(rtol=1e-10), 2.0)
    assert info.method == "LU"
    assert float(jnp.abs(stencil(info.x, 2.0) - b).max()) < 1e-8
    for module in ("products", "rows", "dense_coupling"):
        name = "MOST_DENSE_ENTRIES" if module == "dense_coupling" else "MOST_ENTRIES"
        monkeypatch.setattr(f"jaxsolve.tracer.{module}.{name}", 100)
    info = js.solve_linear_info(spectral, jnp.ones(64).at[7].set(3.0))
    assert info.method == "IDR(s)"
    assert info.converged


def test_the_method_does_not_depend_on_what_was_solved_before(monkeypatch):
    class Kind:
        """One class, and one code, of functions of which some have sparse matrices."""

        def __init__(self, dense, matrix):
            self.dense, self.matrix = dense, matrix

        def __call__(self, u):
            if not self.dense:
                return self.matrix @ u - 0.1 * jnp.roll(u, 1)
            return u + jnp.fft.irfft(jnp.fft.rfft(u) / (2 + jnp.arange(21.0)), n=40)

    monkeypatch.setattr("jaxsolve.tracer.products.MOST_ENTRIES", 500)
    b, full = jnp.ones(40), np.eye(40) + 0.01
    functions = [Kind(False, np.eye(40)), Kind(True, np.eye(40)), Kind(False, full)]
    found = [js.solve_linear_info(f, b).method for f in (*functions, *functions[::-1], *functions)]
    assert found == ["LU", "IDR(s)", "IDR(s)", "IDR(s)", "IDR(s)", "LU", "LU", "IDR(s)", "IDR(s)"]


def test_what_was_refused_is_not_read_again(monkeypatch):
    key, half = jax.random.key(1), jnp.ones(42, jnp.bfloat16)

    def spectral(u):
        noise = jax.random.uniform(key, (42,)) + half.astype(float)
        return (3 + noise) * u + jnp.fft.irfft(jnp.fft.rfft(u) / (2 + jnp.arange(22.0)), n=42)

    monkeypatch.setattr("jaxsolve.tracer.products.MOST_ENTRIES", 500)
    assert js.solve_linear_info(spectral, jnp.ones(42)).method == "IDR(s)"
    monkeypatch.setattr("jaxsolve.tracer.assembly.Plan", None)
    assert js.solve_linear_info(lambda u: spectral(u), jnp.ones(42)).method == "IDR(s)"


@pytest.mark.parametrize("name", ["auto", "IDR(s)"])
def test_a_compiled_function_that_has_no_sparse_matrix_stays_matrix_free(monkeypatch, name):
    L = js.jit_compile_linear(lambda u: u + jnp.fft.irfft(jnp.fft.rfft(u) / (2 + jnp.arange(23.0)), n=44))
    monkeypatch.setattr("jaxsolve.tracer.products.MOST_ENTRIES", 500)
    info = js.solve_linear_info(L, jnp.ones(44), js.Solve(name))
    assert (info.method, info.status) == ("IDR(s)", js.Status.converged)
    with pytest.raises(ValueError, match=r"entries \(limit"):
        js.solve_linear(L, jnp.ones(44), js.Solve("GMres", preconditioner="ilu"))


def test_a_fault_of_the_reading_is_raised(monkeypatch):
    def broken(*_):
        raise TypeError("a fault")

    monkeypatch.setattr("jaxsolve.tracer.assembly.Plan", broken)
    with pytest.raises(TypeError, match="a fault"):
        js.solve_linear(lambda u: 3 * u, jnp.ones(43))
    with pytest.raises(TypeError, match="a fault"):
        js.solve_linear(lambda u, k: k * u, jnp.ones(43), None, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("rtol", "precision"), [(1e-5, "double"), (1e-8, "double"), (1e-5, "single")])
def test_auto_solves_the_real_matrices(matrices, rtol, precision):
    assert FOLDER is not None
    failed, count = {}, 0
    for path in sorted(FOLDER.glob("*.npz")):
        A = load(matrices, path.stem)
        A = A if precision == "double" else single(A)
        # Not the ones, which some of the matrices map to zero.
        b = (A @ np.linspace(1, 2, A.shape[1])).astype(A.dtype)
        S = js.SparseMatrix.from_scipy(A)
        info = js.solve_linear_info(S, b, js.Solve(rtol=rtol, x0=jnp.zeros(A.shape[1], A.dtype)))
        print(f"{path.stem:40} {A.shape} {names(choose(S, js.Solve()))} {info.status} {int(info.iterations)}")
        count += 1
        if not info.converged:
            failed[path.stem] = info.status.name
        elif info.status is js.Status.converged:
            relative, _ = errors(A, np.asarray(info.x), b)
            assert relative <= 1.01 * rtol, path.stem
    print(f"{count - len(failed)} of {count} in {precision} precision at {rtol}; failed: {failed}")
    assert len(failed) <= 0.1 * count
    # Every program was for these patterns.
    jax.clear_caches()


@pytest.mark.parametrize("method", ["auto", "banded", "sparse-direct", "GMres"])
@pytest.mark.parametrize("n", [0, 3])
def test_matrices_without_entries(n, method):
    b = jnp.arange(1.0, n + 1)
    for A in (sps.csr_array((n, n)), lambda x: 0 * x):
        info = js.solve_linear_info(A, b, js.Solve(method))
        assert info.status is (js.Status.singular if n else js.Status.converged)
        assert js.solve_linear_info(A, 0 * b, js.Solve(method)).converged


def test_iterations_take_the_place_of_factors_that_do_not_fit(monkeypatch):
    A = CASES["big, a little indefinite"][0]
    monkeypatch.setattr("jaxsolve.core.memory.available_bytes", lambda: 1e7)
    assert names(choose(A, js.Solve())) == ("GMres", "ilu")


def test_convection_gets_incomplete_factors_where_it_is_not_eliminated():
    flow = sparse(recirculation(70, 1e-3))
    assert names(choose(flow, js.Solve(preconditioner="auto"))) == ("GMres", "ilu")
    assert names(choose(sparse(recirculation(70, 1e-1)), js.Solve(preconditioner="auto"))) == ("GMres", "amg")
    assert names(choose(sparse(convection(70).T.tocsr()), js.Solve(preconditioner="auto"))) == (
        "GMres",
        "amg",
    )


ROADS = tuple(
    Rule(f"the {place} road is open", lambda k: True, method, preconditioner, "it is there to be gone")
    for place, method, preconditioner in (
        ("first", "CG", None),
        ("second", "biCG-stab", None),
        ("third", "LU", None),
    )
)
#: (r, A r) = 0, so that short recurrences break down.
TURNED = sps.csr_matrix(sps.block_array([[None, sps.eye_array(9)], [-sps.eye_array(9), None]]))


@pytest.mark.parametrize("lanes", [(), pytest.param((2,), marks=pytest.mark.further)])
def test_where_the_first_road_fails_the_next_is_gone(monkeypatch, lanes):
    monkeypatch.setattr("jaxsolve.linear.auto.rules_for", lambda solve: ROADS)
    b = jnp.asarray(np.random.default_rng(2).standard_normal((*lanes, 18)))
    with js.SolveTape() as solves:
        info = js.solve_linear_info(TURNED, b, js.Solve(rtol=1e-10))
    assert (info.method, bool(jnp.all(info.converged))) == ("LU", True)
    assert np.linalg.norm(b - np.asarray(info.x) @ TURNED.T) <= 1e-10 * np.linalg.norm(b)
    for told in (info.message, solves[0].message, str(js.explain(info))):
        assert "Tried first: CG ended with" in told
        assert "biCG-stab ended with" in told
    assert len(solves) == 1


def test_where_every_road_fails_that_is_said(monkeypatch):
    monkeypatch.setattr("jaxsolve.linear.auto.rules_for", lambda solve: ROADS[:2])
    b = np.random.default_rng(2).standard_normal(18)
    with pytest.raises(js.ConvergenceException, match=r"Tried first: CG ended with .*, biCG-stab ended with"):
        js.solve_linear(TURNED, b)
    # A method that was asked for is not left.
    info = js.solve_linear_info(TURNED, b, js.Solve("CG"))
    assert not bool(info.converged)
    assert "Tried" not in info.message


def test_no_road_is_gone_beyond_the_limit_of_iterations_or_below_rounding(monkeypatch):
    monkeypatch.setattr("jaxsolve.linear.auto.rules_for", lambda solve: ROADS)
    b = np.random.default_rng(2).standard_normal(18)
    info = js.solve_linear_info(TURNED, b, js.Solve(max_iterations=1))
    assert info.method == "CG"
    monkeypatch.setattr("jaxsolve.linear.auto.rules_for", lambda solve: ROADS[:1] + PLAIN)
    info = js.solve_linear_info(sps.diags_array(np.geomspace(1, 10, 18)).tocsr(), b, js.Solve(rtol=1e-30))
    assert (info.method, info.status) == ("CG", js.Status.stagnation)
    assert "Tried" not in info.message


def test_a_road_that_is_refused_is_left_for_the_next(monkeypatch):
    def refused(*_):
        raise MemoryError("Unable to allocate 96 GiB")

    jacobi = dataclasses.replace(ROADS[0], preconditioner="jacobi")
    monkeypatch.setattr("jaxsolve.linear.auto.rules_for", lambda solve: (jacobi, ROADS[2]))
    monkeypatch.setattr("jaxsolve.linear.preparation.build", refused)
    info = js.solve_linear_info(TURNED, np.ones(18))
    assert (info.method, bool(info.converged)) == ("LU", True)
    assert "CG + jacobi was refused (Unable to allocate 96 GiB)" in info.message
    with pytest.raises(MemoryError, match="96 GiB"):
        js.solve_linear(TURNED, np.ones(18), js.Solve("CG", preconditioner="jacobi"))


def test_what_is_predicted_is_told(capsys):
    for case, told in (
        ("big, convection", "elimination: 2.1e+06 entries, 1e+08 products, about 0.2 s"),
        ("big, saddle point", "elimination: not predicted, a separator of"),
    ):
        A = CASES[case][0]
        js.explain(A, np.ones(A.shape[0]), js.Solve("IDR(s)"))
        assert told in capsys.readouterr().out
