"""What rests on an optional package says which extra installs it."""

import sys

import pytest

import jaxsolve as js


def test_the_solver_for_lineax_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lineax", None)
    monkeypatch.delitem(sys.modules, "jaxsolve.lineax", raising=False)
    with pytest.raises(
        js.MissingBackendError, match=r"jaxsolve\.lineax needs .*pip install 'jaxsolve\[lineax\]'"
    ):
        __import__("jaxsolve.lineax")
