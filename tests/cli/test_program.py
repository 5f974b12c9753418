import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxsolve
from jaxsolve.__main__ import main


def usage_error(capsys, *arguments):
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_help_names_all_commands(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("demo", "solve", "compare", "info"):
        assert command in out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["solve"], ["solve", "A.mtx", "--rtol", "-1"]])
def test_bad_usage_has_exit_code_2(capsys, arguments):
    assert "usage: jaxsolve" in usage_error(capsys, *arguments)


@pytest.mark.parametrize("command", ["solve", "compare", "info"])
def test_a_missing_file_is_one_line(capsys, command):
    err = usage_error(capsys, command, "absent.mtx")
    assert err == "jaxsolve: error: there is no file 'absent.mtx'.\n"


@pytest.mark.parametrize("command", ["solve", "compare", "info"])
def test_a_malformed_file_is_one_line(capsys, tmp_path, command):
    path = tmp_path / "A.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real general\n3 3 1\n9 9 1.0\n")
    err = usage_error(capsys, command, str(path))
    assert err.count("\n") == 1
    assert "no Matrix Market file that can be read" in err


def test_unknown_names_come_with_the_nearest(capsys, laplacian):
    assert "Did you mean 'GMres'?" in usage_error(capsys, "solve", laplacian, "--method", "gmers")
    assert "Did you mean 'jacobi'?" in usage_error(
        capsys, "compare", laplacian, "--preconditioners", "jacoby"
    )


def test_a_wrong_right_hand_side_is_refused(capsys, laplacian, tmp_path):
    np.save(tmp_path / "b.npy", np.ones(7))
    err = usage_error(capsys, "solve", laplacian, "--rhs", str(tmp_path / "b.npy"))
    assert "the matrix has 36 rows" in err
    assert "holds 7 numbers" in err


def test_an_empty_folder_is_refused(capsys, tmp_path):
    assert "holds no .mtx" in usage_error(capsys, "compare", str(tmp_path))


def test_the_precision_of_the_session_is_put_back(capsys, laplacian):
    jax.config.update("jax_enable_x64", False)
    try:
        assert main(["info", laplacian, "--json"]) == 0
        assert not jax.config.read("jax_enable_x64")
        assert '"dtype": "float64"' in capsys.readouterr().out
    finally:
        jax.config.update("jax_enable_x64", True)


def test_it_runs_as_a_module(laplacian):
    command = [sys.executable, "-m", "jaxsolve", "solve", laplacian, "--method", "CG"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "converged" in done.stdout


def test_it_tells_its_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxsolve {jaxsolve.__version__}\n"


def test_the_shell_completes_commands_and_names(tmp_path):
    pytest.importorskip("argcomplete")
    for line, expected in {"jaxsolve so": ["solve"], "jaxsolve solve A.mtx --method GMr": ["GMres"]}.items():
        told = tmp_path / "told"
        asked = {
            "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(told), "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        }  # fmt: skip
        subprocess.run([sys.executable, "-m", "jaxsolve"], env=asked, timeout=120, check=True)
        assert told.read_text().split() == expected
