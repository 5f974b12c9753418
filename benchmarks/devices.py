"""Many devices: what an iteration sends and holds as devices and rows grow together, iterations of multigrid, a budget.

python -m benchmarks.devices [--rows 4096] [--wide]

On virtual devices of one processor: counts are read from compiled programs, and nothing is timed. `--wide` takes the
larger problems of the table of iterations (256², 48³, 10⁴ nodes; some minutes).
"""

import argparse
import math
import os
from typing import Any

import equinox as eqx
import jax
import numpy as np
import scipy.sparse as sp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

import jaxsolve as js
from benchmarks.messages import Loop, method_loop

COUNT = 8
#: A card (H100 SXM): bytes a second of its memory; bytes a second to another card in its node and beyond (NVLink 4: 900
#: GB/s in both directions; one port of 400 Gb/s a card), and seconds until a message arrives.
MEMORY, IN_NODE, BEYOND, LATENCY_IN_NODE, LATENCY_BEYOND = 3.35e12, 450e9, 50e9, 5e-6, 10e-6
#: Cards in a node.
NODE = 8


def mesh(count: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:count]), ("rows",))


def spread(v: Any, over: Mesh) -> jax.Array:
    return jax.device_put(v, NamedSharding(over, PartitionSpec("rows")))


def line(n: int) -> Any:
    offsets: Any = [-1, 0, 1]
    return sp.diags_array([-1.0, 2.0, -1.0], offsets=offsets, shape=(n, n))


def poisson(*sizes: int) -> Any:
    """Second differences along each axis of a grid."""
    total: Any = 0
    for k, size in enumerate(sizes):
        before, after = math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
        total = total + sp.kron(sp.kron(sp.eye_array(before), line(size)), sp.eye_array(after))
    return total.tocsr()


def log_normal(n: int, sigma: float = 1.0) -> Any:
    """Diffusion on n² cells whose coefficients are log-normal, by fluxes between cells."""
    rng = np.random.default_rng(0)
    offsets: Any = [0, -1]
    step = sp.diags_array([1.0, -1.0], offsets=offsets, shape=(n + 1, n))
    total: Any = 0
    fluxes: Any = (sp.kron(step, sp.eye_array(n)), sp.kron(sp.eye_array(n), step))
    for D in fluxes:
        total = total + D.T @ sp.diags_array(np.exp(sigma * rng.standard_normal(D.shape[0]))) @ D
    return total.tocsr()


def neighbours(n: int) -> Any:
    """The Laplacian of points in a square, each with those nearest to it, and a little of the identity."""
    points = np.random.default_rng(0).random((n, 2))
    near = cKDTree(points).query(points, 7)[1][:, 1:]
    W = sp.csr_array((np.ones(6 * n), (np.repeat(np.arange(n), 6), near.ravel())), (n, n))
    W = W.maximum(W.T)
    return (sp.diags_array(np.asarray(W.sum(axis=1)).ravel() + 1e-3) - W).tocsr()


def compiled(M: Any, count: int, preconditioner: str) -> Any:
    """The program of a solve by CG on so many devices."""
    over, (recipe, ahead) = mesh(count), KINDS[preconditioner]
    A, b = js.distribute(M, over), spread(np.ones(M.shape[0]), over)
    request, built = js.Solve("CG", rtol=1e-8), recipe.build(A) if ahead else recipe

    def solve(A: Any, built: Any, b: Any) -> Any:
        asked = eqx.tree_at(lambda s: s.preconditioner, request, built, is_leaf=lambda v: v is None)
        return js.solve_linear_info(A, b, asked).x

    return eqx.filter_jit(solve).lower(A, built, b).compile().compiled


#: Preconditioners, and whether they are made ahead of the program.
KINDS: dict[str, tuple[Any, bool]] = {
    "none": (None, False),
    "jacobi": (js.Jacobi(), False),
    "chebyshev": (js.Chebyshev(), False),
    "ic": (js.Cholesky0(), True),
    "amg": (js.SmoothedAggregation(), True),
}


