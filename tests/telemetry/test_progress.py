"""A bar moves while long solves run, eager and compiled; short ones have none."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.core.errors import MissingBackendError
from jaxsolve.telemetry import progress
from jaxsolve.telemetry.progress import Meter

pytest.importorskip("tqdm")

n = 40
LONG = 2.001 * jnp.eye(n) - jnp.eye(n, k=1) - jnp.eye(n, k=-1)
ONES = jnp.ones(n)
SOLVE = js.Solve("CG", rtol=1e-8, rank_deficiency=0, progress=5)


def test_a_bar_is_shown_and_closed(capsys):
    js.solve_linear(LONG, ONES, SOLVE)
    text = capsys.readouterr().err
    assert text.startswith("\rCG:   0%|")
    assert "CG: 100%|" in text
    assert "iteration 20, residual" in text.split("\r")[-1]
    assert progress._BARS == {}


def test_a_bar_is_shown_under_jit_and_in_a_gradient(capsys):
    jax.block_until_ready(jax.jit(jax.grad(lambda b: js.solve_linear(LONG, b, SOLVE).sum()))(ONES))
    jax.effects_barrier()
    text = capsys.readouterr().err
    assert text.count("100%") >= 2
    assert progress._BARS == {}


def test_the_bar_of_a_batch_is_that_of_its_slowest_system(capsys):
    meter = Meter("CG", 1)
    target = np.ones(3)
    meter(np.array([3, 3, 3]), np.array([0.5, 1e4, np.nan]), target, np.array([False] * 3))
    meter(np.array([4, 4, 4]), np.array([0.5, 1e2, 0.1]), target, np.array([False] * 3))
    assert progress._BARS[meter].bar.n == 50
    meter(np.array([4, 9, 4]), np.array([0.5, 0.9, 0.1]), target, np.array([True] * 3))
    assert "100%" in capsys.readouterr().err
    assert progress._BARS == {}


def test_short_solves_have_no_bar(capsys):
    js.solve_linear(LONG, ONES, js.Solve("CG", rtol=1e-8, rank_deficiency=0, progress=1000))
    assert capsys.readouterr().err == ""


def test_large_systems_report_more_often_than_small_ones():
    assert Meter.for_size("CG", True, 10).every == 1000
    assert Meter.for_size("CG", True, 10**5).every == 200
    assert Meter.for_size("CG", True, 10**8).every == 1
    assert Meter.for_size("CG", 7, 10**8).every == 7


def test_without_tqdm_the_message_says_how_to_get_it(monkeypatch):
    for module in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingBackendError,
        match=r"progress=True\) needs the package tqdm: pip install 'jaxsolve\[progress\]'",
    ):
        js.solve_linear(LONG, ONES, SOLVE)
