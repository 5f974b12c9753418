"""Pictures show what they should; what cannot be shown is refused in words."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxsolve as js
from jaxsolve.core.errors import MissingBackendError, StructureError

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

n = 40
A = 2.001 * jnp.eye(n) - jnp.eye(n, k=1) - jnp.eye(n, k=-1)
b = jnp.ones(n)
SOLVE = js.Solve("CG", rtol=1e-6, rank_deficiency=0)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def solves():
    with js.SolveTape(record_trajectories=True) as tape:
        js.solve_linear(A, b, SOLVE)
        js.solve_linear_info(A, b, js.Solve("CG", rtol=1e-9, max_iterations=1000, rank_deficiency=0))
        js.solve_linear(A, jnp.outer(jnp.arange(6.0), b) + jnp.eye(6, n), SOLVE)
    return tape


def test_a_line_a_solve_over_iterations_with_its_tolerance(solves):
    ax = js.plot(solves[0])
    line, tolerance = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), solves[0].trajectory.iterations)
    np.testing.assert_array_equal(line.get_ydata(), solves[0].trajectory.residual_norm)
    assert tolerance.get_ydata()[0] == solves[0].target
    assert ax.get_yscale() == "log"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["CG", "tolerance"]


def test_several_solves_are_numbered_or_named(solves):
    names = [t.get_text() for t in js.plot(solves[:2]).get_legend().get_texts()]
    assert names == ["0: CG", "1: CG", "tolerance"]
    _, ax = plt.subplots()
    assert js.plot(solves[:2], ax, labels=["loose", "fine"]) is ax
    assert [t.get_text() for t in ax.get_legend().get_texts()][:2] == ["loose", "fine"]
    with pytest.raises(ValueError, match="2 solves need as many labels; got 1"):
        js.plot(solves[:2], labels=["one"])


@pytest.mark.further
def test_names_tell_the_preconditioner_and_lines_of_a_small_batch_end_where_their_system_did():
    with js.SolveTape(record_trajectories=True, norms_only=True) as tape:
        js.solve_linear(A, b, js.Solve("CG", preconditioner="jacobi", rank_deficiency=0))
        js.solve_linear(A, jnp.stack([b, 0 * b, jnp.arange(1.0, n + 1)]), SOLVE)
    ax = js.plot(tape)
    assert [t.get_text() for t in ax.get_legend().get_texts()][:2] == ["0: CG + jacobi", "1: CG"]
    ends = [line.get_xdata()[-1] for line in ax.get_lines()[1:4]]
    assert ends == tape[1].iterations.tolist()
    assert ends[1] == 0 < ends[0] < ends[2]


def test_a_batch_is_drawn_by_its_quantiles(solves):
    ax = js.plot(solves)
    assert [t.get_text() for t in ax.get_legend().get_texts()][2] == "2: CG, median of 6"
    assert len(ax.collections) == 2
    js.plot(js.SolveTape() if not solves else solves[2])


def test_time_is_shown_where_it_is_known(solves):
    ax = js.plot(solves[:2], over="time")
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_lines()[0].get_xdata()[-1] == pytest.approx(solves[0].solve_time)
    with pytest.raises(ValueError, match="over is 'iterations' or 'time'; got 'days'"):
        js.plot(solves, over="days")


def test_a_residual_of_zero_is_drawn_below_all_others():
    with js.SolveTape(record_trajectories=True) as tape:
        js.solve_linear(2 * jnp.eye(n), b, SOLVE)
    assert tape[0].residual_norm == 0
    assert js.plot(tape).get_lines()[0].get_ydata()[-1] > 0


def test_what_cannot_be_plotted_is_refused():
    with pytest.raises(ValueError, match="nothing to plot"):
        js.plot(js.SolveTape())
    traced = pytest.raises(ValueError, match="is being traced: return it from the function")
    with js.SolveTape(record_trajectories=True, norms_only=True), traced:
        jax.jit(lambda b: js.plot(js.solve_linear_info(A, b, SOLVE)))(b)
    with pytest.raises(ValueError, match=r"has no trajectory: solve inside `with js.SolveTape\(record_traj"):
        js.plot(js.solve_linear_info(A, b, SOLVE))


def test_the_entries_of_every_kind_of_matrix_are_shown():
    matrix = sp.random(12, 7, 0.3, random_state=3)
    dense = jnp.asarray(matrix.toarray())
    operator = js.SparseMatrix.from_scipy(matrix)
    for A in (matrix, dense, operator, operator.to_bcoo(), operator.T.T, operator + operator):
        ax = js.spy(A)
        (image,) = ax.get_images()
        np.testing.assert_array_equal(image.get_array().filled(0), dense != 0)
        assert (ax.get_xlabel(), ax.get_ylabel()) == (f"7 columns, {matrix.nnz} entries", "12 rows")


def test_large_matrices_are_shown_by_cells():
    size = 100_000
    matrix = sp.diags([1.0, 2.0, 1.0], [-500, 0, 1], (size, size))
    (image,) = js.spy(matrix).get_images()
    filled = image.get_array()
    assert filled.shape == (250, 250)
    assert float((filled * 400 * 400).sum()) == pytest.approx(matrix.nnz)
    assert filled.mask[0, 249]
    assert not filled.mask[249, 249]


def test_what_has_no_known_entries_is_refused():
    with pytest.raises(TypeError, match=r"js\.matrix_from_function"):
        js.spy(lambda x: x)
    with pytest.raises(StructureError, match="entries"):
        js.spy(js.DenseMatrix(jnp.ones((1, 20_000))).T @ js.DenseMatrix(jnp.ones((1, 20_000))))


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch, solves):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (lambda: js.plot(solves), lambda: js.spy(jnp.eye(2))):
        with pytest.raises(
            MissingBackendError, match=r"needs the package matplotlib: pip install 'jaxsolve\[plot\]'"
        ):
            draw()
