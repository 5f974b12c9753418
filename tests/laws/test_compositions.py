"""Derivatives under every composition of JAX's transformations are those of a dense solve, for every method."""

import numpy as np
import pytest

import jaxsolve as js
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery.compositions import COMPOSITIONS
from tests.gallery.derivatives import compiled, holds, holds_in_lanes, third_derivatives, whole_derivatives
from tests.gallery.methods import made, mostly_slow

#: One of each way to solve: short and long recurrences, least squares, on the device and on the host.
SOME = ("CG", "GMres", "lsmr", "LU", "sparse-direct")
some = pytest.mark.parametrize("method", SOME)
NESTS = [
    *((name,) for name in COMPOSITIONS),
    ("scan", "checkpoint"),
    ("checkpoint", "scan"),
    ("vmap", "scan"),
    ("scan", "vmap of all"),
    ("scan", "cond"),
    ("vmap", "cond"),
    ("scan", "scan"),
    ("map", "jit"),
    ("vmap", "while_loop"),
]


def kind(name):
    """The family that a method must be able to solve: as general as its declared needs allow."""
    wants = made(name).wants
    if name in ("tridiagonal", "banded"):
        return name
    if "positive_definite" in wants or name == "CG-adaptive":
        return "definite"
    return "indefinite" if wants else "general"


def by(method, rtol=1e-11):
    solve = js.Solve(made(method), rtol=rtol)
    return lambda A, b: js.solve_linear(A, b, solve)


def in_turn():
    """Every composition with every method of `SOME`, and in every run each other composition with one of them."""
    for k, names in enumerate(NESTS):
        for j, method in enumerate(SOME):
            marks = () if k % 2 == 0 and (k // 2 - j) % len(SOME) == 0 else pytest.mark.slow
            yield pytest.param(method, names, marks=marks, id=f"{method}-{' of '.join(names)}")


@pytest.mark.few(3)
@pytest.mark.parametrize(("method", "names"), list(in_turn()))
def test_derivatives_of_a_composition(method, names):
    holds(names, by(method), kind(method))


@pytest.mark.parametrize("method", mostly_slow(METHODS, SOME))
def test_derivatives_in_a_scan(method):
    holds(("scan",), by(method), kind(method))


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [(), ("map",), ("cond",), ("checkpoint", "scan"), ("vmap of all",), ("while_loop",)],
    ids=" of ".join,
)
@pytest.mark.parametrize("method", [name for name in METHODS if name not in SOME])
def test_derivatives_of_every_method_in_a_composition(method, names):
    holds(names, by(method), kind(method))


@pytest.mark.further
@pytest.mark.parametrize(
    "names",
    [("scan",), *(pytest.param(names, marks=pytest.mark.slow) for names in ((), ("vmap of all",)))],
    ids=" of ".join,
)
@pytest.mark.parametrize("method", mostly_slow(SOME, ["LU"]))
def test_compiled_derivatives(method, names):
    holds(names, by(method), kind(method), run=compiled)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("scan",), ("vmap of all",)], ids=" of ".join)
@pytest.mark.parametrize("method", METHODS)
def test_derivatives_of_complex_systems(method, names):
    holds(names, by(method), kind(method), np.complex128)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("method", METHODS)
def test_derivatives_in_single_precision(method, dtype):
    holds(("scan",), by(method, 1e-6), kind(method), dtype, tolerance=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("names", [(), ("scan",)], ids=" of ".join)
@some
def test_jacobians_and_hessians_as_a_whole(method, names):
    holds(names, by(method), kind(method), wanted=whole_derivatives)


@pytest.mark.slow
@pytest.mark.parametrize("names", [(), ("scan",)], ids=" of ".join)
@some
def test_third_derivatives(method, names):
    holds(names, by(method), kind(method), wanted=third_derivatives)


@pytest.mark.slow
@pytest.mark.parametrize("names", [(), ("scan",)], ids=" of ".join)
@some
def test_derivatives_in_lanes(method, names):
    holds_in_lanes(names, by(method), kind(method))
