"""README is one page whose code runs, and the long tables that it leads to are the registries', row by row."""

import pathlib
import re

import pytest

import jaxsolve as js
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from tests.contracts.test_site import DOCS, GALLERY, TABLES

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CHOOSING = TABLES.on_page_markdown((DOCS / "choosing.md").read_text())
SEARCHES = TABLES.on_page_markdown((DOCS / "nonlinear.md").read_text())


def test_readme_is_one_page():
    assert len(README.splitlines()) <= 140
    assert len(README.split()) <= 1100  # three minutes, tables and links counted


def test_all_of_its_python_runs_as_an_example():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    assert all(block.startswith(">>> ") for block in blocks)


def test_it_says_how_to_run_the_tests():
    commands = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    assert any("pip install" in command and command.endswith("-m pytest -n 2") for command in commands)


def test_it_leads_to_the_tables_and_to_every_notebook():
    for target in ("docs/choosing.md#methods", "docs/choosing.md#preconditioners", "docs/nonlinear.md"):
        assert f"]({target})" in README, target
    for name in GALLERY.names():
        assert f"](notebooks/{name}.ipynb)" in README, name


@pytest.mark.parametrize("entry", js.methods().values(), ids=lambda entry: entry.name)
def test_every_method_has_its_row(entry):
    assert f"| `{entry.name}` | {entry.needs} | {entry.cost} | {entry.storage} |" in CHOOSING


@pytest.mark.parametrize("entry", js.preconditioners().values(), ids=lambda entry: entry.name)
def test_every_preconditioner_has_its_row(entry):
    kept = "yes" if entry.symmetric else "no"
    assert f"| `{entry.name}` | {entry.needs} | {entry.cost} | {kept} |" in CHOOSING


@pytest.mark.parametrize("name", NONLINEAR)
def test_every_nonlinear_method_has_its_row(name):
    method = NONLINEAR[name]()
    assert f"| `{name}` | {', '.join(method.solves)} | {method.cost} | {method.place} |" in SEARCHES


def test_no_placeholder_is_left():
    for word in ("METHODS_TABLE", "PRECONDITIONERS_TABLE", "FIGURES", "TODO", "{{"):
        assert word not in README
