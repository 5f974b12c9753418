import json
from typing import Any

import numpy as np
import pytest
import scipy.io

from jaxsolve.__main__ import main
from jaxsolve.io import read_vector


def solved(capsys, *arguments):
    code = main(["solve", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_it_prints_what_happened(capsys, laplacian):
    assert main(["solve", laplacian, "--method", "cg"]) == 0
    out = capsys.readouterr().out
    for text in ("36 x 36, 156 entries, float64", "converged", "CG", "true residual", "time"):
        assert text in out


def test_the_choice_of_auto_comes_with_its_reason(capsys, laplacian):
    code, report = solved(capsys, laplacian)
    assert code == 0
    assert report["method"] == "LU"
    assert "A is sparse, n <= 256" in report["reason"]
    code, report = solved(capsys, laplacian, "--preconditioner", "jacobi")
    assert code == 0
    assert report["method"] == "CG"
    assert "proved definite" in report["reason"] or "declared definite" in report["reason"]


@pytest.mark.parametrize("name", ["x.npy", "x.mtx"])
def test_the_solution_is_written(capsys, laplacian, tmp_path, name):
    b = np.random.default_rng(7919).standard_normal(36)
    scipy.io.mmwrite(tmp_path / "b.mtx", b[:, None])
    code, report = solved(
        capsys, laplacian, "--rhs", tmp_path / "b.mtx", "--rtol", 1e-10, "--output", tmp_path / name
    )
    A: Any = scipy.io.mmread(laplacian, spmatrix=False)
    x = read_vector(tmp_path / name)
    residual = np.linalg.norm(b - A @ x) / np.linalg.norm(b)
    assert code == 0
    assert residual <= 1e-10
    assert report["residual"] == pytest.approx(residual, rel=1e-3)


def test_not_converged_has_exit_code_1_and_advice(capsys, laplacian):
    assert main(["solve", laplacian, "--method", "CG", "--max-iterations", "2"]) == 1
    out = capsys.readouterr().out
    assert "max_iterations" in out
    assert "Raise `max_iterations`" in out


def test_a_singular_matrix_is_reported(capsys, singular):
    code, report = solved(capsys, singular, "--method", "LU", "--rhs", "ones")
    assert code == 1
    assert report["status"] in ("singular", "inconsistent")
    assert not report["converged"]


def test_a_preconditioner_by_name(capsys, laplacian):
    code, report = solved(capsys, laplacian, "--method", "CG", "--preconditioner", "Jacobi")
    assert code == 0
    assert report["preconditioner"] == "jacobi"


def test_single_precision_is_single(capsys, laplacian):
    code, report = solved(capsys, laplacian, "--method", "CG", "--dtype", "float32")
    assert code == 0
    assert report["dtype"] == "float32"
    assert report["residual"] <= 1.01e-5


def test_atol_is_in_the_units_of_b(capsys, laplacian):
    code, report = solved(capsys, laplacian, "--method", "CG", "--rhs", "ones", "--atol", 6.0)
    assert code == 0
    assert report["iterations"] == 0  # the norm of 36 ones is 6


def test_a_direct_method_refuses_a_preconditioner_in_one_line(capsys, laplacian):
    assert main(["solve", laplacian, "--method", "LU", "--preconditioner", "jacobi"]) == 2
    assert "takes no preconditioner" in capsys.readouterr().err


def test_a_square_method_refuses_a_rectangle(capsys, tmp_path):
    np.save(tmp_path / "A.npy", np.arange(6.0).reshape(3, 2))
    assert main(["solve", str(tmp_path / "A.npy"), "--method", "CG"]) == 2
    assert "shape (3, 2)" in capsys.readouterr().err


def test_least_squares_of_a_rectangle(capsys, tmp_path):
    A = np.vander(np.linspace(0, 1, 5), 2)
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "b.npy", np.array([1.0, 0, 2, 0, 1]))
    code, report = solved(
        capsys, tmp_path / "A.npy", "--rhs", tmp_path / "b.npy", "--output", tmp_path / "x.npy"
    )
    assert code == 0
    assert report["status"] == "least_squares"
    expected = np.linalg.lstsq(A, [1.0, 0, 2, 0, 1], rcond=None)[0]
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-4)
    assert report["slope"] <= 1e-5


@pytest.mark.parametrize("name", ["A.mat", "A.rua"])
def test_files_of_other_programs_are_solved(capsys, laplacian, tmp_path, name):
    A: Any = scipy.io.mmread(laplacian, spmatrix=False)
    if name.endswith(".mat"):
        scipy.io.savemat(tmp_path / name, {"A": A, "b": np.ones(36)})
        rhs = tmp_path / name
    else:
        scipy.io.hb_write(tmp_path / name, A)
        np.save(tmp_path / "b.npy", np.ones(36))
        rhs = tmp_path / "b.npy"
    code, _ = solved(capsys, tmp_path / name, "--rhs", rhs, "--method", "LU", "--output", tmp_path / "x.npy")
    assert code == 0
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), np.linalg.solve(A.toarray(), np.ones(36)))
