"""Pose graphs in space: poses around a sphere with loop closures, some of them wrong; a robust loss."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from scipy.spatial.transform import Rotation

import jaxsolve as js
from benchmarks.timing import medians, report

#: Noise of a measured motion, of translation and rotation, and the size from which residuals bend.
NOISE, SCALE = np.array([0.05, 0.05, 0.05, 0.02, 0.02, 0.02]), 3.0
#: Loop closures that are wrong, of all.
WRONG = 0.02
#: All stop where a step lowers the cost by no more than this part of it, or after so many.
ENOUGH, LIMIT = 1e-8, 200
#: Poses of one ring of the sphere.
RING = 25


class Sphere(NamedTuple):
    """Measured motions between poses [R t; 0 1], the first of which is held.

    Attributes:
        ends: From and to of each, shape (2, edges).
        motions: As measured, shape (edges, 4, 4).
        truth: The poses, shape (n, 4, 4).
        guess: Poses by dead reckoning.
    """

    ends: np.ndarray
    motions: np.ndarray
    truth: np.ndarray
    guess: np.ndarray


def _pose(turn: np.ndarray, place: np.ndarray) -> np.ndarray:
    T = np.tile(np.eye(4), (*place.shape[:-1], 1, 1))
    T[..., :3, :3], T[..., :3, 3] = turn, place
    return T


def sphere(count: int, seed: int = 0) -> Sphere:
    """Rings of poses from pole to pole; each is tied to the next, and to the one above it in the ring below."""
    rng = np.random.default_rng(seed)
    k = np.arange(count)
    around, up = 2 * np.pi * k / RING, np.pi * ((k + 0.5) / count - 0.5)
    turns = Rotation.from_euler("ZY", np.stack([around, -up], 1)).as_matrix()
    truth = _pose(turns, 10 * turns[..., 0])
    ends = np.concatenate([[k[:-1], k[1:]], [k[:-RING], k[RING:]]], axis=1)
    noise = NOISE * rng.normal(size=(ends.shape[1], 6))
    wrong = count - 1 + rng.choice(count - RING, int(WRONG * (count - RING)), replace=False)
    noise[wrong, :3] += rng.normal(0, 3, (len(wrong), 3))
    shaken = _pose(Rotation.from_rotvec(noise[:, 3:]).as_matrix(), noise[:, :3])
    motions = np.linalg.inv(truth[ends[0]]) @ truth[ends[1]] @ shaken
    guess = [truth[0]]
    for motion in motions[: count - 1]:
        guess.append(guess[-1] @ motion)
    return Sphere(ends, motions, truth, np.stack(guess))


def _differs(a: Any, b: Any, motion: Any) -> Any:
    """What the pose b seen from a differs by from a motion, in units of the noise; rotations by 2 sin θ/2 or so."""
    turn = jnp.swapaxes(motion[..., :3, :3], -1, -2) @ jnp.swapaxes(a[..., :3, :3], -1, -2)
    R = turn @ b[..., :3, :3]
    place = (jnp.swapaxes(a[..., :3, :3], -1, -2) @ (b[..., :3, 3:] - a[..., :3, 3:]))[..., 0]
    around = jnp.stack(
        [R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1
    )
    # sin θ / cos(θ/2) grows up to half a turn.
    half = jnp.sqrt(jnp.maximum(1 + R[..., 0, 0] + R[..., 1, 1] + R[..., 2, 2], 1e-9))
    return jnp.concatenate([place - motion[..., :3, 3], around / half[..., None]], axis=-1) / NOISE


def residuals(graph: Sphere) -> Callable[[Any], Any]:
    """What differs from the measured motions in units of the noise, as a function of poses but the first."""
    a, b = graph.ends

    def differences(x: Any) -> Any:
        poses = jnp.concatenate([graph.truth[:1], x])
        return _differs(poses[a], poses[b], graph.motions).ravel()

    return differences


def _moved(T: Any, step: Any) -> Any:
    """T exp(step) to first order for contestants that know no manifolds: R exp([w]), t + R v."""
    v, w = step[..., :3], step[..., 3:]
    square = jnp.sum(w * w, -1)[..., None, None] + 1e-24
    x, y, z = w[..., 0], w[..., 1], w[..., 2]
    o = jnp.zeros_like(x)
    turn = jnp.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*w.shape, 3)
    angle = jnp.sqrt(square)
    R = T[..., :3, :3] @ (
        jnp.eye(3) + jnp.sin(angle) / angle * turn + (1 - jnp.cos(angle)) / square * turn @ turn
    )
    t = T[..., :3, 3:] + T[..., :3, :3] @ v[..., None]
    return jnp.concatenate([jnp.concatenate([R, t], -1), T[..., 3:, :]], -2)


class ByEdges:
    """Residuals and their sparse Jacobian over steps from poses, by the blocks of each motion."""

    def __init__(self, graph: Sphere):
        a, b = graph.ends
        n, m = len(graph.truth), len(a)
        held = jnp.asarray(graph.truth[:1])

        def blocks(x: Any, z: Any) -> Any:
            poses = jnp.concatenate([held, x])
            steps = jnp.concatenate([jnp.zeros((1, 6)), z])

            def one(Ta: Any, Tb: Any, motion: Any, sa: Any, sb: Any) -> Any:
                return jax.jacfwd(lambda p, q: _differs(_moved(Ta, p), _moved(Tb, q), motion), (0, 1))(sa, sb)

            found = jax.vmap(one)(poses[a], poses[b], graph.motions, steps[a], steps[b])
            return jnp.stack(found, axis=1)

        r = residuals(graph)
        self.values = jax.jit(lambda x, z: r(_moved(x, z)))
        self.blocks = jax.jit(blocks)
        self.moved = jax.jit(_moved)
        rows = np.broadcast_to(np.arange(6 * m).reshape(-1, 1, 6, 1), (m, 2, 6, 6))
        columns = np.broadcast_to((6 * np.stack([a, b], 1) - 6)[:, :, None, None] + np.arange(6), rows.shape)
        self.kept = columns >= 0
        self.rows, self.columns, self.shape = rows[self.kept], columns[self.kept], (6 * m, 6 * n - 6)

    def jacobian(self, x: Any, z: Any) -> sp.csr_matrix:
        entries = np.asarray(self.blocks(x, z))[self.kept]
        return sp.csr_matrix((entries, (self.rows, self.columns)), shape=self.shape)


def cost(r: np.ndarray) -> float:
    """½ s² Σ ρ((r/s)²) by Huber."""
    size = np.abs(r) / SCALE
    return float(SCALE**2 / 2 * np.sum(np.where(size <= 1, size**2, 2 * size - 1)))


def by_hand(graph: ByEdges, x: Any) -> tuple[Any, int]:
    """Reweighted Gauss-Newton over SuperLU with a halving of steps that do not lower the cost."""
    zero = np.zeros((len(x), 6))
    r = np.asarray(graph.values(x, zero))
    for k in range(LIMIT):
        weight = np.minimum(1, SCALE / np.maximum(np.abs(r), 1e-12))
        J = graph.jacobian(x, zero)
        normal = (J.T @ sp.diags(weight) @ J).tocsc()
        d = spl.splu(normal, permc_spec="MMD_AT_PLUS_A").solve(-(J.T @ (weight * r))).reshape(-1, 6)
        t, before = 1.0, cost(r)
        while cost(np.asarray(graph.values(x, t * d))) > before and t > 1e-6:
            t /= 2
        x = graph.moved(x, t * d)
        r = np.asarray(graph.values(x, zero))
        if before - cost(r) <= ENOUGH * before:
            return x, k + 1
    return x, LIMIT


def compare_spheres(count: int, repeats: int) -> None:
    """Levenberg-Marquardt on SE(3) over sparse factors, beside SciPy and Gauss-Newton with SuperLU by hand.

    All end by the cost: jaxsolve judges by slopes, and its tolerance is the largest, of powers of 10^½, with which it
    ends no higher than the others' rule of 1e-8 would.
    """
    graph = sphere(count)
    r, x0 = residuals(graph), jnp.asarray(graph.guess[1:])
    edges = ByEdges(graph)
    method = js.LevenbergMarquardt(js.Solve("sparse-direct"), loss="huber", scale=SCALE)

    def solve(x: Any, rtol: Any) -> Any:
        return js.least_squares_info(
            r, js.Solve(method, x0=x, rtol=rtol, max_iterations=LIMIT), retract="SE3"
        )

    run = jax.jit(solve)
    x, steps = by_hand(edges, x0)
    reached = cost(np.asarray(r(x)))
    rtol = next(
        (
            t
            for t in 10.0 ** -np.arange(2, 6.5, 0.5)
            if cost(np.asarray(r(run(x0, t).x))) <= reached * (1 + ENOUGH)
        ),
        1e-6,
    )
    turns = iter(range(1, 1000))

    def start() -> Any:
        place = jnp.zeros((4, 4)).at[:3, 3].set(1e-9 * next(turns))
        return x0 + place

    took = medians(
        {"jaxsolve": lambda: run(start(), rtol).x, "by hand, SuperLU": lambda: by_hand(edges, start())[0]},
        repeats,
    )
    info = run(x0, rtol)

    def row(contestant: str, seconds: float, x: Any, **further: Any) -> None:
        places = np.asarray(x)[:, :3, 3] - graph.truth[1:, :3, 3]
        report(
            problem=f"{count} poses on a sphere, {graph.ends.shape[1]} motions, huber",
            contestant=contestant,
            s=seconds,
            cost=f"{cost(np.asarray(r(jnp.asarray(x)))):.9g}",
            position_error=float(np.sqrt(np.mean(places**2))),
            **further,
        )

    row(
        "jaxsolve",
        took["jaxsolve"][1],
        info.x,
        iterations=int(info.iterations),
        status=info.status.name,
        rtol=rtol,
    )
    row("Gauss-Newton by hand, SuperLU", took["by hand, SuperLU"][1], x, iterations=steps)
    row("scipy trf", *_by_scipy(edges, x0))
    if importlib.util.find_spec("jaxls") is None:
        report(problem="jaxls", left_out="it is not installed")


def _by_scipy(edges: ByEdges, x0: Any) -> tuple[float, Any]:
    """SciPy knows no manifolds: it moves by steps from the first guess, with their exact sparse Jacobian."""
    zero = np.zeros(edges.shape[1])
    edges.jacobian(x0, zero.reshape(-1, 6))
    jacobian: Any = lambda z: edges.jacobian(x0, z.reshape(-1, 6))  # noqa: E731
    begin = time.perf_counter()
    found = scipy.optimize.least_squares(
        lambda z: np.asarray(edges.values(x0, z.reshape(-1, 6))), zero,
        jac=jacobian, x_scale="jac", loss="huber", f_scale=SCALE,
        ftol=ENOUGH, xtol=1e-15, gtol=1e-15, max_nfev=LIMIT,
    )  # fmt: skip
    x = edges.moved(x0, found.x.reshape(-1, 6))
    report(scipy_evaluations=int(found.nfev), status=int(found.status))
    return time.perf_counter() - begin, x
