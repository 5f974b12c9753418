"""Constants in a program, and systems that are set up: set-up is no part of it, and no index comes from the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps

import jaxsolve as js
from jaxsolve.core import staging
from tests.gallery import problems
from tests.gallery.methods import distance

N = 7
GRID = sps.csr_array(problems.poisson_2d(N, N) + 0.1 * np.eye(N * N))
ORDER = np.random.default_rng(0).permutation(N * N)
GRAPH = sps.csr_array(GRID[ORDER][:, ORDER])
B = jnp.ones(N * N)
COEFFICIENTS = np.random.default_rng(1).uniform(1, 2, (N, N))


def equations(jaxpr):
    """The names of the operations of a program, those of inner programs included."""
    found = []
    for eqn in jaxpr.eqns:
        found.append(eqn.primitive.name)
        for value in eqn.params.values():
            for part in value if isinstance(value, list | tuple) else [value]:
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    found += equations(inner)
    return found


def callbacks(f, *args):
    return sum("callback" in name for name in equations(jax.make_jaxpr(f)(*args).jaxpr))


def asked(name):
    return js.Solve(name) if name in ("LU", "banded") else js.Solve("CG", preconditioner=name)


@pytest.mark.few(3)
@pytest.mark.parametrize("A", [GRID, GRAPH], ids=["grid", "graph"])
@pytest.mark.parametrize("name", [
    "amg", "jacobi", "block-jacobi", "ssor", "chebyshev", "ic", "fsai", "cluster", "deflation", "LU", "banded",
])  # fmt: skip
def test_no_index_comes_from_the_host(name, A, monkeypatch):
    # Every index array counts as a large one.
    monkeypatch.setattr(staging, "LITERAL_BYTES", 0)
    solve = asked(name)
    assert callbacks(lambda b: js.solve_linear_info(A, b, solve).x, B) == 0
    ready = js.setup(A, solve)
    assert callbacks(lambda ready, b: js.solve_linear_info(ready, b).x, ready, B) == 0


def stencil(x):
    p = jnp.pad(x, 1)
    return (4 + COEFFICIENTS) * x - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]


def steps(solver):
    return lambda b: jax.lax.scan(lambda c, _: (solver(c) + 1, None), b, length=3)[0]


def test_a_function_of_constants_is_set_up_while_it_is_traced():
    solve = js.Solve("CG", rtol=1e-10, preconditioner="amg")
    matrix, _ = js.matrix_from_function(stencil, jnp.zeros((N, N)))

    by_function = steps(lambda b: js.solve_linear_info(stencil, b, solve).x)
    by_matrix = steps(lambda b: js.solve_linear_info(matrix, b.ravel(), solve).x.reshape(N, N))
    square = B.reshape(N, N)
    counts = [len(equations(jax.make_jaxpr(f)(square).jaxpr)) for f in (by_function, by_matrix)]
    assert counts[0] < 1.2 * counts[1]


@pytest.mark.further
def test_a_function_of_constants_is_solved_in_a_scan():
    solve = js.Solve("CG", rtol=1e-10, preconditioner="amg")
    by_function = steps(lambda b: js.solve_linear_info(stencil, b, solve).x)
    square = B.reshape(N, N)
    matrix, _ = js.matrix_from_function(stencil, jnp.zeros((N, N)))
    M, x = np.asarray(matrix.todense()), B
    for _ in range(3):
        x = np.linalg.solve(M, x) + 1
    assert distance(jax.jit(by_function)(square).ravel(), x) < 1e-8


@pytest.mark.further
@pytest.mark.parametrize("traced", [False, True])
def test_derivatives_by_what_a_function_holds_are_those_of_its_solution(traced):
    # What is closed over and traced is no constant.
    def value(k, x):
        held = k * COEFFICIENTS if traced else COEFFICIENTS
        f = lambda v: (4 + held) * v - 0.5 * jnp.roll(v, 1, 0)  # noqa: E731
        return js.solve_linear(f, k * x, js.Solve("GMres", rtol=1e-12, preconditioner="jacobi")).sum()

    square = B.reshape(N, N)
    h = 1e-5
    wanted = (value(1.5 + h, square) - value(1.5 - h, square)) / (2 * h)
    assert distance(jax.jit(jax.grad(value))(1.5, square), wanted) < 1e-7


def test_the_largest_entry_of_a_constant_is_not_computed_by_the_compiler():
    data = jnp.asarray(GRID.data)
    pattern = js.SparseMatrix.from_scipy(GRID).pattern
    for A in (
        js.SparseMatrix(data, pattern),
        js.SparseMatrix(data, pattern).layout(),
        js.DenseMatrix(GRID.toarray()),
    ):
        assert float(A.magnitude()) == abs(GRID.data).max()
        assert "optimization_barrier" in equations(
            jax.make_jaxpr(lambda t, A=A: t * A.magnitude())(1.0).jaxpr
        )
