"""The README's tables are the registries', row by row."""

import pathlib

import pytest

import jaxsolve as js
from jaxsolve.solvers.nonlinear_registry import NONLINEAR

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("entry", js.methods().values(), ids=lambda entry: entry.name)
def test_every_method_has_its_row(entry):
    assert f"| `{entry.name}` | {entry.needs} | {entry.cost} | {entry.storage} |" in README


@pytest.mark.parametrize("entry", js.preconditioners().values(), ids=lambda entry: entry.name)
def test_every_preconditioner_has_its_row(entry):
    kept = "yes" if entry.symmetric else "no"
    assert f"| `{entry.name}` | {entry.needs} | {entry.cost} | {kept} |" in README


@pytest.mark.parametrize("name", NONLINEAR)
def test_every_nonlinear_method_has_its_row(name):
    method = NONLINEAR[name]()
    assert f"| `{name}` | {', '.join(method.solves)} | {method.cost} | {method.place} |" in README


def test_no_placeholder_is_left():
    for word in ("METHODS_TABLE", "PRECONDITIONERS_TABLE", "FIGURES", "TODO"):
        assert word not in README
