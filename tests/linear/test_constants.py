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


#: On the host; for other shapes of matrices.
OTHERS = ("sparse-direct", "tridiagonal")


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


def of_values(A, solve):
    """A sum of the solution, by the entries of A."""
    A = js.SparseMatrix.from_scipy(A)
    return lambda data, b: js.solve_linear_info(js.SparseMatrix(data, A.pattern, A.facts), b, solve).x.sum()


def asked(name):
    return js.Solve(name) if name in ("LU", "banded") else js.Solve("CG", preconditioner=name)


@pytest.mark.few(3)
@pytest.mark.parametrize("A", [GRID, GRAPH], ids=["grid", "graph"])
@pytest.mark.parametrize("name", [
    "amg", "jacobi", "block-jacobi", "ssor", "chebyshev", "ic", "fsai", "cluster", "deflation", "LU", "banded",
])  # fmt: skip
def test_no_index_comes_from_the_host(name, A, monkeypatch):
    # Every index array counts as a large one.
    monkeypatch.setattr(staging, "FEW_BYTES", 0)
    solve = asked(name)
    assert callbacks(lambda b: js.solve_linear_info(A, b, solve).x, B) == 0
    ready = js.setup(A, solve)
    assert callbacks(lambda ready, b: js.solve_linear_info(ready, b).x, ready, B) == 0
    assert callbacks(jax.grad(of_values(A, solve)), jnp.asarray(A.data), B) == 0


@pytest.mark.further
@pytest.mark.parametrize("name", [m for m in js.methods() if not m.startswith("scipy") and m not in OTHERS])
def test_no_index_of_traced_values_comes_from_the_host(name, monkeypatch):
    monkeypatch.setattr(staging, "FEW_BYTES", 0)
    assert callbacks(of_values(GRAPH, js.Solve(name)), jnp.asarray(GRAPH.data), B) == 0


@pytest.mark.further
def test_no_index_of_a_search_comes_from_the_host(monkeypatch):
    monkeypatch.setattr(staging, "FEW_BYTES", 0)
    A = js.SparseMatrix.from_scipy(GRAPH)
    solve = js.Solve(js.Newton(linear=js.Solve("CG", preconditioner="ic")))
    search = lambda k, b: js.solve_nonlinear_info(lambda x: A @ x + k * x**3 - b, B, solve).x  # noqa: E731
    assert callbacks(search, 0.1, B) == 0


def test_a_program_of_a_large_pattern_can_be_stored():
    n = 20_000
    A = sps.csr_array(
        sps.diags_array([-np.ones(n - 7), np.full(n, 2.5), -np.ones(n - 7)], offsets=[-7, 0, 7])
    )
    solve = js.Solve("CG", preconditioner="ic")
    value = jax.jit(of_values(A, solve))
    inputs = jnp.asarray(A.data), jnp.ones(n)
    exported = jax.export.export(value)(*inputs)
    assert "callback" not in exported.mlir_module()
    assert distance(exported.call(*inputs), value(*inputs)) < 1e-12


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
