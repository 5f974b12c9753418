"""Sparse factorisations beside the libraries called directly: python -m benchmarks.direct [--grid 512] [--matrices].

One JSON line a matrix and backend, float64, medians of interleaved runs. Seconds: `library_s` is the library on the
scaled matrix with the options that jaxsolve chooses, `first_s` is `js.factorize` with a pattern that it has never seen,
`next_s` with new values on a known pattern; `splu_s` is SciPy's `splu` as it comes. Microseconds: `library_us` is a
substitution by the library, `solve_us` is `solver.solve(b)` in a compiled program, `overhead_us` is their difference
less one product (the test of the residual). `hundred` is `factorize` and 100 solves over 100 calls of `spsolve`.
For KLU the library is klujax, called by its own JAX primitives, analysis included.
"""

import argparse
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl

import jaxsolve as js
from benchmarks.timing import medians, report, seconds
from jaxsolve.operators.pattern import Pattern
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.host.scaling import equilibrated, has_symmetric_structure
from jaxsolve.solvers.host.superlu import GENERAL, SYMMETRIC
from tests.gallery.practice import matrix_folder
from tests.preconditioners.problems import poisson

#: Of practice, of several kinds: circuits, chemistry, structures, flow, power grids.
REAL = (
    "1138_bus",
    "bayer10",
    "bcsstk13",
    "e20r0000",
    "matrix_ACTIVSg200_AC_renumbered_add9_01",
    "memplus",
    "ScaleMicrogrid_Jacobian_N1000_01",
    "Trefethen_2000",
)


def problems(grid: int, real: bool) -> dict[str, Any]:
    """Matrices by name."""
    found = {f"poisson-{grid}": sp.csr_matrix(poisson((grid, grid)))}
    folder = matrix_folder()
    if real and folder is not None:
        found |= {name: sp.csr_matrix(sp.load_npz(folder / f"{name}.npz")) for name in REAL}
    return found


def superlu(A: Any, S: js.SparseMatrix) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The library's factorisation of the scaled matrix with the options that jaxsolve chooses, and its substitution."""
    values = np.asarray(S.data)
    chosen = SYMMETRIC if has_symmetric_structure(S.pattern, values) else GENERAL
    matrix, _, _ = equilibrated(S.pattern, values)

    def factor() -> Any:
        return spl.splu(
            matrix,
            permc_spec=chosen.ordering,
            diag_pivot_thresh=chosen.threshold,
            options={"SymmetricMode": chosen.symmetric},
        )

    factors = factor()
    return factor, factors.solve


def klu(A: Any, S: js.SparseMatrix) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The same by klujax; importing it changes JAX's configuration for the process."""
    klujax = importlib.import_module("klujax")
    places = jnp.asarray(S.pattern.rows, jnp.int32), jnp.asarray(S.pattern.indices, jnp.int32)
    n = A.shape[0]

    def factor() -> Any:
        symbolic = klujax.analyze(*places, n)
        return symbolic, klujax.factor(*places, S.data, symbolic)

    symbolic, numeric = factor()
    return factor, lambda b: klujax.solve_with_numeric(numeric, b, symbolic)


def row(name: str, A: Any, backend: str, repeats: int) -> None:
    """Factorises, solves, and prints one line."""
    S = js.SparseMatrix.from_scipy(A)
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    c = jnp.asarray(b)
    columns = sp.csc_matrix(A)
    factor, substitute = (klu if backend == "klu" else superlu)(A, S)
    turn = 0

    def first() -> Any:
        FACTORS.clear()
        fresh = Pattern(S.pattern.indptr.copy(), S.pattern.indices.copy(), S.pattern.shape)
        return js.factorize(js.SparseMatrix(S.data, fresh), backend).inverse.key

    def again() -> Any:
        nonlocal turn
        turn += 1
        FACTORS.clear()
        return js.factorize(js.SparseMatrix(S.data * (1 + 1e-3 * turn), S.pattern), backend).inverse.key

    js.factorize(S, backend)
    work = {"library": factor, "first": first, "next": again, "splu": lambda: spl.splu(columns)}
    times = {key: median for key, (_, median) in medians(work, repeats).items()}
    solver = js.factorize(S, backend)
    compiled = jax.jit(lambda solver, c: solver.solve(c))
    each = {
        "library": lambda: substitute(c if backend == "klu" else b),
        "solve": lambda: compiled(solver, c),
        "product": lambda: columns @ b,
    }
    per_call = {key: 1e6 * median for key, (_, median) in medians(each, 21).items()}

    def hundred() -> Any:
        FACTORS.clear()
        fresh = js.factorize(S, backend)
        return [fresh.solve(c) for _ in range(100)]

    once = min(seconds(lambda: spl.spsolve(columns, b)) for _ in range(3))
    relative = float(np.linalg.norm(b - A @ np.asarray(compiled(solver, c))) / np.linalg.norm(b))
    report(
        problem=name,
        n=A.shape[0],
        backend=backend,
        **{f"{key}_s": value for key, value in times.items()},
        first_ratio=times["first"] / times["library"],
        next_ratio=times["next"] / times["library"],
        library_us=per_call["library"],
        solve_us=per_call["solve"],
        overhead_us=per_call["solve"] - per_call["library"] - per_call["product"],
        spsolve_s=once,
        hundred=min(seconds(hundred) for _ in range(2)) / (100 * once),
        residual=f"{relative:.1e}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, default=512)
    parser.add_argument("--matrices", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    backends = ["superlu", *(["klu"] if importlib.util.find_spec("klujax") else [])]
    for name, A in problems(options.grid, options.matrices).items():
        for backend in backends:
            # On grids KLU is several times slower and larger than SuperLU, and nobody's choice.
            if backend == "klu" and A.shape[0] > 10**5:
                continue
            row(name, A, backend, options.repeats)


if __name__ == "__main__":
    main()
