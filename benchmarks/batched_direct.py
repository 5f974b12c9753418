"""Many sets of values on one pattern, factorised and solved: python -m benchmarks.batched_direct [--only NAME].

One JSON line a pattern, float64, milliseconds a system (factor and solve to rtol 1e-10), medians of interleaved runs:
`device_ms` is `SparseDirect("device")` under vmap, `klu_ms` one batched call of klujax, `host_ms` `sparse-direct`
under vmap, `dense_ms` a vmapped dense LU (patterns up to 1000 rows); `klu_over_device` is above 1 where the program is
faster. `plan_s` is the analysis of the pattern, `*_first_s` the first call with its compilation, `*_residual` the worst
of four; `float32` is the time of single precision (to 1e-4) over that of double. Values are those of the matrix, each
times a number between 0.9 and 1.1.
"""

import argparse
import functools
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.spatial

import jaxsolve as js
from benchmarks.timing import medians, report
from jaxsolve.solvers.direct.sparse.matching import matched_rows
from jaxsolve.solvers.direct.sparse.triples import triples
from tests.gallery.practice import matrix_folder

#: Patterns of practice, and how many sets of values fit a run of minutes.
REAL = {
    "1138_bus": 256,
    "adder_dcop_05": 256,
    "matrix_ACTIVSg200_AC_renumbered_add9_01": 64,
    "memplus": 64,
    "ScaleMicrogrid_Jacobian_N1000_01": 64,
}
MESHES = {200: 256, 1000: 256, 5000: 128}


def mesh(n: int) -> Any:
    """The Laplacian, shifted, of a Delaunay triangulation of random points."""
    rng = np.random.default_rng(n)
    triangles = scipy.spatial.Delaunay(rng.random((n, 2))).simplices
    i, j = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    graph = sp.csr_matrix((np.ones(len(i)), (i, j)), shape=(n, n))
    graph = graph + graph.T
    return sp.csr_matrix(sp.diags(np.asarray(graph.sum(axis=1)).ravel() + 0.1) - graph)


def patterns(sets: int) -> Iterator[tuple[str, Any, int]]:
    """Name, matrix, and how many sets of values."""
    for n, most in MESHES.items():
        yield f"mesh-{n}", mesh(n), min(sets, most)
    folder = matrix_folder()
    for name, most in REAL.items() if folder is not None else ():
        yield name, sp.csr_matrix(sp.load_npz(folder / f"{name}.npz")), min(sets, most)


def solved(S: js.SparseMatrix, solve: js.Solve) -> Callable[[Any, Any], Any]:
    """(values, right-hand sides) -> solutions."""
    one = lambda v, b: js.solve_linear_info(js.SparseMatrix(v, S.pattern, S.facts), b, solve).x  # noqa: E731
    return jax.jit(jax.vmap(one))


def contestants(S: js.SparseMatrix) -> dict[str, Callable[[Any, Any], Any]]:
    """The same by name."""
    found = {
        "device": solved(S, js.Solve(js.SparseDirect("device"), rtol=1e-10, rank_deficiency=0)),
        "host": solved(S, js.Solve("sparse-direct", rtol=1e-10, rank_deficiency=0)),
    }
    if S.shape[0] <= 1000:
        found["dense"] = jax.jit(
            jax.vmap(lambda v, b: jnp.linalg.solve(js.SparseMatrix(v, S.pattern).todense(), b))
        )
    if importlib.util.find_spec("klujax") is None:
        return found
    klujax: Any = importlib.import_module("klujax")
    rows, columns = jnp.asarray(S.pattern.rows), jnp.asarray(S.pattern.indices)
    found["klu"] = jax.jit(lambda v, b: klujax.solve(rows, columns, v, b))
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=256)
    parser.add_argument("--only", default="")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for name, A, sets in patterns(arguments.sets):
        if arguments.only in name:
            report(**row(name, A, sets, arguments.repeats))


def row(name: str, A: Any, sets: int, repeats: int) -> dict[str, Any]:
    """The figures of one pattern."""
    S = js.SparseMatrix.from_scipy(A)
    rng = np.random.default_rng(0)
    values = jnp.asarray(np.asarray(S.data) * rng.uniform(0.9, 1.1, (sets, S.nnz)))
    b = jnp.asarray(rng.normal(size=(sets, S.shape[0])))
    start = time.perf_counter()
    plan = triples(S.pattern, matched_rows(S.pattern, None), False)
    found: dict[str, Any] = {"case": name, "n": S.shape[0], "sets": sets, "products": plan.updates}
    found |= {"levels": plan.levels, "plan_s": time.perf_counter() - start}
    runs = {}
    for which, f in contestants(S).items():
        x = np.asarray(f(values, b))[:4]
        residuals = [S.pattern.to_scipy(v) @ y - c for v, y, c in zip(values[:4], x, b[:4], strict=True)]
        found[f"{which}_residual"] = float(np.linalg.norm(residuals, axis=1).max() / np.linalg.norm(b[0]))
        runs[which] = functools.partial(f, values, b)
    jax.clear_caches()
    single = solved(S, js.Solve(js.SparseDirect("device"), rtol=1e-4, rank_deficiency=0))
    runs["device32"] = functools.partial(single, values.astype(jnp.float32), b.astype(jnp.float32))
    times = medians(runs, repeats)
    found |= {f"{which}_ms": 1e3 * median / sets for which, (_, median) in times.items()}
    found |= {f"{which}_first_s": first for which, (first, _) in times.items()}
    if "klu" in times:
        found["klu_over_device"] = times["klu"][1] / times["device"][1]
    found["float32"] = times["device32"][1] / times["device"][1]
    return found


if __name__ == "__main__":
    main()
