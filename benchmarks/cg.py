"""Microseconds of one CG iteration on the 5-point Laplacian beside SciPy, jax.scipy and lineax, in one run.

python -m benchmarks.cg [--sizes 64 256 1024] [--repeats 5]
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from jax.experimental.sparse import BCOO
from jax.scipy.sparse.linalg import cg as jax_cg

import jaxsolve as js
from benchmarks.timing import medians, report

ITERATIONS = {64: 1000, 256: 300, 1024: 40}


def laplacian(n: int) -> sp.csr_matrix:
    line = sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])
    return (sp.kron(line, sp.identity(n)) + sp.kron(sp.identity(n), line)).tocsr()


def stencil(n: int) -> Callable[[jax.Array], jax.Array]:
    def apply(v):
        u = jnp.pad(v.reshape(n, n), 1)
        return (4 * u[1:-1, 1:-1] - u[:-2, 1:-1] - u[2:, 1:-1] - u[1:-1, :-2] - u[1:-1, 2:]).ravel()

    return apply


def contestants(n: int, iterations: int) -> dict[str, Callable[[], Any]]:
    matrix, apply = laplacian(n), stencil(n)
    host = np.random.default_rng(20268).standard_normal(n * n)
    b = jnp.asarray(host)
    # No one may stop early: all run the same number of iterations.
    solve = js.Solve("CG", rtol=1e-300, max_iterations=iterations)
    traced = js.jit_compile_linear(apply)
    sparse = js.SparseMatrix.from_scipy(matrix)
    bcoo = BCOO.from_scipy_sparse(matrix)
    on_function = jax.jit(lambda b: jax_cg(apply, b, tol=0.0, atol=0.0, maxiter=iterations)[0])
    on_bcoo = jax.jit(lambda b, A: jax_cg(lambda x: A @ x, b, tol=0.0, atol=0.0, maxiter=iterations)[0])
    compiled = jax.jit(lambda b: js.solve_linear_info(apply, b, solve).x)
    found = {
        "scipy": lambda: spl.cg(matrix, host, rtol=1e-300, atol=0, maxiter=iterations)[0],
        # As the peers are measured; uncompiled, every call reads the function anew.
        "jaxsolve function": lambda: compiled(b),
        "jaxsolve function, eager": lambda: js.solve_linear_info(apply, b, solve).x,
        "jaxsolve traced": lambda: js.solve_linear_info(traced, b, solve).x,
        "jaxsolve SparseMatrix": lambda: js.solve_linear_info(sparse, b, solve).x,
        "jax.scipy function": lambda: on_function(b),
        "jax.scipy BCOO": lambda: on_bcoo(b, bcoo),
    }
    if importlib.util.find_spec("lineax"):
        found["lineax function"] = _lineax(apply, b, iterations)
    return found


def _lineax(apply: Callable[[jax.Array], jax.Array], b: jax.Array, iterations: int) -> Callable[[], Any]:
    lx = importlib.import_module("lineax")
    structure = jax.ShapeDtypeStruct(b.shape, b.dtype)
    operator = lx.FunctionLinearOperator(apply, structure, lx.positive_semidefinite_tag)
    method = lx.CG(rtol=1e-30, atol=1e-30, max_steps=iterations)
    run = jax.jit(lambda b: lx.linear_solve(operator, b, method, throw=False).value)
    return lambda: run(b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for n in options.sizes:
        iterations = ITERATIONS.get(n, 40)
        times = medians(contestants(n, iterations), options.repeats)
        base = times["scipy"][1]
        for name, (first, median) in times.items():
            report(
                n=n * n,
                contestant=name,
                us_per_iteration=1e6 * median / iterations,
                of_scipy=median / base,
                first_call_s=first,
            )


if __name__ == "__main__":
    main()
