"""The pages on extension run as they stand, by public imports alone, and end with a check."""

import pathlib
import re

import pytest

PAGES = sorted((pathlib.Path(__file__).parents[2] / "docs" / "extending").glob("*.md"))
PUBLIC = re.compile(
    r"import jaxsolve as js|from jaxsolve import extend|(from|import) (jax|numpy|scipy|typing)\b(?!\._)"
)


def code(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def test_there_is_a_page_for_everything():
    pages = "method nonlinear_method preconditioner layout tracing_rule backend coarsening"
    assert {page.stem for page in PAGES} == set(pages.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_short_and_public(page):
    for block in code(page):
        lines = [line for line in block.splitlines() if line.strip()]
        assert len(lines) < 40
        for line in lines:
            if re.match(r"\s*(import|from) ", line):
                assert PUBLIC.match(line.strip()), line
    assert re.search(r"^print\(extend\.check\(.*\)\)$", code(page)[-1].strip().splitlines()[-1])


@pytest.mark.further
@pytest.mark.usefixtures("_registries")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_run(page, capsys):
    for block in code(page):
        # A module of its own, as a notebook is: twice, as cells are.
        space = {"__name__": f"page_{page.stem}"}
        exec(compile(block, str(page), "exec"), space)
    assert "laws hold" in capsys.readouterr().out
