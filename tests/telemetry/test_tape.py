"""A tape hears every solve made inside it, and nothing is in a program where there is no tape."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from tests.telemetry.systems import CG, FINE, A, b, kinds, loss, tolerances


def test_eager_solves_are_heard_in_order():
    with js.SolveTape() as solves:
        x = js.solve_linear(A, b, CG)
        info = js.solve_linear_info(A, 2 * b, FINE)
        assert len(solves) == 2
    js.solve_linear(A, b, CG)
    assert tolerances(solves) == [1e-5, 1e-9]
    np.testing.assert_array_equal(solves[0].x, x)
    assert solves[1] is info or repr(solves[1]) == repr(info)
    assert solves[0].solve_time > 0
    assert solves[0].trajectory is None
    assert [s.method for s in solves[:1]] == ["CG"]
    assert "1: SolveInfo(CG converged" in repr(solves)
    assert repr(js.SolveTape()) == "SolveTape()"


def test_entries_are_found_by_number_and_by_request():
    one, other = (js.Solve("CG", x0=x0, rank_deficiency=0) for x0 in jnp.eye(3)[:2])
    with js.SolveTape() as solves:
        for solve in (one, other, FINE):
            js.solve_linear(A, b, solve)
        jax.grad(lambda b: js.solve_linear(A, b, FINE).sum())(3 * b)
    assert solves[one] is solves[0]
    assert solves[other] is solves[1]
    assert solves[FINE] is solves[3]
    assert solves[js.Solve("CG", rtol=1e-9, rank_deficiency=0)] is solves[3]
    assert solves[-1].is_adjoint
    with pytest.raises(IndexError, match=r"solves\[5\]: the tape holds 5 solves"):
        solves[5]
    with pytest.raises(
        KeyError, match=r"made with Solve\('minres'\).*there are: Solve\('CG'\), Solve\('CG', rtol"
    ):
        solves[js.Solve("minres")]


def test_the_solves_of_gradients_are_marked():
    with js.SolveTape() as solves:
        jax.grad(loss)(b)
        jax.jvp(loss, (b,), (b,))
    assert kinds(solves) == ["solve", "adjoint", "solve", "tangent"]
    assert [s.is_adjoint for s in solves] == [False, True, False, False]
    assert "in the adjoint solve of a gradient" in repr(solves[1])
    # dx/db of sum(x) is A^-T 1.
    np.testing.assert_allclose(solves[1].x, np.linalg.solve(A.T, np.ones(3)), rtol=1e-4)


@pytest.mark.further
def test_a_batch_is_one_entry():
    B = jnp.stack([b, 2 * b, 0 * b, b]).reshape(2, 2, 3)
    with js.SolveTape() as solves:
        js.solve_linear(A, B, CG)
        jax.vmap(lambda b: js.solve_linear(A, b, CG))(B)
        jax.vmap(jax.grad(lambda b: loss(b) ** 2))(B[0])
    assert [np.shape(s.status) for s in solves] == [(2, 2), (2, 2), (2,), (2,)]
    assert solves[0].iterations.tolist() == solves[1].iterations.tolist()
    assert solves[0].iterations[1, 0] == 0
    assert solves[1].x.shape == (2, 2, 3)
    assert kinds(solves) == ["solve"] * 3 + ["adjoint"]


def test_all_open_tapes_hear():
    with js.SolveTape() as outer:
        js.solve_linear(A, b, CG)
        with js.SolveTape(record_trajectories=True) as inner:
            js.solve_linear(A, b, FINE)
        js.solve_linear(A, b, CG)
    assert tolerances(outer) == [1e-5, 1e-9, 1e-5]
    assert tolerances(inner) == [1e-9]
    assert outer[1].trajectory is None
    assert inner[0].trajectory is not None


def test_failures_are_heard_before_they_raise():
    impossible = js.Solve("CG", max_iterations=1, rank_deficiency=0)
    for wrap in (lambda f: f, jax.jit, js.jit):
        f = wrap(lambda b: js.solve_linear(A, b, impossible))
        with js.SolveTape() as solves, pytest.raises(Exception, match="did not converge"):
            jax.block_until_ready(f(b))
        assert [s.status for s in solves] == [js.Status.max_iterations]
        assert solves[0].trajectory is None
    with js.SolveTape() as solves:
        js.jit(lambda b: js.solve_linear_info(A, b, impossible))(b)
    assert [s.status for s in solves] == [js.Status.max_iterations]


def test_a_closed_tape_opens_again_and_an_open_one_does_not():
    tape = js.SolveTape()
    for count in (1, 2):
        with tape:
            js.solve_linear(A, b, CG)
        assert len(tape) == count
    with tape, pytest.raises(RuntimeError, match="open already"), tape:
        pass
    with pytest.raises(ValueError, match="every=0"):
        js.SolveTape(True, every=0)


def test_a_tape_is_a_table():
    pytest.importorskip("pandas")
    with js.SolveTape() as solves:
        js.solve_linear(A, jnp.stack([b, 2 * b]), CG)
        jax.grad(loss)(b)
    table = solves.to_pandas()
    assert len(table) == 4
    assert table["solve"].tolist() == [0, 0, 1, 2]
    assert table["system"].tolist() == [0, 1, 0, 0]
    assert table["kind"].tolist() == ["solve", "solve", "solve", "adjoint"]
    assert table["status"].unique().tolist() == ["converged"]
    assert table["converged"].dtype == bool
    assert (table["residual_norm"] <= table["target"]).all()
    assert js.SolveTape().to_pandas().columns.tolist() == table.columns.tolist()


def test_nothing_is_in_a_program_without_a_tape():
    def f(b):
        return js.solve_linear(A, b, CG), js.solve_linear_info(A, b, FINE).iterations, jax.grad(loss)(b)

    def program():
        # A new function, or JAX returns the program it has.
        text = str(jax.make_jaxpr(lambda b: f(b))(b))
        return re.sub("0x[0-9a-f]+", "", text)

    before = program()
    with js.SolveTape(record_trajectories=True):
        during = program()
    after = program()
    assert before == after
    assert "tell" not in before
    # Those of two solves and of the adjoint solve of the gradient, whose own solve is the program of the first.
    assert during.count("tell[") == 3


def test_eager_programs_are_not_compiled_again_under_a_tape(compilations):
    js.solve_linear(A, b, CG)
    with compilations() as seen, js.SolveTape() as solves:
        js.solve_linear(A, b, CG)
    assert len(solves) == 1
    assert seen == []
