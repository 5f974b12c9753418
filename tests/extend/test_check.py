"""Things of a user's own pass the laws where they are right, and are caught by name where they are not."""

import importlib
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
import scipy.sparse.linalg
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import mlir

import jaxsolve as js
from jaxsolve import extend
from jaxsolve.core.optional import MissingBackendError
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.host.backends import BACKENDS
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nonlinear_registry import NONLINEAR
from tests.gallery.methods import mostly_slow

pytestmark = pytest.mark.usefixtures("_registries")


class RichardsonState(extend.State):
    x: Array
    r: Array
    residual_norm: Array
    halt: Array


class Richardson(extend.AbstractMethod):
    """x <- x + r / 4: converges on the diagonally dominant systems of the laws."""

    name: ClassVar[str] = "richardson"
    needs: ClassVar[str] = "eigenvalues near 4, definite"
    storage: ClassVar[str] = "2"
    shrunk: ClassVar[float] = 1.0

    def start(self, A, M, r):
        return RichardsonState(jnp.zeros_like(r), r, jnp.linalg.norm(r), jnp.array(0))

    def step(self, A, M, s):
        x = s.x + s.r / 4
        r = s.r - A.mv(s.r) / 4
        return RichardsonState(x, r, self.shrunk * jnp.linalg.norm(r), jnp.array(0))


class Boastful(Richardson):
    """Says that the residual falls faster than it does."""

    name: ClassVar[str] = "boastful"
    shrunk: ClassVar[float] = 1e-6


@pytest.mark.further
def test_a_method_that_claims_more_than_it_found_is_caught():
    with pytest.raises(extend.BrokenLaw, match="the estimated residual is the true one") as caught:
        extend.check(Boastful())
    assert not caught.value.report.passed
    assert "breaks" in str(caught.value)


class Shear(js.LinearOperator):
    """x + k (x shifted down), with a transpose that may be wrong."""

    k: Array
    wrong: bool = False

    shape = property(lambda self: (5, 5))
    dtype = property(lambda self: self.k.dtype)

    def mv(self, x):
        return x + self.k * jnp.roll(x, 1)

    def transpose(self):
        return Shear(self.k) if self.wrong else super().transpose()


def test_operators_are_judged_by_their_products():
    report = extend.check(Shear(jnp.asarray(2.0)))
    assert report.passed
    assert "laws hold" in repr(report)
    with pytest.raises(extend.BrokenLaw, match="transpose and adjoint are exact"):
        extend.check(Shear(jnp.asarray(2.0), wrong=True))


class Clipped(js.LinearOperator):
    """What is large is cut: not linear."""

    n: int
    kind: object

    shape = property(lambda self: (self.n, self.n))
    dtype = property(lambda self: jnp.dtype(self.kind))

    def mv(self, x):
        return jnp.where(jnp.abs(x) > 1, 1, x)


class Clip(extend.AbstractPreconditioner):
    name: ClassVar[str] = "clip"
    needs: ClassVar[str] = "nothing"
    cost: ClassVar[str] = "nothing"

    def build(self, A):
        return Clipped(A.shape[0], A.dtype)


@pytest.mark.further
def test_a_preconditioner_that_is_not_linear_is_caught():
    with pytest.raises(extend.BrokenLaw, match="it is linear"):
        extend.check(Clip())


class OneSided(js.LinearOperator):
    """x / 4 + (x shifted down) / 40 on a grid; its transpose is said to be itself."""

    n: int
    kind: object

    shape = property(lambda self: (self.n, self.n))
    dtype = property(lambda self: jnp.dtype(self.kind))

    def mv(self, x):
        return x / 4 + jnp.roll(x, 1) / 40

    def transpose(self):
        return self


class WrongAdjoint(extend.AbstractPreconditioner):
    name: ClassVar[str] = "wrong-adjoint"
    needs: ClassVar[str] = "nothing"
    cost: ClassVar[str] = "nothing"
    symmetric: ClassVar[bool] = False

    def build(self, A):
        return OneSided(A.shape[0], A.dtype)


def test_a_preconditioner_whose_transpose_is_another_one_is_caught():
    with pytest.raises(extend.BrokenLaw, match="the adjoint is exact") as caught:
        extend.check(WrongAdjoint())
    assert caught.value.law == "the adjoint is exact"
    assert "Mᵀ differs from that of the entries of M" in str(caught.value)


