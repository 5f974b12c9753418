import jax.numpy as jnp
import numpy as np
import pytest

from jaxsolve.__main__ import main
from jaxsolve.cli import demo
from jaxsolve.cli.diffusion import diffusion, layers, rock, wells


def test_the_operator_is_symmetric_and_conserves_flux():
    background, inside = layers(9)
    k = rock(background, inside, -1.0)
    A, _ = demo.trace(k)
    dense = np.asarray(A.todense())
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert np.linalg.eigvalsh(dense).min() > 0
    # Away from the rim what leaves a cell enters its neighbours.
    rows = np.asarray(diffusion(jnp.ones((9, 9)), k))
    np.testing.assert_allclose(rows[1:-1, 1:-1], 0, atol=1e-10)
    assert wells(9).shape == (9, 9)


@pytest.mark.further
def test_it_solves_fits_and_draws(capsys, tmp_path, monkeypatch):
    # Only the first way, to be quick.
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    pytest.importorskip("matplotlib")
    assert main(["demo", "--size", "16", "--output", str(tmp_path / "demo.png")]) == 0
    out = capsys.readouterr().out
    assert "function  CG" in out
    assert "converged" in out
    assert "-> 0.0500" in out
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_which_extra_draws(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    monkeypatch.setattr(demo, "fit", lambda *_: [(1.0, 1.0), (0.05, 0.0)])
    monkeypatch.setattr(demo, "pictures_missing", lambda: "pictures need matplotlib: ...")
    assert main(["demo", "--size", "8", "--output", str(tmp_path / "demo.png")]) == 0
    assert "no picture: pictures need matplotlib" in capsys.readouterr().out
    assert not (tmp_path / "demo.png").exists()


def test_a_size_too_small_is_refused(capsys):
    assert main(["demo", "--size", "3"]) == 2
    assert "--size must be at least 8" in capsys.readouterr().err
