"""Functions to sparse matrices: seconds from function to first values, and for new values, beside asdex and PhiML.

python -m benchmarks.tracing [--sizes 1e4 1e5 1e6] [--problems dirichlet graph ...] [--peers]

One process per row, so that peak memory and compilations are its own. Peers are measured where installed; PhiML has
no matrix for several arrays in and out.
"""

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

import jaxsolve as js
from benchmarks.timing import report

Problem = tuple[Callable[..., Any], Any, tuple[Any, ...]]


def line(n: int) -> Problem:
    def f(x: Any, k: Any) -> Any:
        p = jnp.pad(x, 1)
        return k * (2 * x - p[2:] - p[:-2])

    return f, jnp.zeros(n), (jnp.ones(n),)


def flux(u: Any, k: Any) -> Any:
    up, kp = jnp.pad(u, 1), jnp.pad(k, 1, mode="edge")
    fx = 0.5 * (kp[1:, 1:-1] + kp[:-1, 1:-1]) * (up[1:, 1:-1] - up[:-1, 1:-1])
    fy = 0.5 * (kp[1:-1, 1:] + kp[1:-1, :-1]) * (up[1:-1, 1:] - up[1:-1, :-1])
    return -(fx[1:] - fx[:-1]) - (fy[:, 1:] - fy[:, :-1])


def dirichlet(n: int) -> Problem:
    s = round(n**0.5)
    return flux, jnp.zeros((s, s)), (jnp.ones((s, s)),)


def periodic(n: int) -> Problem:
    def f(u: Any, k: Any) -> Any:
        out = 0
        for axis in (0, 1):
            flow = 0.5 * (k + jnp.roll(k, -1, axis)) * (jnp.roll(u, -1, axis) - u)
            out = out + jnp.roll(flow, 1, axis) - flow
        return out

    s = round(n**0.5)
    return f, jnp.zeros((s, s)), (jnp.ones((s, s)),)


def cube(n: int) -> Problem:
    def f(u: Any, k: Any) -> Any:
        up, kp, out = jnp.pad(u, 1), jnp.pad(k, 1, mode="edge"), 0
        for axis in range(3):
            inner = [slice(1, -1)] * 3
            high, low = list(inner), list(inner)
            high[axis], low[axis] = slice(1, None), slice(None, -1)
            flow = 0.5 * (kp[tuple(high)] + kp[tuple(low)]) * (up[tuple(high)] - up[tuple(low)])
            out = out - jnp.diff(flow, axis=axis)
        return out

    s = round(n ** (1 / 3))
    return f, jnp.zeros((s, s, s)), (jnp.ones((s, s, s)),)


def graph(n: int) -> Problem:
    rng = np.random.default_rng(7)
    s, r = (rng.integers(0, n, 4 * n).astype(np.int32) for _ in range(2))

    def f(x: Any, w: Any) -> Any:
        flow = w * (x[s] - x[r])
        return jax.ops.segment_sum(flow, r, n) - jax.ops.segment_sum(flow, s, n)

    return f, jnp.zeros(n), (jnp.ones(4 * n),)


def stokes(n: int) -> Problem:
    q = round((n / 3) ** 0.5)

    def f(state: Any, nu: Any) -> Any:
        def viscous(w: Any) -> Any:
            p = jnp.pad(w, 1)
            return nu * (4 * w - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2])

        u, v, p = state["u"], state["v"], state["p"]
        return {
            "u": viscous(u) + jnp.pad(p, ((0, 0), (1, 0))) - jnp.pad(p, ((0, 0), (0, 1))),
            "v": viscous(v) + jnp.pad(p, ((1, 0), (0, 0))) - jnp.pad(p, ((0, 1), (0, 0))),
            "p": u[:, 1:] - u[:, :-1] + v[1:] - v[:-1],
        }

    x = {"u": jnp.zeros((q, q + 1)), "v": jnp.zeros((q + 1, q)), "p": jnp.zeros((q, q))}
    return f, x, (jnp.ones(()),)


def mean_row(n: int) -> Problem:
    f, x, (k,) = periodic(n)

    def g(state: Any, k: Any) -> Any:
        return f(state[0], k) + state[1], jnp.mean(state[0])

    return g, (x, jnp.zeros(())), (k,)


