"""Each rule of the tracer tells its identity, and its example runs through it."""

import doctest
import sys

import pytest

import jaxsolve
from jaxsolve.tracer import rule_registry

RULES = sorted(
    {rule for rule in rule_registry._RULES.values() if rule.__module__.startswith(f"{jaxsolve.__name__}.")},
    key=lambda rule: rule.__qualname__,
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def test_there_are_rules():
    assert len(RULES) > 40


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_example_of_a_rule_is_true_and_runs_through_it(rule, monkeypatch):
    seen = []

    def watched(*args):
        seen.append(rule)
        return rule(*args)

    for primitive, other in list(rule_registry._RULES.items()):
        if other is rule:
            monkeypatch.setitem(rule_registry._RULES, primitive, watched)
    names = dict(vars(sys.modules[rule.__module__]))
    (test,) = doctest.DocTestFinder(recurse=False).find(rule, rule.__name__, globs=names)
    assert test.docstring.split("\n")[0].endswith(".")
    assert test.examples
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test).failed == 0
    assert seen
