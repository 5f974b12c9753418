import importlib.util
import json

import equinox as eqx
import pytest

from jaxsolve.__main__ import main
from jaxsolve.cli import runs
from jaxsolve.cli.compare import combinations
from jaxsolve.cli.inputs import load_matrix, stem
from jaxsolve.cli.ranking import fastest, python_line, ranked, shell_line
from jaxsolve.front.request import Solve, preconditioner_name
from jaxsolve.linear.linear_solve import solve_linear_info
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS


def compared(capsys, *arguments):
    code = main(["compare", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.further
def test_one_row_for_each_pair(capsys, laplacian):
    code, rows = compared(capsys, laplacian, "--methods", "CG,LU", "--preconditioners", "none,jacobi")
    assert code == 0
    # LU takes no preconditioner.
    pairs = [(row["method"], row["preconditioner"]) for row in rows]
    assert pairs == [("CG", "none"), ("CG", "jacobi"), ("LU", "none")]
    for row in rows:
        assert row["status"] == "converged"
        assert row["residual"] <= 1.01e-5
        assert row["compile_time"] > row["setup_time"]
        assert row["solve_time"] >= 0


def test_the_table_is_printed(capsys, laplacian):
    assert main(["compare", laplacian, "--methods", "CG"]) == 0
    out = capsys.readouterr().out
    for text in ("method", "iterations", "set-up", "solve", "true residual", "status", "0 false claims"):
        assert text in out


def test_without_options_all_names_of_the_registries_are_tried(laplacian):
    A = load_matrix(laplacian, "float64")
    pairs = combinations(A, None, None, several=False)
    assert [name for name, recipe in pairs if recipe is None] == list(METHODS)
    assert [recipe.name for _, recipe in pairs if recipe is not None] == list(PRECONDITIONERS)
    assert [recipe for _, recipe in combinations(A, None, None, several=True) if recipe is not None] == []


def test_a_false_claim_is_marked_and_fails(capsys, laplacian, monkeypatch):
    def liar(A, b, solve, **kwargs):
        return eqx.tree_at(
            lambda info: info.x, info := solve_linear_info(A, b, solve, **kwargs), 1.1 * info.x
        )

    monkeypatch.setattr(runs, "solve_linear_info", liar)
    assert main(["compare", laplacian, "--methods", "CG"]) == 1
    out = capsys.readouterr().out
    assert "converged FALSE" in out
    assert "1 false claims" in out


def test_a_refusal_is_a_row_of_its_own(capsys, laplacian):
    code, rows = compared(capsys, laplacian, "--methods", "tridiagonal")
    assert code == 0
    assert rows[0]["status"] == "refused"
    assert rows[0]["method"] == "tridiagonal"
    assert rows[0]["residual"] is None
    assert "diagonals" in rows[0]["message"]


def test_failing_honestly_is_no_failure(capsys, singular):
    code, rows = compared(capsys, singular, "--methods", "CG", "--rhs", "ones")
    assert code == 0
    assert not rows[0]["converged"]


def test_a_folder_gives_a_row_for_each_matrix_and_method(capsys, laplacian, singular, tmp_path):
    code, rows = compared(capsys, tmp_path, "--methods", "CG")
    assert code == 0
    assert [(row["matrix"], row["method"]) for row in rows] == [("laplacian", "CG"), ("singular", "CG")]


def test_a_dense_factorisation_of_a_large_matrix_is_skipped_unless_asked_for(laplacian, monkeypatch, capsys):
    monkeypatch.setattr("jaxsolve.cli.compare.MOST_OPERATIONS", 100.0)
    monkeypatch.setattr("jaxsolve.cli.compare.METHODS", {"LU": METHODS["LU"]})
    code, rows = compared(capsys, laplacian, "--preconditioners", "none")
    assert code == 0
    assert rows[0]["status"] == "skipped"
    assert "--methods LU" in rows[0]["message"]


def test_rectangles_get_the_methods_that_take_them(matrices):
    A = load_matrix(str(matrices / "ash219.npz"), "float64")
    pairs = combinations(A, None, None, several=False)
    assert {"lsqr", "lsmr", "QR"} <= {name for name, _ in pairs}
    assert all(METHODS[name]().rectangular and recipe is None for name, recipe in pairs)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_pictures_are_written(laplacian, singular, tmp_path, capsys):
    assert main(["compare", laplacian, "--methods", "CG", "--plot", str(tmp_path / "one.png")]) == 0
    assert main(["compare", laplacian, singular, "--methods", "CG", "--plot", str(tmp_path / "two.png")]) == 0
    for name in ("one.png", "two.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert name in capsys.readouterr().out or name == "two.png"


def test_without_matplotlib_the_extra_is_named(laplacian, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxsolve.cli.outputs.pictures_missing", lambda: "pictures need matplotlib: ...")
    assert main(["compare", laplacian, "--methods", "CG", "--plot", str(tmp_path / "one.png")]) == 2
    assert "pictures need matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "dtype"), [("LFAT5", "float32"), ("pores_1", "float64")])
def test_no_false_claims_on_small_real_matrices(capsys, matrices, name, dtype):
    code, rows = compared(capsys, matrices / f"{name}.npz", "--methods", "CG,LU", "--dtype", dtype)
    assert code == 0
    assert len(rows) == 2
    assert not any(row["false"] for row in rows)


def test_names_of_files_lose_their_ending():
    assert [stem(p) for p in ("a/b.mtx", "b.mtx.gz", "c.npz", "d")] == ["b", "b", "c", "d"]


def rows_of(*methods):
    return [
        runs.Run("A", name, "none", "converged", True, iterations=3, setup_time=0.0, solve_time=float(k))
        for k, name in enumerate(methods, 1)
    ]


def test_the_fastest_true_claim_is_recommended():
    slow, quick = rows_of("LU", "auto: CG")[::-1]
    liar = runs.Run("A", "minres", "none", "converged", True, True, setup_time=0.0, solve_time=0.0)
    failed, refused = (runs.Run("A", "CG", "jacobi", name) for name in ("max_iterations", "refused"))
    assert ranked([refused, liar, failed, slow, quick]) == [quick, slow, failed, liar, refused]
    assert fastest([liar, failed]) is None
    assert fastest([liar, slow, quick]) == quick


@pytest.mark.parametrize("name", ["none", *PRECONDITIONERS])
def test_what_is_recommended_can_be_pasted(name):
    recipe = None if name == "none" else PRECONDITIONERS[name]()
    row = runs.Run("A", "auto: CG", preconditioner_name(recipe).lower(), "converged", True)
    made = eval(python_line(row, 1e-8, 50).removeprefix("x = "), {"js": Pasted, "A": None, "b": None})
    assert (made.rtol, made.max_iterations) == (1e-8, 50)
    assert type(made.preconditioner) is type(
        Solve(preconditioner=None if name == "none" else name).preconditioner
    )
    words = shell_line(row, "a b.mtx", 1e-8, []).split()
    assert words[:4] == ["python", "-m", "jaxsolve", "solve"]
    assert words[4:6] == ["'a", "b.mtx'"]


class Pasted:
    """Takes the place of the package: hands back the request."""

    Solve = Solve

    @staticmethod
    def solve_linear(A, b, solve):
        return solve


def test_rows_come_at_once_and_an_interrupt_keeps_them(capsys, laplacian, monkeypatch):
    left = rows_of("LU", "CG")

    def measured(*_):
        if not left:
            raise KeyboardInterrupt
        shown = capsys.readouterr().out
        assert ("LU" in shown) == (len(left) == 1)
        return left.pop(0)

    monkeypatch.setattr("jaxsolve.cli.compare.measured", measured)
    assert main(["compare", laplacian, "--methods", "LU,CG,minres"]) == 0
    out, told = capsys.readouterr()
    assert "interrupted" in told
    assert "2 of 2 converged" in out
    assert (
        "fastest that solves it: LU, 1.00 s\npython: x = js.solve_linear(A, b, js.Solve('LU', rtol=1e-05))"
        in out
    )


def test_after_a_while_no_further_way_is_begun(capsys, laplacian, monkeypatch):
    monkeypatch.setattr("jaxsolve.cli.compare.measured", lambda *_: rows_of("LU")[0])
    monkeypatch.setattr("jaxsolve.cli.compare.PATIENCE", 0.0)
    code, rows = compared(capsys, laplacian)
    assert (code, len(rows)) == (0, 1)
    code, rows = compared(capsys, laplacian, "--all")
    assert len(rows) > len(METHODS)


def test_an_elimination_predicted_to_be_dear_is_skipped(capsys, laplacian, monkeypatch):
    monkeypatch.setattr("jaxsolve.cli.compare.measured", lambda *_: rows_of("LU")[0])
    monkeypatch.setattr("jaxsolve.cli.compare.MOST_SECONDS", 0.0)
    _, rows = compared(capsys, laplacian)
    skipped = [row["method"] for row in rows if row["status"] == "skipped"]
    assert skipped == ["sparse-direct", "scipy-direct"]
    assert all("elimination predicted" in row["message"] for row in rows if row["status"] == "skipped")
