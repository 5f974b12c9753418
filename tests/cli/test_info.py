import json

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from jaxsolve.__main__ import main
from jaxsolve.front.request import as_method


def facts(capsys, path):
    assert main(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_facts_of_the_laplacian(capsys, laplacian):
    report = facts(capsys, laplacian)
    assert (report["rows"], report["columns"], report["entries"]) == (36, 36, 156)
    assert report["symmetry"] == "symmetric"
    assert report["facts"]["pattern_symmetry"] == 1
    assert (report["lower_bandwidth"], report["upper_bandwidth"], report["diagonals"]) == (6, 6, 5)
    assert report["layout"] == "diagonals"
    assert report["dominance"] == "irreducible"
    assert report["facts"]["structural_rank"] == 36
    assert "positive_definite" in report["traits"]
    assert (report["suggested_method"], report["suggested_preconditioner"]) == ("LU", "none")


def test_people_read_the_same(capsys, laplacian):
    assert main(["info", laplacian]) == 0
    out = capsys.readouterr().out
    for text in ("36 x 36, float64", "100.0 %", "symmetric", "6 below, 6 above", "diagonals", "36 of 36",
                 "suggested", "LU: "):  # fmt: skip
        assert text in out


def test_structural_singularity_is_said(capsys, tmp_path):
    np.save(tmp_path / "A.npy", np.array([[1.0, 1, 1], [1, 0, 0], [1, 0, 0]]))
    assert main(["info", str(tmp_path / "A.npy")]) == 0
    assert "2 of 3 (singular)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1, 2j], [-2j, 3]], "Hermitian"),
        ([[1, 2j], [2j, 3]], "complex symmetric"),
        ([[1, 2 + 0j], [2, 3]], "symmetric, all values real"),
        ([[1.0, 2], [3, 4]], "no"),
        ([[1.0, 2], [2 + 1e-15, 4]], "symmetric up to rounding"),
        ([[1.0, 2, 3], [3, 4, 5]], "rectangular"),
    ],
)
def test_symmetry_in_a_word(capsys, tmp_path, values, kind):
    np.save(tmp_path / "A.npy", np.array(values))
    assert facts(capsys, tmp_path / "A.npy")["symmetry"] == kind


def test_an_arrow_is_multiplied_as_rows(capsys, tmp_path):
    A = np.eye(80)
    A[0] = A[:, 0] = 1
    scipy.io.mmwrite(tmp_path / "A.mtx", scipy.sparse.coo_array(A))
    assert facts(capsys, tmp_path / "A.mtx")["layout"] == "rows"


def test_rectangles_and_real_matrices_have_a_suggestion(capsys, matrices):
    for name in ("ash219", "west0067", "fidapm05", "w156"):
        assert as_method(facts(capsys, matrices / f"{name}.npz")["suggested_method"])