def convolution(n: int) -> Problem:
    s = round(n**0.5)

    def f(u: Any, k: Any) -> Any:
        return lax.conv_general_dilated(u[None, None], k[None, None], (1, 1), "SAME")[0, 0]

    return f, jnp.zeros((s, s)), (jnp.ones((3, 3)),)


PROBLEMS = {f.__name__: f for f in (line, dirichlet, periodic, cube, graph, stokes, mean_row, convolution)}
#: Seconds to the first values at 10⁶ that are hoped for.
TARGETS = {"graph": 5.0, "stokes": 1.5, "periodic": 1.5, "mean_row": 1.5}


Values = Callable[[Any], Any]


def ours(problem: str, n: int) -> Values:
    f, x, _ = PROBLEMS[problem](n)
    L = js.jit_compile_linear(f)
    return lambda params: L.matrix(x, *params).data


def by_diagonals(problem: str, n: int) -> Values:
    f, x, _ = PROBLEMS[problem](n)
    L = js.jit_compile_linear(f)

    def values(params: Any) -> Any:
        plan, arguments = L.plan(x, params, {})
        return None if plan.bands is None else plan.diagonals(plan.constants(), arguments.values)

    return values


def asdex(problem: str, n: int) -> Values:
    import asdex as peer  # noqa: PLC0415  (optional)

    f, x, _ = PROBLEMS[problem](n)
    # Arrays of several axes fail in asdex from 10⁵ unknowns on: 32 bits do not hold row times column.
    flat, unravel = ravel_pytree(x)
    coloured: list[Any] = []

    def raveled(params: Any) -> Callable[[Any], Any]:
        return lambda v: ravel_pytree(f(unravel(v), *params))[0]

    @jax.jit
    def entries(colours: Any, params: Any) -> Any:
        # Colours as an argument: closed over, they compile for seconds.
        return peer.jacobian_from_coloring(raveled(params), colours)(flat).data

    def values(params: Any) -> Any:
        if not coloured:
            coloured.append(peer.jacobian_coloring(raveled(params), flat))
        return entries(coloured[0], params)

    return values


def phiml(problem: str, n: int) -> Values | None:
    from benchmarks import tracing_phiml  # noqa: PLC0415  (optional)

    return tracing_phiml.values(problem, n)


PEERS: dict[str, Callable[[str, int], Values | None]] = {
    "jaxsolve": ours, "jaxsolve diagonals": by_diagonals, "asdex": asdex, "phiml": phiml,
}  # fmt: skip
#: The largest sizes at which a peer is run: beyond, asdex takes minutes and many GB (n colours for a full row).
LARGEST = {("asdex", "graph"): 1e5, ("asdex", "cube"): 1e5, ("asdex", "mean_row"): 1e4}


def measure(problem: str, n: int, peer: str) -> None:
    """Prints one row: seconds (wall and of the process) to the first values and for new ones, and memory."""
    warm, values = PEERS[peer]("line", 5), PEERS[peer](problem, n)
    if warm is None or values is None or n > LARGEST.get((peer, problem), n):
        return
    _, _, params = PROBLEMS[problem](n)
    jax.block_until_ready(warm((jnp.ones(5),)))  # imports, not this problem
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    data = jax.block_until_ready(values(params))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if data is None:
        return
    times = []
    for k in range(5):
        changed = jax.block_until_ready(tuple((k + 2.0) * p for p in params))
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(values(changed))
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(int(d.size) for d in jax.tree.leaves(data))
    report(
        problem=problem, n=n, tool=peer, values=count, build_wall=wall, build_cpu=cpu,
        again_wall_ms=1e3 * min(t[0] for t in times), again_cpu_ms=1e3 * min(t[1] for t in times),
        peak_gb=peak / 1e6, grown_gb=(peak - before) / 1e6, target=TARGETS.get(problem, 1.0) if n == 10**6 else None,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--peers", action="store_true", help="asdex and PhiML too, where installed")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        measure(arguments.row[0], int(arguments.sizes[0]), arguments.row[1])
        return
    peers = [
        p for p in PEERS if p.startswith("jaxsolve") or (arguments.peers and importlib.util.find_spec(p))
    ]
    for n in arguments.sizes:
        for problem in arguments.problems:
            for peer in peers:
                own = [sys.executable, "-m", "benchmarks.tracing", "--sizes", str(n), "--row", problem, peer]
                subprocess.run(own, check=False)


if __name__ == "__main__":
    main()