def test_a_rule_that_drops_a_term_is_caught():
    def function(x):
        return 2 * x - jnp.roll(x, 1)

    p = Primitive("lopsided")
    p.def_impl(function)
    p.def_abstract_eval(lambda x: x)
    mlir.register_lowering(p, mlir.lower_fun(function, multiple_results=False))

    @extend.rule(p)
    def dropped(scope, eqn, x):
        return extend.expand(scope, eqn, lambda x: 2 * x, x)

    with pytest.raises(extend.BrokenLaw, match="the matrix that is read is the dense Jacobian"):
        extend.check(dropped, (lambda x: p.bind(x), jnp.zeros(6)))


@pytest.mark.further
def test_a_backend_that_forgets_transposes_is_caught():
    def factorise(A):
        factors = scipy.sparse.linalg.splu(A)
        return lambda rhs, form: factors.solve(rhs)

    extend.register_backend("forgetful", factorise)
    with pytest.raises(extend.BrokenLaw, match="backend forgetful breaks"):
        extend.check("forgetful")


@pytest.mark.further
def test_a_nonlinear_method_that_leads_nowhere_is_caught():
    class Idle(extend.AbstractNonlinearMethod):
        name: ClassVar[str] = "idle"
        solves: ClassVar[tuple[str, ...]] = ("equations",)

        def step(self, problem, s, target):
            return s.x, s.memory

    with pytest.raises(extend.BrokenLaw, match="nonlinear method idle breaks"):
        extend.check(Idle())


def test_what_is_registered_is_found_by_name_and_replaced_by_its_next_version():
    extend.register_method(Richardson)
    A, b = 4 * jnp.eye(3), jnp.arange(3.0)
    assert js.solve_linear_info(A, b, js.Solve("Richardson")).converged
    assert "richardson" in js.methods()
    with pytest.raises(ValueError, match="Did you mean 'richardson'"):
        js.Solve("richardsn")

    def version(option):
        class Next(Richardson):
            name: ClassVar[str] = "next"
            shrunk: ClassVar[float] = option

        return Next

    for option in (1.0, 0.5):
        extend.register_method(version(option))
        assert js.Solve("next").method.shrunk == option


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (lambda: extend.register_method(Richardson()), "pass its class"),
        (lambda: extend.register_method(int), "expects a subclass of extend.AbstractMethod"),
        (
            lambda: extend.register_preconditioner(Richardson),
            "expects a subclass of extend.AbstractPreconditioner",
        ),
        (
            lambda: extend.register_method(type("Mine", (Richardson,), {"name": "CG"})),
            "the name 'CG' is taken",
        ),
        (
            lambda: extend.register_method(type("Mine", (extend.AbstractMethod,), {"name": "m"})),
            "lacks .*start",
        ),
        (
            lambda: extend.register_method(
                type("Mine", (extend.AbstractNonlinearMethod,), {"name": "m", "solves": ("equations",)})
            ),
            "lacks step",
        ),
        (lambda: extend.register_backend("superlu", lambda A: None), "the name 'superlu' is taken"),
        (lambda: extend.register_backend("device", lambda A: None), "the name 'device' is taken"),
        (lambda: extend.register_backend("mine", 3), "the recipe is a function"),
        (lambda: extend.rule(jnp.sin), "expects primitives"),
        (lambda: extend.rule(), "needs the primitive"),
        (lambda: extend.rule(jax.lax.add_p)(lambda *a: None), "has a rule already"),
        (lambda: extend.check(3), "check expects a method"),
        (lambda: extend.check("CGG"), "Did you mean 'CG'"),
        (lambda: extend.check("devise"), "Did you mean 'device'"),
        (lambda: js.SparseDirect("super-lu"), "known backends: .*device. Did you mean 'superlu'"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_words(register, words):
    with pytest.raises((TypeError, ValueError), match=words):
        register()


@pytest.mark.parametrize("name", ["klu", "pardiso", "cholmod"])
def test_a_backend_without_its_package_is_refused_in_words(name, monkeypatch):
    monkeypatch.setattr(importlib.import_module(f"jaxsolve.solvers.host.{name}"), "_library", lambda: None)
    with pytest.raises(MissingBackendError, match=rf"backend='{name}' needs .*jaxsolve\[{name}\]"):
        extend.check(name)


@pytest.mark.slow
def test_each_backend_that_is_installed_passes_its_laws():
    for name in (*BACKENDS, "device"):
        try:
            assert extend.check(name).passed
        except MissingBackendError:
            continue


@pytest.mark.further
@pytest.mark.parametrize("name", mostly_slow([*METHODS, *PRECONDITIONERS, *NONLINEAR, "superlu"], ["jacobi"]))
def test_what_the_package_brings_passes_its_own_laws(name):
    assert extend.check(name).passed
