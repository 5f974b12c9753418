"""Programs: compiled once, without large literals, in the precision of the session."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sps
from jax.experimental.sparse import BCOO

import jaxsolve as js
from tests.gallery import problems
from tests.gallery.methods import distance

N = 6
A = jnp.asarray(problems.convection(N))
B = jnp.asarray(problems.random(N, seed=2))


def test_new_numbers_compile_nothing(compilations):
    def solve(A, b, k):
        return js.solve_linear(
            A, b, js.Solve("biCG-stab", rtol=0.1**k, atol=1e-8 * k, max_iterations=50 * k, x0=b)
        )

    matrices, sides = [A * k for k in range(1, 5)], [B + k for k in range(1, 5)]
    solve(matrices[0], sides[0], 1)
    with compilations() as seen:
        for k in (1, 2, 3):
            solve(matrices[k], sides[k], k + 1)
    assert seen == []


def test_a_fresh_lambda_compiles_nothing(compilations):
    def solve(k, b):
        return js.solve_linear(lambda x: k * x - 0.5 * jnp.roll(x, 1), b, js.Solve("biCG-stab", rtol=1e-8))

    ks = [2 + jnp.arange(N) / n for n in (1.0, 2.0, 3.0)]
    solve(ks[0], B)
    with compilations() as seen:
        for k in ks[1:]:
            solve(k, B)
    assert seen == []


def test_new_arguments_of_a_function_compile_nothing(compilations):
    def f(x, k, shift):
        return k * x - 0.5 * jnp.roll(x, 1) + shift

    js.solve_linear(f, B, js.Solve("biCG-stab"), 2.0, shift=1.0)
    with compilations() as seen:
        x = js.solve_linear(f, B, js.Solve("biCG-stab", rtol=1e-9), 3.0, shift=-1.0)
    assert seen == []
    np.testing.assert_allclose(f(x, 3.0, -1.0), B, atol=1e-7)


def test_new_values_on_a_pattern_compile_nothing(compilations):
    js.solve_linear(sps.csr_array(np.asarray(A)), B, js.Solve("biCG-stab"))
    scaled = [sps.csr_array(k * np.asarray(A)) for k in (2, 3)]
    with compilations() as seen:
        for matrix in scaled:
            js.solve_linear(matrix, B, js.Solve("biCG-stab"))
    assert seen == []


def test_eager_gradients_compile_nothing_new(compilations):
    def slope(b):
        return jax.grad(lambda b: js.solve_linear(A, b, js.Solve("biCG-stab")).sum())(b)

    slope(B)
    with compilations() as seen:
        slope(2 * B)
    assert [name for name in seen if name != "jit(multiply)"] == []


def test_a_request_is_an_argument_of_jit(compilations):
    f = jax.jit(lambda b, solve: js.solve_linear(A, b, solve))
    solve = js.Solve("biCG-stab", x0=B)
    f(B, solve)
    with compilations() as seen:
        f(2 * B, js.Solve("biCG-stab", x0=2 * B))
    assert [name for name in seen if "multiply" not in name] == []


def test_tolerances_limits_and_guesses_may_be_traced():
    @jax.jit
    def solve(rtol, atol, limit, x0):
        return js.solve_linear_info(
            A, B, js.Solve("biCG-stab", rtol=rtol, atol=atol, max_iterations=limit, x0=x0)
        )

    assert solve(1e-10, 0.0, 100, 0 * B).status is js.Status.converged
    assert solve(1e-10, 0.0, 1, 0 * B).status is js.Status.max_iterations
    assert solve(1e-10, 1e9, 100, 0 * B).iterations == 0
    assert solve(1e-10, 0.0, 100, jnp.linalg.solve(A, B)).iterations == 0


def grid(n):
    """The five-point matrix of an n by n grid in SciPy form."""
    line = sps.csr_array(2.1 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    return sps.csr_array(sps.kronsum(line, line))


def scattered(n):
    """A matrix whose pattern is no band: the grid's with its unknowns shuffled."""
    M = grid(n)
    order = np.random.default_rng(0).permutation(n * n)
    return sps.csr_array(M[order][:, order])


