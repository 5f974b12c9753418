"""jaxsolve on a GPU in two commands of less than six minutes each: what may be wrong, and what it costs.

python -m benchmarks.gpu OUT right
python -m benchmarks.gpu OUT cost
python -m benchmarks.gpu OUT cg batch [--small]

One JSON line a row is appended to the file OUT at once, so that a run which is cut off still tells. Every part runs in
a process with a time limit of its own: a part that hangs or aborts costs itself only. `--small` tries the whole on a
CPU. The rows of a card stand in `benchmarks/rows/`.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.scipy.sparse.linalg import cg as jax_cg

import jaxsolve as js
from benchmarks.batched_direct import mesh, solved
from benchmarks.fields import elasticity, stokes

METHODS = [
    name for name in js.methods() if not name.startswith("scipy-") and "diag" not in name and name != "banded"
]
PRECONDITIONERS: tuple[Any, ...] = (
    "jacobi", js.BlockJacobi(4), "ilu", "ic", "ssor", "chebyshev", "neumann", "fsai", "nystrom", "cluster", "deflation",
    "amg", "ruge-stuben", "smoothed-aggregation", "geometric", js.ILU(apply="host"), js.ILU(level=0),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Part:
    """A group of rows.

    Attributes:
        run: Yields rows.
        limit: Seconds it may take.
    """

    run: Callable[[bool], Iterator[dict[str, Any]]]
    limit: int


def laplacian(n: int, dtype: Any = np.float64) -> Any:
    line = sp.diags([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], [-1, 0, 1])  # pyright: ignore[reportArgumentType]
    return (sp.kron(line, sp.identity(n)) + sp.kron(sp.identity(n), line)).tocsr().astype(dtype)


def graph(n: int, degree: int = 3, dtype: Any = np.float64) -> Any:
    """The shifted Laplacian of a random graph."""
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, n, (2, degree * n))
    weights = sp.coo_matrix((np.ones((i != j).sum()), (i[i != j], j[i != j])), shape=(n, n)).tocsr()
    weights = weights + weights.T
    return (sp.diags(np.asarray(weights.sum(1)).ravel() + 1) - weights).tocsr().astype(dtype)


def stencil(x: jax.Array) -> jax.Array:
    p = jnp.pad(x, 1)
    return 4 * x - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:]


def weighted(x: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.sqrt(k) * stencil(jnp.sqrt(k) * x)


def band(n: int, width: int) -> Any:
    offsets = range(-width, width + 1)
    return sp.diags_array(
        [np.full(n - abs(k), 3.0 * width if k == 0 else -1.0) for k in offsets],
        offsets=offsets,  # pyright: ignore[reportArgumentType]
    ).tocsr()


def normal(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


def milliseconds(run: Callable[[], Any], repeats: int = 5) -> float:
    """The median of repeated runs after a first one."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2] * 1e3


