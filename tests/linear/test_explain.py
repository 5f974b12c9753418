"""explain: the choice with its facts, and the diagnosis of solves that failed or were slow."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.linear.spectrum import spectrum_of
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery import problems
from tests.gallery.methods import distance
from tests.linear.test_auto import recirculation
from tests.preconditioners.problems import poisson

RNG = np.random.default_rng(55171)
BASIS = np.linalg.qr(RNG.standard_normal((40, 40)))[0]
B = jnp.asarray(RNG.standard_normal(40))


def symmetric(values):
    """The matrix with these eigenvalues."""
    return jnp.asarray((BASIS * values) @ BASIS.T)


def failed(A, method, b=B, **options):
    return js.solve_linear_info(A, b, js.Solve(method, **{"rtol": 1e-10, "max_iterations": 20, **options}))


def test_the_choice_is_printed_with_reasons_facts_and_alternatives(capsys):
    A = sps.csr_array(poisson((30, 30)))
    choice = js.explain(A, np.ones(900), js.Solve(preconditioner="auto"))
    text = capsys.readouterr().out
    assert text == f"{choice}\n"
    assert (choice.method, choice.preconditioner) == ("CG", "ic")
    for fact in (
        "traits: symmetric, hermitian, positive_definite proved",
        "grid: True",
        "diagonal dominance",
    ):
        assert fact in text
    assert "because A is sparse, proved positive definite" in text
    assert "or GMres + ilu: A is sparse" in text
    assert repr(choice) == "Explanation(CG, preconditioner=ic)"


def test_a_function_is_explained_with_its_arguments(capsys):
    assert js.explain(lambda x, k: k * x, jnp.ones(5), None, 2.0).method == "banded"
    reasons = js.explain(lambda x, k: k * x, jnp.ones(5), js.Solve("GMres"), k=2.0).reasons
    assert reasons[0] == "you asked for it"
    assert reasons[1].startswith("the function stays matrix-free: only products are needed")


def test_the_spectrum_of_small_matrices_is_exact():
    values = np.linspace(1, 50, 40)
    S = spectrum_of(DenseMatrix(symmetric(values)))
    np.testing.assert_allclose([S.smallest, S.largest, S.condition], [1, 50, 50], rtol=1e-10)
    assert S.exact
    assert not S.indefinite
    assert S.asymmetry < 1e-14


def test_rectangular_matrices_have_singular_values():
    S = spectrum_of(DenseMatrix(jnp.asarray(np.diag([1.0, 2.0, 10.0])[:, :2])))
    np.testing.assert_allclose([S.smallest, S.largest, S.condition, S.norm], [1, 2, 2, 2], rtol=1e-10)


def test_estimates_are_on_the_safe_side():
    A = js.SparseMatrix.from_scipy(poisson((30, 30)))
    S = spectrum_of(A)
    ends = np.linalg.eigvalsh(A.to_scipy().toarray())[[0, -1]]
    assert not S.exact
    assert ends[0] <= S.smallest * (1 + 1e-10)
    assert 0.95 * ends[1] <= S.largest <= ends[1] * (1 + 1e-10)
    assert 0.3 * ends[1] / ends[0] <= S.condition <= ends[1] / ends[0] * (1 + 1e-8)


CASES = {
    "slow": (symmetric(np.geomspace(1e-6, 1, 40)), "CG", "CG may take", "Solve('auto') takes LU"),
    "not symmetric": (jnp.asarray(BASIS), "CG", "A is not symmetric (Hermitian), and `CG` needs", "use `GMres`"),
    "indefinite": (symmetric(np.r_[-1.0, np.geomspace(0.01, 1, 39)]), "CG", "A is indefinite", "use `minres`"),
    "both sides of zero": (jnp.asarray(BASIS), "GMres", "both sides of zero", "preconditioner 'ilu'"),
    "short restarts": (symmetric(np.r_[-1.0:1.0:40j]), js.GMRES(restart=3), "both sides of zero", "'ilu'"),
    "singular": (symmetric(np.r_[0.0, np.ones(39)]), "GMres", "singular to working precision", "null space"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_failed_solve_is_diagnosed(case, capsys):
    A, method, finding, advice = CASES[case]
    info = failed(A, method)
    assert not info.converged
    found = js.explain(info)
    text = capsys.readouterr().out
    assert text == f"{found}\n"
    assert any(finding in line for line in found.findings), text
    assert any(advice in line for line in found.advice), text
    assert found.spectrum is not None


def test_every_failure_without_a_finding_gets_the_advice_of_its_status(capsys):
    found = js.explain(failed(symmetric(np.linspace(1, 50, 40)), "GMres", max_iterations=3))
    assert found.advice[0].startswith("The iteration limit was reached. Raise `max_iterations`")


def test_a_right_hand_side_that_is_not_finite_is_blamed_for_it(capsys):
    found = js.explain(failed(4.0 * jnp.eye(40), "CG", b=B.at[3].set(jnp.inf)))
    assert found.findings == ("b or x0 is not finite, or too large for its dtype",)
    assert len(found.advice) == 1


@pytest.mark.further
def test_what_failed_is_not_advised_again(capsys):
    periodic = poisson((20, 20), "periodic")
    for method in ("auto", "sparse-direct", "CG"):
        info = js.solve_linear_info(periodic, 1.0 + np.arange(400.0), js.Solve(method))
        found = js.explain(info)
        *tried, finding = found.findings
        assert finding == "A is singular to working precision"
        assert [line.split(":")[0] for line in tried] == ["Tried first"] * (method == "auto")
        assert len(found.advice) == 1
        assert "null space" in found.advice[0]
    for A in (symmetric(np.geomspace(1e-5, 1, 40)), symmetric(np.r_[-1.0, np.geomspace(1e-5, 1, 39)])):
        found = js.explain(js.solve_linear_info(A, B, js.Solve(rtol=1e-30)))
        assert not any("auto" in line for line in found.advice)
        assert not any("Krylov" in line for line in found.findings)


@pytest.mark.further
def test_equal_condition_numbers_are_not_held_against_a_preconditioner(capsys):
    A = sps.csr_array(poisson((30, 30)) - 1.0 * sps.eye_array(900))
    info = js.solve_linear_info(A, np.ones(900), js.Solve("CG", preconditioner="jacobi", max_iterations=5))
    assert not any("larger" in line for line in js.explain(info).findings)


def test_rounding_is_named_where_no_method_could_do_better(capsys):
    A = symmetric(np.geomspace(1e-5, 1, 40)).astype(jnp.float32)
    info = failed(A, "LU", b=B.astype(jnp.float32), rtol=1e-12)
    assert not info.converged
    found = js.explain(info)
    assert any("level of rounding" in line for line in found.findings), str(found)
    assert any("float64" in line for line in found.advice)
    assert 1e-8 < found.attainable < 1


def test_a_preconditioner_is_judged_by_the_spectrum_that_it_makes(capsys):
    A = symmetric(np.geomspace(1e-2, 1, 40))
    bad = DenseMatrix(symmetric(np.geomspace(1e-6, 1, 40)))
    found = js.explain(failed(A, "CG", preconditioner=bad, max_iterations=5))
    assert found.preconditioned is not None
    assert found.spectrum is not None
    assert found.preconditioned.condition > found.spectrum.condition
    assert any("larger" in line for line in found.findings)


ILU_TOLD = {
    "host": (js.ILU(), "no row exchanges; on the host, by substitution"),
    "levels": (js.ILU(level=0), "L by substitution in"),
    "sweeps": (js.ILU(level=0, sweeps=2), "L by a series of 2 terms"),
    "ic": (js.Cholesky0(), "factors without fill; on the device, L by"),
    "pair": (("jacobi", js.ILU(level=0, sweeps=1)), "a series of 1 terms"),
}


@pytest.mark.further
@pytest.mark.cpu
@pytest.mark.few(1)
@pytest.mark.parametrize("case", ILU_TOLD)
def test_it_is_told_how_incomplete_factors_were_made_and_are_applied(case, capsys):
    recipe, told = ILU_TOLD[case]
    A = sps.csr_array(poisson((5, 8)))
    solve = js.Solve("GMres", preconditioner=recipe, rtol=1e-12, max_iterations=1)
    assert told in js.explain(A, B, solve).facts["factors"]
    assert told in capsys.readouterr().out
    info = js.solve_linear_info(A, B, solve)
    assert told in str(js.explain(info).factors)
    assert told in capsys.readouterr().out


def test_it_is_told_that_incomplete_factors_refuse_a_matrix(capsys):
    A = js.SparseMatrix.from_dense(np.triu(np.ones((40, 40))))
    found = js.explain(A, B, js.Solve("CG", preconditioner="ilu"))
    assert "asked to be definite, and A is not symmetric" in found.facts["factors"]


@pytest.mark.further
def test_a_direct_solve_tells_its_factors(capsys):
    for A, told in (
        (4.0 * np.eye(40), "minimum degree"),
        (np.eye(40)[::-1], "COLAMD"),
        (0 * np.eye(40), "singular"),
    ):
        info = js.solve_linear_info(js.SparseMatrix.from_dense(A), B, js.Solve("sparse-direct"))
        assert told in str(js.explain(info).factors)


def test_a_good_solve_needs_no_advice(capsys):
    found = js.explain(failed(4.0 * jnp.eye(40), "CG"))
    assert found.findings == ("nothing is wrong with this solve",)
    assert found.advice == ()


def test_the_result_of_an_exception_knows_its_system(capsys):
    with pytest.raises(js.NotConverged, match="CG did not converge") as caught:
        js.solve_linear(CASES["indefinite"][0], B, js.Solve("CG", rtol=1e-10, max_iterations=5))
    assert js.explain(caught.value.result).spectrum is not None


def test_what_comes_out_of_jit_is_diagnosed_with_its_matrix(capsys):
    A = CASES["indefinite"][0]
    info = jax.jit(lambda A: failed(A, "CG"))(A)
    assert "js.explain(info, A)" in js.explain(info).findings[0]
    spectrum = js.explain(info, A).spectrum
    assert spectrum is not None
    assert spectrum.indefinite


@pytest.mark.further
def test_batches_and_matrices_with_nan_are_explained(capsys):
    info = js.solve_linear_info(jnp.stack([jnp.eye(3), jnp.zeros((3, 3))]), jnp.ones((2, 3)))
    assert "1 of 2 systems failed" in str(js.explain(info))
    found = js.explain(failed(jnp.full((40, 40), jnp.nan), "GMres"))
    assert found.findings == ("A times a vector is not finite",)


def test_a_solved_system_whose_x_may_be_wrong_is_doubted(capsys):
    A = np.array([[1, 1], [1, 1 + 1e-6]], np.float32)
    info = js.solve_linear_info(A, np.array([1, 2], np.float32))
    assert info.converged
    found = js.explain(info)
    assert "singular to working precision" in found.findings[0]
    assert "rounding unit of float32 is 0.5" in found.findings[0]
    assert "use float64" in found.advice
    # The same numbers in double precision leave ten digits of x.
    wide = js.solve_linear_info(A.astype(float), np.array([1.0, 2]))
    assert js.explain(wide).findings == ("nothing is wrong with this solve",)
    near = js.solve_linear_info(np.array([[1, 1], [1, 1 + 1e-5]], np.float32), np.array([1, 2], np.float32))
    assert "ill-conditioned" in js.explain(near).findings[0]


def test_a_singular_system_that_was_not_declared_so_is_reported(capsys):
    A, b = np.diag([1.0, 2, 3, 0]) + 0.0, np.array([1.0, 2, 3, 0])
    A[0, 3] = 1
    info = js.solve_linear_info(A, b, js.Solve("lsmr"))
    assert info.converged
    found = js.explain(info)
    assert "of the many solutions, x is the shortest" in found.findings[0]
    assert found.advice == ()
    found = js.explain(js.solve_linear_info(A, b, js.Solve("GMres", rtol=1e-10)))
    assert "anything in its null space" in found.findings[0]
    assert "null_space=" in found.advice[0]
    null = np.array([[1.0], [0], [0], [-1]])
    symmetric = np.diag([0.5, 2, 3, 0.5]) + 0.0
    symmetric[0, 3] = symmetric[3, 0] = 0.5
    told = js.solve_linear_info(symmetric, np.array([1.0, 2, 3, 1]), js.Solve("minres", null_space=null))
    assert js.explain(told).findings == ("nothing is wrong with this solve",)
    constants = js.solve_linear_info(np.array([[1.0, -1], [-1, 1]]), np.array([1.0, -1]), js.Solve("CG"))
    assert "mean zero" in js.explain(constants).findings[0]


def test_a_matrix_that_lost_digits_on_its_way_into_jax_is_told(capsys):
    A = sps.csr_array(np.diag([1.0, 2, 3]))
    with jax.enable_x64(False):
        told = js.explain(A, np.ones(3, np.float32)).facts["dtype"]
        info = js.solve_linear_info(A, np.ones(3))
    assert told.startswith("float32 (given as float64")
    assert repr(info).endswith("float32)")
    assert js.explain(A, np.ones(3)).facts["dtype"] == "float64"


@pytest.mark.parametrize("shape", [(12, 8), (8, 12)])
def test_what_is_offered_for_rectangular_systems_solves_them(shape):
    A, b = problems.random(*shape, seed=1), problems.random(shape[0], seed=2)
    A[:, -1] = A[:, 0]  # of less than full rank, or no matter
    told = js.explain(A, b)
    assert [other.split(":")[0] for other in told.alternatives] == ["lsmr", "lsqr"]
    for name in ("auto", "lsmr", "lsqr"):
        x = js.solve_linear(A, b, js.Solve(name, rtol=1e-10))
        assert distance(x, np.linalg.pinv(A) @ b) < 1e-8


def test_the_advice_on_a_rectangular_system_that_failed_can_be_followed():
    A = problems.random(8, 12, seed=1) * np.logspace(0, 6, 8)[:, None]
    b = A @ problems.random(12, seed=2)
    told = js.explain(js.solve_linear_info(A, b, js.Solve("lsmr", max_iterations=5)))
    assert any("use `QR` where A has full rank, `SVD`" in advice for advice in told.advice)
    assert not any("rank_deficiency" in advice or "ilu" in advice for advice in told.advice)
    for name in ("QR", "SVD"):
        assert bool(js.solve_linear_info(A, b, js.Solve(name)).converged)


METHOD = re.compile(r"`([\w()-]+)`")
RECIPE = re.compile(r"preconditioner '([\w-]+)'")


def followed(advice, null, **options):
    """The requests that lines of advice ask for, each method and each declaration that they name."""
    for line in advice:
        recipe = RECIPE.search(line)
        for word in METHOD.findall(line):
            if word in METHODS:
                # A method that factorises takes no preconditioner.
                taken = recipe[1] if recipe and METHODS[word].preconditioned else None
                yield word, js.Solve(word, preconditioner=taken, **options)
        if "rank_deficiency=1" in line:
            yield "rank_deficiency", js.Solve(rank_deficiency=1, **options)
        if "`null_space=`" in line:
            yield "null_space", js.Solve(null_space=null, **options)
        if line.startswith("Solve('auto')"):
            yield "auto", js.Solve(**options)


def singular(n):
    """A sparse matrix without symmetry of rank n - 1, its null vector, and b in its range."""
    rng = np.random.default_rng(3)
    A = sps.lil_array(sps.random_array((n, n), density=4 / n, rng=rng) + 3 * sps.eye_array(n))
    A[:, [n - 1]] = A[:, [0]]
    null = np.zeros((n, 1))
    null[0], null[-1] = np.sqrt([0.5, 0.5]) * [1, -1]
    A = sps.csr_array(A)
    return A, null, A @ rng.standard_normal(n)


def torus(n):
    """A graph Laplacian, its null vector, and b in its range."""
    A = sps.csr_array(poisson((n, n), "periodic"))
    b = np.random.default_rng(4).standard_normal(n * n)
    return A, np.ones((n * n, 1)) / n, b - b.mean()


@pytest.mark.further
@pytest.mark.parametrize(
    ("system", "method"),
    [
        pytest.param(singular(300), js.Solve("sparse-direct"), id="factors"),
        pytest.param(torus(17), js.Solve("LU"), id="constants"),
        pytest.param(singular(300), js.Solve("GMres", preconditioner="ilu"), id="iteration"),
    ],
)
def test_the_advice_on_a_singular_system_solves_it(system, method):
    A, null, b = system
    info = js.solve_linear_info(A, b, method)
    told = js.explain(info)
    requests = dict(followed(told.advice, null, rtol=1e-10))
    if info.converged and not requests:
        assert told.findings[0].endswith("x is the one of mean zero")
        return
    assert requests, told
    assert not any("direct method" in line for line in told.advice)
    for name, request in requests.items():
        x = js.solve_linear(A, b, request)
        assert distance(x, np.linalg.lstsq(A.toarray(), b, rcond=None)[0]) < 1e-6, name


@pytest.mark.further
@pytest.mark.parametrize(
    "method",
    [js.Solve("CG", max_iterations=40), js.Solve("GMres", preconditioner="amg", max_iterations=20)],
)
def test_the_advice_on_convection_solves_it(method):
    A = sps.csr_array(recirculation(30, 1e-3))
    b = np.random.default_rng(4).standard_normal(900)
    info = js.solve_linear_info(A, b, method)
    assert not info.converged
    told = js.explain(info)
    requests = dict(followed(told.advice, None, rtol=1e-8))
    assert {"GMres", "auto"} <= requests.keys()
    assert "'ilu'" in told.advice[0]
    for name, request in requests.items():
        x = js.solve_linear(A, b, request)
        assert np.linalg.norm(A @ x - b) <= 1.01e-8 * np.linalg.norm(b), name


@pytest.mark.further
def test_what_explain_offers_for_convection_and_singular_systems_solves_them():
    flow = sps.csr_array(recirculation(30, 1e-3))
    A, _, consistent = singular(300)
    for matrix, b in ((flow, np.ones(900)), (A, consistent)):
        told = js.explain(matrix, b)
        for pair in [
            f"{told.method} + {told.preconditioner}",
            *(line.split(":")[0] for line in told.alternatives),
        ]:
            method, _, recipe = pair.partition(" + ")
            named = None if recipe in ("", "None") else recipe
            info = js.solve_linear_info(matrix, b, js.Solve(method, preconditioner=named, rtol=1e-8))
            # What needs a regular matrix says so where this one is none.
            assert info.converged or (matrix is A and info.status is js.Status.singular), pair


@pytest.mark.further
def test_a_null_space_of_one_side_is_not_held_against_b():
    A, null, b = singular(300)
    shortest = np.linalg.lstsq(A.toarray(), b, rcond=None)[0]
    info = js.solve_linear_info(A, b, js.Solve(null_space=null[:, 0], rtol=1e-10))
    assert info.method == "lsmr"
    assert info.converged
    assert distance(info.x, shortest) < 1e-8
    info = js.solve_linear_info(A, b, js.Solve("sparse-direct", null_space=null[:, 0], rtol=1e-10))
    assert info.status is not js.Status.inconsistent
    # That of both sides is.
    A, null, b = torus(17)
    assert js.solve_linear_info(A, b + 1, js.Solve(null_space=null[:, 0])).status is js.Status.inconsistent
