"""The package as its files declare it: typed, its floors and its version the same wherever they are told."""

import pathlib
import re
import tomllib

import jaxsolve as js

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_says_that_it_is_typed():
    assert (ROOT / "jaxsolve" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_lowest_set_that_is_tried_is_the_one_that_is_declared():
    floors = dict(requirement.split(">=") for requirement in PROJECT["dependencies"])
    lines = (ROOT / ".ci" / "lowest.txt").read_text().split()
    tried = dict(line.split("==") for line in lines)
    assert floors.keys() == tried.keys()
    for name, floor in floors.items():
        assert re.fullmatch(rf"{re.escape(floor)}(\.0)*", tried[name]), name


def test_the_changes_begin_with_this_version():
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first.group(1) == js.__version__


def test_who_cites_it_cites_this_version():
    told = dict(re.findall(r"^(\w[\w-]*): (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    assert told["version"] == js.__version__
    assert told["license"] == PROJECT["license"]
    assert told["title"] == PROJECT["name"]
    for author in PROJECT["authors"]:
        assert f"- name: {author['name']}" in (ROOT / "CITATION.cff").read_text()


def test_every_floor_of_the_house_is_told():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    rooms = re.findall(r"jaxsolve\.(\w+)", " ".join(contract["layers"]))
    told = (ROOT / "CONTRIBUTING.md").read_text()
    assert [room for room in rooms if f"`{room}`" not in told] == []


def test_the_workflows_run_what_anybody_can_run():
    for name, command in {"ci": ".ci/run", "publish": ".ci/package"}.items():
        assert f"run: {command}" in (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
        assert (ROOT / command).stat().st_mode & 0o111
    pins = re.findall(r"(ruff|import-linter)==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert all(f"{name}=={pin}" in PROJECT["optional-dependencies"]["dev"] for name, pin in pins)