def tried(case: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A row, which tells of an error instead where there is one."""
    start = time.perf_counter()
    try:
        found = measure()
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    return {"case": case, **found, "wall_s": time.perf_counter() - start}


def residual(A: Any, x: Any, b: Any) -> float:
    """The relative residual, by SciPy in double precision."""
    x, b = (np.asarray(v).astype(np.result_type(np.asarray(v).dtype, np.float64)) for v in (x, b))
    return float(np.linalg.norm(b - A @ x) / np.linalg.norm(b))


def ended(A: Any, b: Any, solve: js.Solve, compiled: bool = False) -> dict[str, Any]:
    """How a solve ended, and its true residual; compiled with A as an argument, or as users call it."""
    given = js.SparseMatrix.from_scipy(A) if compiled else A
    run = (jax.jit if compiled else lambda f: f)(
        lambda A, b: (lambda info: (info.x, info.code, info.iterations))(js.solve_linear_info(A, b, solve))
    )
    x, code, iterations = run(given, b)
    return {"status": js.Status(int(code)).name, "iterations": int(iterations), "residual": residual(A, x, b)}


def environment(small: bool) -> Iterator[dict[str, Any]]:
    device = jax.devices()[0]
    yield {"device": device.device_kind, "backend": jax.default_backend(), "jax": jax.__version__}
    x = jnp.ones(1 << (16 if small else 28), jnp.float32)
    step = jax.jit(lambda x: x + 1)
    yield {"case": "copy", "GB_per_s": 2 * x.nbytes / milliseconds(lambda: step(x)) / 1e6}


def methods(small: bool) -> Iterator[dict[str, Any]]:
    A = laplacian(40 if small else 160)
    b = normal(A.shape[0])
    for method in ("auto", *METHODS):
        if method not in ("LU", "Cholesky", "QR"):
            solve = js.Solve(method, rtol=1e-8, max_iterations=3000)
            yield tried(method, lambda solve=solve: ended(A, b, solve))
    D = normal(300, 300) * 0.1 + 4 * np.eye(300)
    D = D @ D.T
    for method in ("LU", "Cholesky", "QR"):
        yield tried(method, lambda method=method: ended(D, b[:300], js.Solve(method, rtol=1e-8)))
    for width in (1, 2, 4):
        B = band(1000, width)
        yield tried(f"banded {width}", lambda B=B: ended(B, b[:1000], js.Solve("banded", rtol=1e-8)))


def preconditioners(small: bool) -> Iterator[dict[str, Any]]:
    n = 40 if small else 160
    for where, A in (("grid", laplacian(n)), ("graph", graph(n * n // 2))):
        b = normal(A.shape[0])
        for recipe in PRECONDITIONERS:
            if recipe != "geometric" or where == "grid":
                method = "GMres" if "ilu" in str(recipe).lower() else "CG"
                solve = js.Solve(method, rtol=1e-8, preconditioner=recipe)
                yield tried(
                    f"{method} + {recipe}, {where}", lambda A=A, b=b, solve=solve: ended(A, b, solve, True)
                )


def precision(small: bool) -> Iterator[dict[str, Any]]:
    """What comes out in other dtypes, in repeated runs, in other units."""
    n = 40 if small else 160
    for dtype in (np.float32, np.complex64, np.complex128):
        A, b = laplacian(n, dtype), normal(n * n, dtype=dtype)
        yield tried(f"CG, {np.dtype(dtype)}", lambda A=A, b=b: ended(A, b, js.Solve("CG", rtol=1e-4)))
    D = (normal(300, 300) + 40 * np.eye(300)).astype(np.float32)
    for method in ("GMres", "biCG-stab", "lsmr", "LU", "QR"):
        b = normal(300, dtype=np.float32)
        yield tried(f"{method}, dense float32", lambda m=method, b=b: ended(D, b, js.Solve(m, rtol=1e-5)))
    T, b = graph(n * n // 2, 6, np.float32), normal(n * n // 2, dtype=np.float32)
    once, again, scaled = (
        np.asarray(js.solve_linear(T, v, js.Solve("CG", rtol=1e-4))) for v in (b, b, b * np.float32(2**30))
    )
    yield {"case": "CG on a graph, twice", "same_bits": bool((once == again).all())}
    gap = np.linalg.norm(once * np.float32(2**30) - scaled) / np.linalg.norm(scaled)
    yield {"case": "CG on a graph, b * 2**30", "relative_difference": float(gap)}


def failures(small: bool) -> Iterator[dict[str, Any]]:
    """A solve that fails raises in eager and compiled programs, at the latest where its result is used."""
    A = laplacian(32)
    for name, jit in (("eager", lambda f: f), ("js.jit", js.jit), ("jax.jit", jax.jit)):
        run = jit(lambda b: js.solve_linear(A, b, js.Solve("CG", max_iterations=3)))
        try:
            np.asarray(run(jnp.ones(32 * 32)))
            yield {"case": f"fails, {name}", "raised": "nothing"}
        except Exception as error:
            yield {"case": f"fails, {name}", "raised": type(error).__name__, "says": str(error)[:200]}
    with js.SolveTape(record_trajectories=True) as tape:
        js.solve_linear(A, jnp.ones(32 * 32), js.Solve("CG"))
    yield {"case": "tape", "solves": len(tape)}
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        b = jax.device_put(np.ones(32 * 32), cpu)
        solve = js.Solve("GMres", preconditioner="ilu", rtol=1e-8)
        yield tried("arrays on the CPU", lambda: ended(A, b, solve))


def gradients(small: bool) -> Iterator[dict[str, Any]]:
    """Derivatives along a direction beside central differences."""
    n, step = 24, 1e-5
    b, k, v = jnp.ones((n, n)), 1 + jnp.abs(jnp.asarray(normal(n, n))), jnp.asarray(normal(n, n)[::-1])

    def compare(f: Any, at: Any, along: Any) -> dict[str, Any]:
        found = jnp.vdot(jax.grad(f)(at), along)
        return {
            "gradient": float(found),
            "difference": float((f(at + step * along) - f(at - step * along)) / (2 * step)),
        }

    for recipe in (None, "amg", "ic"):
        solve = js.Solve("GMres", rtol=1e-12, preconditioner=recipe)
        f = lambda k, solve=solve: jnp.sum(js.solve_linear(weighted, b, solve, k=k) ** 2)  # noqa: E731
        yield tried(f"GMres + {recipe}", lambda f=f: compare(f, k, v))

    def peak(s: Any) -> Any:
        solve = js.Solve("newton", x0=0 * b, rtol=1e-10)
        return js.solve_nonlinear(lambda u, s: 625 * stencil(u) - s * jnp.exp(u), 0 * b, solve, s).max()

    yield tried("newton", lambda: compare(peak, 2.0, 1.0))


def calls(small: bool) -> Iterator[dict[str, Any]]:
    """What a call costs besides its iterations: with a traced matrix, and with its layout made before."""
    for n in (40,) if small else (256, 1024, 2048):
        S = js.SparseMatrix.from_scipy(laplacian(n, np.float32))
        b = jnp.ones(n * n, jnp.float32)
        for form, A in (("SparseMatrix", S), ("its layout", S.layout())):
            one, many = (limited(k) for k in (1, 101))
            first, both = milliseconds(lambda: one(A, b)), milliseconds(lambda: many(A, b))  # noqa: B023
            yield {"case": form, "n": n * n, "call_ms": first, "us_per_iteration": (both - first) * 10}


def limited(iterations: int) -> Any:
    """CG of so many iterations on an operator, compiled."""
    solve = js.Solve("CG", rtol=1e-30, max_iterations=iterations)
    return jax.jit(lambda A, b: js.solve_linear_info(A, b, solve).x)


def cg(small: bool) -> Iterator[dict[str, Any]]:
    """Microseconds of an iteration beside jax.scipy, lineax and CuPy, from two numbers of iterations."""
    for dtype in (np.float32, np.float64):
        for n in (64,) if small else (256, 1024, 4096):
            few, many = (5, 25) if n == 4096 else (20, 220)
            b = jnp.asarray(normal(n * n, dtype=dtype))
            for case, run in _contestants(n, dtype, b).items():
                row = tried(case, lambda run=run, few=few, many=many: _per_iteration(run, few, many))
                yield row | {"n": n * n, "dtype": np.dtype(dtype).name}


def _per_iteration(run: Callable[[int], Callable[[], Any]], few: int, many: int) -> dict[str, float]:
    first, second = milliseconds(run(few)), milliseconds(run(many))
    each = (second - first) / (many - few)
    return {"us_per_iteration": each * 1e3, "call_ms": first - few * each}


def _contestants(n: int, dtype: Any, b: Any) -> dict[str, Callable[[int], Callable[[], Any]]]:
    def flat(x: Any) -> Any:
        return stencil(x.reshape(n, n)).ravel()

    A = laplacian(n, dtype)
    layout = js.SparseMatrix.from_scipy(A).layout()

    def on_function(k: int) -> Any:
        solve = js.Solve("CG", rtol=1e-30, max_iterations=k)
        f = jax.jit(lambda b: js.solve_linear_info(flat, b, solve).x)
        return lambda: f(b)

    def on_layout(k: int) -> Any:
        f = limited(k)
        return lambda: f(layout, b)

    def on_jax_scipy(k: int) -> Any:
        f = jax.jit(lambda b: jax_cg(flat, b, tol=0.0, atol=0.0, maxiter=k)[0])
        return lambda: f(b)

    found = {
        "jaxsolve diagonals": on_layout,
        "jaxsolve function": on_function,
        "jax.scipy function": on_jax_scipy,
    }
    if importlib.util.find_spec("lineax"):
        lineax = importlib.import_module("lineax")

        def on_lineax(k: int) -> Any:
            operator = lineax.FunctionLinearOperator(
                flat, jax.ShapeDtypeStruct(b.shape, b.dtype), lineax.positive_semidefinite_tag
            )
            # It divides by its tolerances and sums the squares: smaller ones overflow in float32 and end the iteration.
            tiny = 1e-14 if dtype == np.float64 else 1e-7
            solver = lineax.CG(rtol=tiny, atol=tiny, max_steps=k)
            f = jax.jit(lambda b: lineax.linear_solve(operator, b, solver, throw=False).value)
            return lambda: f(b)

        found["lineax function"] = on_lineax
    if importlib.util.find_spec("cupy"):
        cupy, sparse = importlib.import_module("cupy"), importlib.import_module("cupyx.scipy.sparse")
        linalg = importlib.import_module("cupyx.scipy.sparse.linalg")
        matrix, rhs = sparse.csr_matrix(A), cupy.asarray(np.asarray(b))

        def on_cupy(k: int) -> Any:
            def run() -> None:
                linalg.cg(matrix, rhs, rtol=1e-30, maxiter=k)
                cupy.cuda.Device().synchronize()

            return run

        found["cupy CSR"] = on_cupy
    return found


def multigrid(small: bool) -> Iterator[dict[str, Any]]:
    for n in (64,) if small else (512, 1024):
        A = laplacian(n)
        S, b = js.SparseMatrix.from_scipy(A), jnp.asarray(normal(n * n))
        for recipe in ("geometric", js.GeometricMultigrid(dtype=jnp.float32), "smoothed-aggregation"):
            solve = js.Solve("CG", rtol=1e-8, preconditioner=recipe)
            f = jax.jit(lambda S, b, solve=solve: js.solve_linear_info(S, b, solve))

            def measure(f: Any = f, S: Any = S, b: Any = b, A: Any = A) -> dict[str, Any]:
                start = time.perf_counter()
                info = jax.block_until_ready(f(S, b))
                first = time.perf_counter() - start
                told = {"iterations": int(info.iterations), "residual": residual(A, info.x, b)}
                return {**told, "first_s": first, "call_ms": milliseconds(lambda: f(S, b).x)}

            yield tried(f"{recipe}", measure) | {"n": n * n}


def batch(small: bool) -> Iterator[dict[str, Any]]:
    for lanes, m in ((100, 16),) if small else ((10000, 32), (1000, 256)):
        M = normal(lanes, m, m, dtype=np.float32)
        A = jnp.asarray(M @ M.transpose(0, 2, 1) / m + np.eye(m, dtype=np.float32))
        b = jnp.asarray(normal(lanes, m, dtype=np.float32))
        peers = {"jnp.linalg.solve": jax.jit(lambda A, b: jnp.linalg.solve(A, b[..., None]))}
        ours = {
            s: jax.jit(lambda A, b, s=s: js.solve_linear_info(A, b, js.Solve(s)).x)
            for s in ("CG", "LU", "Cholesky")
        }
        for case, f in {**ours, **peers}.items():
            yield tried(case, lambda f=f, A=A, b=b: {"ms": milliseconds(lambda: f(A, b))}) | {
                "lanes": lanes,
                "n": m,
            }
    n = 32 if small else 256
    fields = 1 + jnp.abs(jnp.asarray(normal(16, n, n)))
    solve = js.Solve("CG", preconditioner="amg")
    run = jax.jit(jax.vmap(lambda k: js.solve_linear_info(weighted, jnp.ones((n, n)), solve, k=k).x))
    yield tried("CG + amg, functions", lambda: {"ms": milliseconds(lambda: run(fields))}) | {
        "lanes": 16,
        "n": n * n,
    }


def direct(small: bool) -> Iterator[dict[str, Any]]:
    """Factors of the host, called from the device, beside what `auto` takes."""
    for n in (20,) if small else (64, 128, 256):
        A, b = laplacian(n), normal(n * n)
        for method in ("sparse-direct", "auto"):
            run = lambda A=A, b=b, m=method: js.solve_linear(A, b, js.Solve(m))  # noqa: E731
            yield tried(method, lambda run=run: {"ms": milliseconds(run, 3)}) | {"n": n * n}
    for n in (200,) if small else (2000, 20000):
        B, b = band(n, 2), np.ones(n)
        run = lambda B=B, b=b: js.solve_linear(B, b)  # noqa: E731
        yield tried("auto, five diagonals", lambda run=run: {"ms": milliseconds(run, 3)}) | {"n": n}


def setups(small: bool) -> Iterator[dict[str, Any]]:
    """Steps of a scan with new values: everything made in each step, or a set-up that is brought up to date or kept."""
    n, steps = (24, 3) if small else (256, 20)
    S = js.SparseMatrix.from_scipy(laplacian(n))
    b = jnp.asarray(normal(n * n))
    factors = 1 + jnp.arange(steps) / steps
    for recipe in ("jacobi", "amg"):
        solve = js.Solve("CG", rtol=1e-8, preconditioner=recipe)
        ready = js.setup(S, solve, refresh="never")

        def anew(k: Any, solve: js.Solve = solve) -> Any:
            return js.solve_linear_info(js.SparseMatrix(k * S.data, S.pattern), b, solve)

        def kept(k: Any, ready: Any = ready) -> Any:
            return js.solve_linear_info(ready.update(js.SparseMatrix(k * S.data, S.pattern)), b)

        for case, step in (("anew", anew), ("kept", kept)):

            def measure(step: Any = step) -> dict[str, Any]:
                def one(last: Any, k: Any) -> Any:
                    info = step(k)
                    return info.x, info.iterations

                run = jax.jit(lambda: jax.lax.scan(one, b, factors))
                start = time.perf_counter()
                x, iterations = jax.block_until_ready(run())
                first = time.perf_counter() - start
                A = float(factors[-1]) * laplacian(n)
                told = {"iterations": int(iterations.max()), "residual": residual(A, x, b), "first_s": first}
                return told | {"step_ms": milliseconds(run) / steps}

            yield tried(f"{recipe}, {case}", measure) | {"n": n * n}


def sets(small: bool) -> Iterator[dict[str, Any]]:
    """Many sets of values on one pattern, milliseconds a set: elimination on the device, dense LU, the host."""
    sizes = ((30, 8),) if small else ((200, 1), (200, 256), (200, 4096), (1000, 1), (1000, 256), (1000, 2048))
    for n, lanes in sizes:
        A = mesh(n)
        S = js.SparseMatrix.from_scipy(A)
        values = jnp.asarray(np.asarray(S.data) * np.random.default_rng(0).uniform(0.9, 1.1, (lanes, S.nnz)))
        b = jnp.asarray(normal(lanes, n))
        contestants: dict[str, Any] = {
            "device": solved(S, js.Solve(js.SparseDirect("device"), rtol=1e-10, rank_deficiency=0))
        }
        if lanes <= 256:
            contestants["host"] = solved(S, js.Solve("sparse-direct", rtol=1e-10, rank_deficiency=0))
        if n <= 200 or lanes <= 256:
            contestants["dense LU"] = jax.jit(
                jax.vmap(lambda v, b, S=S: jnp.linalg.solve(js.SparseMatrix(v, S.pattern).todense(), b))
            )
        for case, f in contestants.items():

            def measure(f: Any = f, S: Any = S, values: Any = values, b: Any = b) -> dict[str, Any]:
                start = time.perf_counter()
                x = jax.block_until_ready(f(values, b))
                first = time.perf_counter() - start
                worst = residual(S.pattern.to_scipy(np.asarray(values[-1])), x[-1], b[-1])
                return {
                    "residual": worst,
                    "first_s": first,
                    "ms": milliseconds(lambda: f(values, b)) / len(b),
                }

            yield tried(case, measure) | {"n": n, "sets": lanes}


def fields(small: bool) -> Iterator[dict[str, Any]]:
    """Several fields, rigid motions, determinants and traces."""
    n = 8 if small else 32
    yield tried("Stokes", lambda: stokes(n)) | {"n": n}
    yield tried("elasticity", lambda: elasticity(n)) | {"n": n}
    A = mesh(100 if small else 1000)
    exact = float(np.linalg.slogdet(A.toarray())[1])
    for method in ("sparse-direct", "device", "CG"):
        solve = js.Solve(js.SparseDirect("device") if method == "device" else method)

        key = jax.random.key(0) if method == "CG" else None

        def measure(solve: js.Solve = solve, key: Any = key) -> dict[str, Any]:
            return {"logdet": float(js.logdet(A, solve, key)), "exact": exact}

        yield tried(f"logdet, {method}", measure)


RIGHT = {
    "environment": Part(environment, 40),
    "failures": Part(failures, 60),
    "precision": Part(precision, 60),
    "gradients": Part(gradients, 60),
    "methods": Part(methods, 90),
    "preconditioners": Part(preconditioners, 170),
    "fields": Part(fields, 70),
}
COST = {
    "calls": Part(calls, 45),
    "cg": Part(cg, 110),
    "batch": Part(batch, 50),
    "direct": Part(direct, 40),
    "multigrid": Part(multigrid, 80),
    "setups": Part(setups, 70),
    "sets": Part(sets, 90),
}
HALVES = {"right": list(RIGHT), "cost": list(COST)}
PARTS = RIGHT | COST


def main() -> None:
    parser = argparse.ArgumentParser(description="jaxsolve on a GPU")
    parser.add_argument("out", help="the file that rows are appended to")
    parser.add_argument("parts", nargs="+", choices=[*HALVES, *PARTS])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the program itself")
    parser.add_argument("--alone", action="store_true", help="run one part in this process")
    asked = parser.parse_args()
    parts = [part for name in asked.parts for part in HALVES.get(name, [name])]
    with open(asked.out, "a") as file:
        if asked.alone:
            jax.config.update("jax_enable_x64", True)
            for row in PARTS[parts[0]].run(asked.small):
                rounded = {key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in row.items()}
                print(json.dumps({"part": parts[0], **rounded}), file=file, flush=True)
            return
        for part in parts:
            command = [sys.executable, "-m", "benchmarks.gpu", asked.out, part, "--alone"]
            start = time.perf_counter()
            try:
                code = subprocess.run(
                    command + ["--small"] * asked.small, timeout=PARTS[part].limit, env=os.environ
                ).returncode
            except subprocess.TimeoutExpired:
                code = f"cut off at {PARTS[part].limit} s"
            row = {"part": part, "ended": code, "wall_s": round(time.perf_counter() - start, 1)}
            print(json.dumps(row), file=file, flush=True)


if __name__ == "__main__":
    main()
