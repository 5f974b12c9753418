"""Pose graphs in the plane: a noisy way over a lattice of streets with loop closures, some of them wrong."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp
import scipy.sparse.linalg as spl

import jaxsolve as js
from benchmarks.timing import medians, report

#: Noise of a step: along, across, of the heading; and the residuals from which a loss bends.
NOISE, SCALE = np.array([0.03, 0.03, 0.003]), 3.0
#: Loop closures that are wrong, of all.
WRONG = 0.02


class PoseGraph(NamedTuple):
    """Measured motions between poses (x, y, heading), the first of which is held at 0.

    Attributes:
        ends: From and to of each, shape (2, edges).
        motions: As measured, shape (edges, 3).
        truth: The poses, shape (n, 3).
        guess: Poses by dead reckoning.
    """

    ends: np.ndarray
    motions: np.ndarray
    truth: np.ndarray
    guess: np.ndarray


def _between(a: Any, b: Any, xp: Any) -> Any:
    """The pose b seen from a."""
    d, turned = b[..., :2] - a[..., :2], a[..., 2]
    c, s = xp.cos(turned), xp.sin(turned)
    moved = [c * d[..., 0] + s * d[..., 1], -s * d[..., 0] + c * d[..., 1], b[..., 2] - turned]
    return xp.stack(moved, axis=-1)


def pose_graph(count: int, seed: int = 0) -> PoseGraph:
    """A walk that turns at random on a lattice; where it comes back to a street, it is closed."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((count, 3))
    side = int(count**0.5 / 2)
    for k in range(1, count):
        x, y, heading = truth[k - 1]
        x, y = np.round(x + np.cos(heading)), np.round(y + np.sin(heading))
        out = max(abs(x), abs(y)) >= side
        turn = np.pi / 2 * (1 if out else rng.choice([-1, 0, 0, 0, 1]))
        truth[k] = x, y, heading + turn
    seen: dict[tuple[float, float], int] = {}
    closures = []
    for k, (x, y, _) in enumerate(truth):
        if seen.get((x, y), k) < k - 20:
            closures.append((seen[x, y], k))
        seen.setdefault((x, y), k)
    steps = np.stack([np.arange(count - 1), np.arange(1, count)])
    ends = np.concatenate([steps, np.array(closures).T], axis=1)
    motions = _between(truth[ends[0]], truth[ends[1]], np) + NOISE * rng.normal(size=(ends.shape[1], 3))
    wrong = count - 1 + rng.choice(len(closures), int(WRONG * len(closures)), replace=False)
    motions[wrong, :2] += rng.normal(0, 3, (len(wrong), 2))
    guess = np.zeros((count, 3))
    for k in range(1, count):
        x, y, heading = guess[k - 1]
        c, s, (along, across, turn) = np.cos(heading), np.sin(heading), motions[k - 1]
        guess[k] = x + c * along - s * across, y + s * along + c * across, heading + turn
    return PoseGraph(ends, motions, truth, guess)


def residuals(graph: PoseGraph) -> Any:
    """What differs from the measured motions in units of the noise, as a function of poses but the first."""
    a, b = graph.ends

    def differences(x: Any) -> Any:
        poses = jnp.concatenate([jnp.zeros((1, 3)), x.reshape(-1, 3)])
        error = _between(poses[a], poses[b], jnp) - graph.motions
        turn = jnp.arctan2(jnp.sin(error[:, 2]), jnp.cos(error[:, 2]))
        return (jnp.concatenate([error[:, :2], turn[:, None]], axis=1) / NOISE).ravel()

    return differences


