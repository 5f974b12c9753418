"""The documentation site: every page can be reached, every link leads somewhere, every name and table row is there."""

import doctest
import importlib.util
import inspect
import pathlib
import re

import matplotlib.pyplot as plt
import pytest

import jaxsolve as js
from jaxsolve import extend
from jaxsolve.solvers.nonlinear_registry import NONLINEAR

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def name_of(page):
    return str(page.relative_to(DOCS))


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES, GALLERY = load("tables"), load("gallery")
#: Pages that are made of notebooks when the site is built, as paths that do not exist before.
CONTENTS = {DOCS / place: content for place, content in GALLERY.contents()}
MADE = {path: text for path, text in CONTENTS.items() if isinstance(text, str)}


def examples(page):
    return doctest.DocTestParser().get_doctest(
        page.read_text(), {"__name__": page.stem}, name_of(page), str(page), 0
    )


def test_every_page_is_in_the_navigation_once():
    listed = re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(map(name_of, [*PAGES, *MADE]))


def text_of(page):
    return MADE[page] if page in MADE else page.read_text()


def anchors(page):
    """The anchors of the headings, as Python-Markdown makes them of plain words."""
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w]+", "-", re.sub(r"[`,.?'()]", "", head.lower())).strip("-") for head in heads}


@pytest.mark.parametrize(
    "page", [*PAGES, *MADE, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_every_relative_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists() or there in CONTENTS, target
        assert not anchor or anchor in anchors(there), target


def test_the_gallery_tells_of_every_notebook_that_was_run():
    told = re.findall(r"\]\(gallery/(\w+)\.md\)", (DOCS / "gallery.md").read_text())
    assert sorted(told) == GALLERY.names()
    for name in GALLERY.names():
        text, pictures = GALLERY.page(name)
        assert text.startswith("# "), name
        assert pictures, f"notebooks/{name}.ipynb holds no picture: run it, and keep its outputs"


def test_every_public_name_is_in_the_reference_once():
    pages = [TABLES.on_page_markdown(page.read_text()) for page in DOCS.glob("reference/*.md")]
    found = [path for text in pages for path in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    names = [f"jaxsolve.{name}" for name in TABLES.public(js)]
    assert sorted(found) == sorted([*names, *(f"jaxsolve.extend.{name}" for name in TABLES.public(extend))])


def test_the_methods_that_the_reference_shows_are_there():
    for name, members in TABLES.MEMBERS.items():
        for member in members:
            assert inspect.getdoc(getattr(getattr(js, name), member)), (name, member)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_mark_is_filled(page):
    assert "{{" not in TABLES.on_page_markdown(page.read_text())


def test_the_tables_are_the_registries():
    told = {
        name: re.findall(r"^\| `([^`]+)` \|", make(), re.MULTILINE) for name, make in TABLES.TABLES.items()
    }
    assert told["methods"] == list(js.methods())
    assert told["preconditioners"] == list(js.preconditioners())
    assert told["nonlinear"] == list(NONLINEAR)
    assert told["statuses"] == [status.name for status in js.Status]


def test_examples_begin_with_their_imports():
    for page in PAGES:
        found = examples(page).examples
        if found:
            assert found[0].source.startswith("import jax, jax.numpy as jnp, jaxsolve as js"), page
            assert 'config.update("jax_enable_x64", True)' in found[1].source, page


@pytest.mark.further
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page).examples], ids=name_of)
def test_examples_print_what_the_page_says(page):
    plt.switch_backend("Agg")
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    try:
        runner.run(examples(page), out=told.append)
    finally:
        plt.close("all")
    assert runner.failures == 0, "".join(told)