@pytest.mark.parametrize("make", [grid, scattered])
@pytest.mark.parametrize("kind", ["SparseMatrix", "BCOO", "argument"])
def test_no_large_literal_is_in_a_program_that_solves(make, kind):
    n = 100
    host = make(n)
    M = js.SparseMatrix.from_scipy(host)
    b = jnp.ones(n * n)
    solve = js.Solve("CG", rtol=1e-6)
    if kind == "argument":
        program = jax.jit(lambda M, b: js.solve_linear(M, b, solve))
        arguments = (M, b)
    else:
        indices = M.to_bcoo().indices
        if kind == "BCOO":
            program = jax.jit(lambda data, b: js.solve_linear(BCOO((data, indices), shape=M.shape), b, solve))
        else:
            program = jax.jit(lambda data, b: js.solve_linear(js.SparseMatrix(data, M.pattern), b, solve))
        arguments = (M.data, b)
    lowered = program.lower(*arguments)
    text = lowered.as_text()
    # 50 000 entries would be hundreds of kilobytes of digits.
    assert len(text) < 200_000
    jaxpr = jax.make_jaxpr(program)(*arguments)
    assert sum(np.size(c) for c in jaxpr.consts) < 1000
    x = lowered.compile()(*arguments)
    assert np.linalg.norm(b - host @ np.asarray(x)) <= 1.01e-6 * np.linalg.norm(b)


@pytest.mark.slow
def test_no_large_literal_is_in_a_program_with_a_million_unknowns():
    n = 1000
    M = js.SparseMatrix.from_scipy(scattered(n))
    program = jax.jit(
        lambda data, b: js.solve_linear_info(
            js.SparseMatrix(data, M.pattern), b, js.Solve("CG", max_iterations=3)
        )
    )
    lowered = program.lower(M.data, jnp.ones(n * n))
    assert len(lowered.as_text()) < 200_000
    assert lowered.compile()(M.data, jnp.ones(n * n)).iterations == 3


@pytest.mark.further
def test_a_session_in_single_precision_stays_there():
    code = """
        import jax, jax.numpy as jnp, numpy as np, scipy.sparse as sps
        import jaxsolve as js

        assert not jax.config.jax_enable_x64
        A = np.diag(np.full(5, 3.0)) - np.eye(5, k=1)
        b = np.arange(5.0)
        solve = js.Solve("biCG-stab", rtol=1e-5)
        for kind in (A, sps.csr_array(A), js.SparseMatrix.from_dense(A), lambda x: 3 * x - jnp.append(x[1:], 0)):
            x = js.solve_linear(kind, b, solve)
            assert x.dtype == jnp.float32, x.dtype
            assert np.linalg.norm(A @ np.asarray(x) - b) < 1e-4 * np.linalg.norm(b)
        slope = jax.grad(lambda b: js.solve_linear(A, b, solve).sum())(b)
        assert slope.dtype == jnp.float32
        assert js.solve_linear(A, 1j * b, solve).dtype == jnp.complex64
        assert not jax.config.jax_enable_x64
    """
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "error::UserWarning:jaxsolve"}
    compilation = {name: os.environ[name] for name in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=300, check=False,
        env={**environment, **compilation, "PYTHONPATH": ":".join(p for p in sys.path if p)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_strict_promotion_is_respected():
    with jax.numpy_dtype_promotion("strict"):
        for kind in (A, js.SparseMatrix.from_dense(np.asarray(A)), lambda x: A @ x):
            x = js.solve_linear(kind, B, js.Solve("biCG-stab", rtol=1e-10))
            assert distance(x, np.linalg.solve(A, B)) < 1e-8


def test_leaks_are_not_found():
    with jax.checking_leaks():
        x = jax.jit(lambda b: js.solve_linear(A, b, js.Solve("biCG-stab", rtol=1e-9)))(B)
    assert distance(x, np.linalg.solve(A, B)) < 1e-7


def test_nan_debugging_finds_nothing_in_ordinary_solves():
    with jax.debug_nans(True):
        assert js.solve_linear_info(A, B, js.Solve("biCG-stab", rtol=1e-9)).converged
        assert js.solve_linear_info(A, 0 * B, js.Solve("biCG-stab")).iterations == 0


def test_numbers_of_a_request_are_data():
    traced = []

    @js.jit
    def solved(A, b, solve):
        traced.append(solve)
        return js.solve_linear_info(A, b, solve)

    A, b = jnp.diag(jnp.arange(1.0, 9.0)) + 0.1, jnp.ones(8)
    counts = []
    for rtol, atol, most in ((1e-1, 0.0, 10), (1e-3, 1e-6, 9), (1e-9, 0.0, 8), (1e-9, 0.0, 1)):
        request = js.Solve("CG", rtol=rtol, atol=atol, max_iterations=most)
        info = solved(A, b, request)
        counts.append(int(info.iterations))
        assert counts[-1] == int(js.solve_linear_info(A, b, request).iterations)
        assert info.solve.rtol == pytest.approx(rtol)
    assert counts[0] < counts[2]
    assert counts[3] == 1
    assert len(traced) == 1
    # Outside of compiled functions they are what was given.
    assert (request.rtol, request.max_iterations) == (1e-9, 1)