def weak_scaling(rows: int, width: int = 64) -> None:
    """What grows with the devices where each keeps its rows: nothing should."""
    print(
        f"\nCG, grids of {rows} rows a device (lines of {width}); a device and iteration, and a device at all"
    )
    print(f"{'':10} {'devices':>7} {'bytes sent':>10} {'arguments':>10} {'temporary':>10}  messages")
    for name in KINDS:
        for count in (2, 4, 8):
            program = compiled(poisson(rows * count // width, width), count, name)
            loop, memory = method_loop(program), program.memory_analysis()
            print(
                f"{name:10} {count:7} {loop.bytes:10} {memory.argument_size_in_bytes:10} "
                f"{memory.temp_size_in_bytes:10}  {loop}",
                flush=True,
            )


def iterations(wide: bool) -> None:
    """Iterations of CG with multigrid to 1e-8 on 1, 2, 4 and 8 devices."""
    cases: dict[str, Any] = {
        "Poisson 64²": (poisson(64, 64), None),
        "Poisson 16³": (poisson(16, 16, 16), None),
        "log-normal 64²": (log_normal(64), None),
        "graph of 2000 nodes": (neighbours(2000), "narrow"),
    }
    if wide:
        cases |= {
            "Poisson 256²": (poisson(256, 256), None),
            "Poisson 48³": (poisson(48, 48, 48), None),
            "log-normal 128²": (log_normal(128), None),
            "graph of 10000 nodes": (neighbours(10_000), "narrow"),
        }
    print("\nIterations of CG with smoothed aggregation to 1e-8, on 1, 2, 4, 8 devices")
    for name, (M, rows) in cases.items():
        b, found = np.random.default_rng(1).standard_normal(M.shape[0]), []
        for count in (1, 2, 4, 8):
            A = js.distribute(M, mesh(count), rows)
            info = js.solve_linear_info(
                A, b, js.Solve("CG", rtol=1e-8, preconditioner=js.SmoothedAggregation())
            )
            assert np.linalg.norm(M @ np.asarray(info.x) - b) <= 1.01e-8 * np.linalg.norm(b), info
            found.append(int(info.iterations))
        print(f"{name:22} {', '.join(map(str, found))}", flush=True)


def budget(unknowns: float = 1e7) -> None:
    """What an iteration would take on cards, from what is counted: a prediction on paper, not a measurement."""
    side = unknowns ** (1 / 2)
    print(f"\nPredicted, {unknowns:.0e} unknowns a card (a grid cut along one axis, lines of {side:.0f}), ms")
    print(f"{'':10} {'cards':>6} {'memory':>8} {'halo':>8} {'sums':>8} {'iteration':>10}")
    for name, loop, bytes_of_unknown in (
        ("none", method_loop(compiled(poisson(64, 64), 8, "none")), 8 * (5 + 2 + 12)),
        ("amg", method_loop(compiled(poisson(64, 64), 8, "amg")), 8 * (5 + 2 + 12 + 90)),
    ):
        for cards in (8, 64, 512):
            parts = predicted(loop, cards, unknowns, side, bytes_of_unknown)
            told = " ".join(f"{1e3 * v:8.3f}" for v in parts)
            print(f"{name:10} {cards:6} {told} {1e3 * sum(parts):10.3f}")


def predicted(
    loop: Loop, cards: int, unknowns: float, side: float, bytes_of_unknown: float
) -> tuple[float, float, float]:
    """Seconds of an iteration in memory, in halos and in sums over all.

    Memory: bytes of an unknown * unknowns / bandwidth. A halo: latency + its bytes / bandwidth of the link, where
    lines of the counted program (64 numbers) are lines of the larger one. A sum: two trees of log₂ cards steps.
    """
    delay, link = (LATENCY_IN_NODE, IN_NODE) if cards <= NODE else (LATENCY_BEYOND, BEYOND)
    steps = 2 * math.ceil(math.log2(cards))
    halo = sums = 0.0
    for message, count in loop.always.items():
        if message.kind == "collective-permute":
            halo += count * (delay + message.bytes * side / 64 / link)
        else:
            sums += count * (steps * delay + message.bytes / link)
    return bytes_of_unknown * unknowns / MEMORY, halo, sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2048, help="rows a device")
    parser.add_argument("--wide", action="store_true", help="also larger problems")
    options = parser.parse_args()
    # Read when JAX first asks for its devices.
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={COUNT}"
    )
    jax.config.update("jax_enable_x64", True)
    weak_scaling(options.rows)
    iterations(options.wide)
    budget()


if __name__ == "__main__":
    main()