def compare_poses(count: int, repeats: int) -> None:
    """Levenberg-Marquardt over sparse factors, beside SciPy and Gauss-Newton with SuperLU by hand."""
    graph = pose_graph(count)
    r, x0 = residuals(graph), jnp.asarray(graph.guess[1:].ravel())
    method = js.LevenbergMarquardt(js.Solve("sparse-direct"), loss="huber", scale=SCALE)
    run = jax.jit(lambda x: js.least_squares_info(r, js.Solve(method, x0=x, rtol=1e-3, max_iterations=100)))
    starts = iter(x0 + 1e-9 * jnp.arange(1, 100)[:, None])
    jacobian = _by_edges(graph, r)
    values = jax.jit(r)
    took = medians(
        {
            "jaxsolve": lambda: run(next(starts)).x,
            "by hand, SuperLU": lambda: by_hand(values, jacobian, np.asarray(next(starts)))[0],
        },
        repeats,
    )
    info, (x, steps) = run(x0), by_hand(values, jacobian, np.asarray(x0))
    name = f"{count} poses in the plane, {graph.ends.shape[1]} motions, huber"

    def row(contestant: str, seconds: float, x: Any, **further: Any) -> None:
        z = np.square(np.asarray(values(x)) / SCALE)
        cost = SCALE**2 / 2 * np.sum(np.where(z <= 1, z, 2 * np.sqrt(np.maximum(z, 1)) - 1))
        error = np.sqrt(np.mean((np.asarray(x).reshape(-1, 3) - graph.truth[1:])[:, :2] ** 2))
        report(
            problem=name,
            contestant=contestant,
            s=seconds,
            cost=f"{cost:.9g}",
            position_error=error,
            **further,
        )

    row("jaxsolve", took["jaxsolve"][1], info.x, iterations=int(info.iterations), status=info.status.name)
    row("Gauss-Newton by hand, SuperLU", took["by hand, SuperLU"][1], x, iterations=steps)
    begin = time.perf_counter()
    pattern = jacobian(np.asarray(x0))
    found = scipy.optimize.least_squares(
        lambda x: np.asarray(values(x)), np.asarray(x0), jac=jacobian, jac_sparsity=pattern, x_scale="jac",
        loss="huber", f_scale=SCALE, ftol=1e-8, max_nfev=200,
    )  # fmt: skip
    row("scipy trf", time.perf_counter() - begin, found.x, iterations=int(found.nfev), status=found.status)


def _by_edges(graph: PoseGraph, r: Any) -> Any:
    """The sparse Jacobian by six products: three for the ends from which motions lead, three for the others."""
    a, b = graph.ends
    n = len(graph.truth)

    def block(x: Any) -> Any:
        poses = jnp.concatenate([jnp.zeros((1, 3)), x.reshape(-1, 3)])
        one = jax.jacfwd(lambda p, q: _between(p, q, jnp) / NOISE, (0, 1))
        return jnp.stack(jax.vmap(one)(poses[a], poses[b]), axis=1)

    compiled = jax.jit(block)
    rows = np.broadcast_to(np.arange(3 * len(a)).reshape(-1, 1, 3, 1), (len(a), 2, 3, 3))
    columns = np.broadcast_to((3 * np.stack([a, b], 1) - 3)[:, :, None, None] + np.arange(3), rows.shape)
    kept = columns >= 0

    def jacobian(x: np.ndarray) -> sp.csr_matrix:
        entries = np.asarray(compiled(x))[kept]
        return sp.csr_matrix((entries, (rows[kept], columns[kept])), shape=(3 * len(a), 3 * n - 3))

    return jacobian


def by_hand(values: Any, jacobian: Any, x: np.ndarray, limit: int = 100) -> tuple[np.ndarray, int]:
    """Reweighted Gauss-Newton with a halving of steps that do not lower the cost."""

    def cost(r: np.ndarray) -> float:
        size = np.abs(r) / SCALE
        return float(np.sum(np.where(size <= 1, size**2, 2 * size - 1)))

    r = np.asarray(values(x))
    for k in range(limit):
        weight = np.minimum(1, SCALE / np.maximum(np.abs(r), 1e-12))
        J = jacobian(x)
        gradient = J.T @ (weight * r)
        d = spl.splu((J.T @ sp.diags(weight) @ J).tocsc(), permc_spec="MMD_AT_PLUS_A").solve(-gradient)
        t, before = 1.0, cost(r)
        while cost(np.asarray(values(x + t * d))) > before and t > 1e-6:
            t /= 2
        x = x + t * d
        r = np.asarray(values(x))
        if before - cost(r) <= 1e-8 * before:
            return x, k + 1
    return x, limit
