"""What a test registers is forgotten after it."""

import pytest

from jaxsolve.front.request import forget_names
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.host.backends import BACKENDS
from jaxsolve.solvers.method_registry import METHODS
from jaxsolve.solvers.nonlinear_registry import NONLINEAR


@pytest.fixture
def _registries():
    kept = [(registry, dict(registry)) for registry in (METHODS, NONLINEAR, PRECONDITIONERS, BACKENDS)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)
    forget_names()
