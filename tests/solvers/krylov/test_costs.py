"""What is promised in numbers: products with A, and iterations beside SciPy's."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
import scipy.sparse.linalg as spla

from jaxsolve.core.status import Status
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.krylov.idr import IDR
from tests.gallery import problems
from tests.solvers.krylov.systems import METHODS, SIZE, fitting, solve, status

GRID = 32


class Counted(LinearOperator):
    """A matrix that counts its products when they are run."""

    matrix: jax.Array
    count: list = eqx.field(static=True)
    shape = property(lambda self: self.matrix.shape)
    dtype = property(lambda self: self.matrix.dtype)

    def mv(self, x):
        jax.debug.callback(lambda: self.count.append(1))
        return self.matrix @ x

    def magnitude(self):
        return jnp.max(jnp.abs(self.matrix))

    def transpose(self):
        return Counted(self.matrix.T, self.count)


class Noted(Counted):
    """A matrix that counts its products when they are traced."""

    def mv(self, x):
        self.count.append(1)
        return self.matrix @ x

    def transpose(self):
        return Noted(self.matrix.T, self.count)


@pytest.mark.parametrize("name", ["CG", "IDR(4)", "lsqr"])
def test_products_are_counted_as_they_are_made(name):
    A = next(iter(fitting(name, SIZE, np.float64).values()))
    b = problems.random(SIZE, seed=5170)
    count = []
    outcome = solve(METHODS[name], Counted(jnp.asarray(A), count), b)
    jax.effects_barrier()
    assert status(outcome) is Status.converged
    assert outcome.evaluations == len(count)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "IDR(4)"])
def test_steps_make_as_many_products_as_they_say(name):
    method, r, count = METHODS[name], jnp.ones(SIZE), []
    A = Noted(jnp.eye(SIZE), count)
    s = jax.eval_shape(lambda r: method.start(A, None, r), r)
    jax.eval_shape(lambda s: method.finish(A, None, s), s)
    assert len(count) == method.start_products
    count.clear()
    jax.eval_shape(lambda s: method.step(A, None, s), s)
    assert len(count) == method.products


def test_the_description_of_the_cost_is_the_cost():
    for s in (1, 3):
        assert IDR(s).products == s + 1
    assert METHODS["biCG-stab(4)"].products == 8
    assert METHODS["GMres"].products == 1


def poisson():
    T = sps.csr_array(problems.poisson(GRID))
    return sps.csr_array(sps.kron(sps.eye_array(GRID), T) + sps.kron(T, sps.eye_array(GRID)))


def convection():
    T, U = sps.csr_array(problems.poisson(GRID)), sps.csr_array(problems.convection(GRID))
    return sps.csr_array(sps.kron(sps.eye_array(GRID), T) + sps.kron(U, sps.eye_array(GRID)))


def counted(solver, A, b, **options):
    steps = []
    _, info = solver(A, b, callback=lambda _: steps.append(1), **options)
    assert info == 0
    return len(steps)


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("name", "problem", "solver", "options"),
    [
        ("CG", poisson, spla.cg, {"rtol": 1e-8}),
        ("CG-adaptive", poisson, spla.cg, {"rtol": 1e-8}),
        ("biCG", convection, spla.bicg, {"rtol": 1e-8}),
        ("CGS", convection, spla.cgs, {"rtol": 1e-8}),
        ("biCG-stab", convection, spla.bicgstab, {"rtol": 1e-8}),
        ("tfQMR", convection, spla.tfqmr, {"rtol": 1e-8}),
        ("GMres", convection, spla.gmres, {"rtol": 1e-8, "restart": 30, "callback_type": "pr_norm"}),
    ],
)
def test_iterations_are_as_many_as_those_of_scipy(name, problem, solver, options):
    A, b = problem(), np.random.default_rng(5171).normal(size=GRID**2)
    # SciPy counts the half steps of tfQMR.
    theirs = counted(solver, A, b, **options) // (2 if name == "tfQMR" else 1)
    outcome = solve(METHODS[name], SparseMatrix.from_scipy(A).layout(), b)
    assert status(outcome) is Status.converged
    assert abs(int(outcome.iterations) - theirs) <= max(3, 0.15 * theirs)


@pytest.mark.parametrize("name", ["minres", "CR"])
def test_minimal_residuals_need_no_more_than_minres_of_scipy(name):
    # A saddle point; SciPy stops by other norms, so its steps are counted up to our tolerance.
    A = sps.csr_array(poisson() - 1.5 * sps.eye_array(GRID**2))
    b = np.random.default_rng(5172).normal(size=GRID**2)
    residuals = []
    spla.minres(A, b, rtol=1e-14, maxiter=800, callback=lambda x: residuals.append(np.linalg.norm(b - A @ x)))
    theirs = 1 + int(np.argmax(np.array(residuals) <= 1e-8 * np.linalg.norm(b)))
    outcome = solve(METHODS[name], SparseMatrix.from_scipy(A).layout(), b)
    assert status(outcome) is Status.converged
    assert abs(int(outcome.iterations) - theirs) <= 0.15 * theirs


@pytest.mark.further
def test_more_dimensions_of_the_shadow_space_save_products():
    A, b = SparseMatrix.from_scipy(convection()).layout(), np.random.default_rng(5173).normal(size=GRID**2)
    products = [int(solve(method, A, b).evaluations) for method in (METHODS["biCG-stab"], METHODS["IDR(4)"])]
    full = int(solve(METHODS["GMres"], A, b).evaluations)
    assert products[1] < products[0]
    assert products[1] < 1.5 * full
