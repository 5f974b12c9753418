"""One line a solve at debug, eager and compiled; none otherwise."""

import logging

import jax
import pytest

import jaxsolve as js
from tests.telemetry.systems import CG, A, b


@pytest.fixture
def lines(caplog):
    """The lines of the logger `jaxsolve`, whose level is put back afterwards."""
    yield lambda: [r.getMessage() for r in caplog.records if r.name == "jaxsolve"]
    js.set_logging_level("notset")


def test_every_solve_writes_a_line_at_debug(lines):
    f = jax.jit(lambda b: js.solve_linear(A, b, CG))
    f(b)
    js.solve_linear(A, b, CG)
    assert lines() == []
    js.set_logging_level("debug")
    js.solve_linear(A, b, CG)
    (line,) = lines()
    assert line.startswith("CG converged after 3 iterations with residual ")
    assert ", 3 unknowns, " in line
    assert line.endswith(" s")
    # Compiled before, and compiled again: only now it logs.
    f(b)
    jax.effects_barrier()
    assert len(lines()) == 2
    assert lines()[1].endswith(", 3 unknowns")
    js.set_logging_level(logging.INFO)
    f(b)
    assert len(lines()) == 2


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match=r"unknown logging level 'loud'; known are .*debug"):
        js.set_logging_level("loud")


def test_lines_go_to_stderr_where_nobody_else_logs(capsys, monkeypatch):
    logger = logging.getLogger("jaxsolve")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [])
    js.set_logging_level("debug")
    logger.debug("hello")
    js.set_logging_level("notset")
    assert capsys.readouterr().err.startswith("jaxsolve: hello (DEBUG), ")
