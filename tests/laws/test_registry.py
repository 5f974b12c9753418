"""Nothing is forgotten: every method is in the registry, and what it declares is true."""

import importlib
import pkgutil

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsolve as js
import jaxsolve.solvers
from jaxsolve.core.names import normalized
from jaxsolve.front.request import as_method, method_name
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.method_registry import METHODS
from tests.gallery.methods import FAMILIES, made, matrix, mostly_slow

#: What the documentation promises.
PROMISED = """
CG CG-adaptive block-CG block-GMres biCG biCG-stab GMres fGMres minres CR IDR(s) CGS tfQMR lsqr lsmr LU Cholesky QR SVD
tridiagonal banded scipy-direct scipy-CG scipy-GMres scipy-lGMres scipy-biCG scipy-biCG-stab scipy-CGS scipy-QMR
scipy-GCrotMK
scipy-minres scipy-tfQMR scipy-lsqr scipy-lsmr sparse-direct
"""

FACTORISING = [name for name in METHODS if not METHODS[name]().preconditioned]


def classes():
    """All concrete methods of the package."""
    for module in pkgutil.walk_packages(jaxsolve.solvers.__path__, "jaxsolve.solvers."):
        importlib.import_module(module.name)
    found, queue = set(), [AbstractMethod]
    while queue:
        for cls in queue.pop().__subclasses__():
            queue.append(cls)
            if cls.__module__.startswith("jaxsolve.") and "name" in vars(cls):
                found.add(cls)
    return found


def test_every_method_of_the_package_is_in_the_registry():
    methods = [make() for make in METHODS.values()]
    # Several devices take other forms of some, which no name asks for.
    assert {type(m) for m in methods} | {type(m.over_devices()) for m in methods} >= classes()


def test_every_promised_name_is_in_the_registry():
    assert set(METHODS) >= set(PROMISED.split())


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_hashable_modules_with_a_description(name):
    method = made(name)
    assert isinstance(method, eqx.Module)
    assert hash(method) == hash(made(name))
    assert method == made(name)
    assert method.needs
    assert method.cost
    assert normalized(method.name) == normalized(name) or name == "tridiagonal"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "spell", [str, str.lower, str.upper, lambda s: s.replace("-", "_"), lambda s: f" {s} "]
)
def test_names_match_in_every_spelling(name, spell):
    assert type(as_method(spell(name))) is type(METHODS[name]())


def test_every_spelling_leads_to_its_own_method():
    assert len({normalized(name) for name in METHODS}) == len(METHODS)


OPTIONS = {
    "biCG-stab(2)": "biCG-stab(2)",
    "biCG-stab(1)": "biCG-stab",
    "IDR(6)": "IDR(6)",
    "idr(4)": "IDR(s)",
    "IDR": "IDR(s)",
    "gmres(50)": "GMres(50)",
}


@pytest.mark.parametrize(("given", "shown"), OPTIONS.items())
def test_a_number_in_brackets_is_the_option(given, shown):
    assert method_name(as_method(given)) == shown


@pytest.mark.parametrize("given", ["CG(3)", "LU(2)", "biCG-stab(x)"])
def test_a_number_for_a_method_without_option_is_refused(given):
    with pytest.raises(ValueError, match="unknown method"):
        as_method(given)


@pytest.mark.parametrize("name", METHODS)
def test_rectangular_systems_are_solved_or_refused(name):
    A = np.vstack([matrix(name, 7), matrix(name, 7)[:2]])
    b = np.arange(9.0)
    if not METHODS[name]().rectangular:
        with pytest.raises(
            ValueError, match=r"solves square systems; A has shape \(9, 7\)\. Use 'lsqr', 'lsmr' or 'QR'"
        ):
            js.solve_linear(A, b, js.Solve(name))
        return
    info = js.solve_linear_info(A, b, js.Solve(name, rtol=1e-10))
    assert info.status is js.Status.least_squares
    np.testing.assert_allclose(info.x, np.linalg.lstsq(A, b)[0], rtol=1e-6)
    wide = js.solve_linear_info(A.T, b[:7], js.Solve(name, rtol=1e-10, x0=jnp.zeros(9)))
    assert wide.status is js.Status.converged
    np.testing.assert_allclose(wide.x, np.linalg.lstsq(A.T, b[:7])[0], rtol=1e-6)


@pytest.mark.parametrize("name", mostly_slow(METHODS, {*FAMILIES, *FACTORISING}))
def test_methods_that_factorise_take_no_preconditioner(name):
    A, b = matrix(name), np.ones(13)
    solve = js.Solve(made(name), preconditioner=lambda r: r / 3)
    if METHODS[name]().preconditioned:
        assert js.solve_linear_info(A, b, solve).status is js.Status.converged
    else:
        with pytest.raises(ValueError, match="factorises A and takes no preconditioner; got <lambda>"):
            js.solve_linear(A, b, solve)
