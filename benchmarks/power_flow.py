"""Power flow on a generated grid: towns meshed inside, tied to their neighbours, a generator at every fifth bus."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsolve as js
from benchmarks.timing import medians, report, seconds
from jaxsolve.operators.sparse import SparseMatrix

#: A town has as many buses, a chain of streets and as many shortcuts.
TOWN, SHORTCUTS = 14, 7


class Grid(NamedTuple):
    """Buses and lines: bus 0 holds the angle, `controlled` buses their voltage.

    Attributes:
        ends: From and to of each line, shape (2, lines).
        admittance: Of lines, complex.
        injected: P and Q of each bus, those of generators known by P alone.
        angles: Buses of unknown angle.
        loads: Buses of unknown voltage.
    """

    ends: np.ndarray
    admittance: np.ndarray
    injected: np.ndarray
    angles: np.ndarray
    loads: np.ndarray


def grid(towns: int, seed: int = 0) -> Grid:
    """Towns on a square lattice, whose injections are those of a state of voltages near 1."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(towns)))
    lines = []
    for town in range(towns):
        first = town * TOWN
        lines += [(first + k, first + k + 1) for k in range(TOWN - 1)]
        lines += [tuple(first + rng.choice(TOWN, 2, replace=False)) for _ in range(SHORTCUTS)]
        east, south = town + 1, town + side
        if east % side and east < towns:
            lines.append((first + TOWN - 1, east * TOWN))
        if south < towns:
            lines.append((first + TOWN // 2, south * TOWN + TOWN // 2))
    ends = np.unique(np.sort(np.array(lines), axis=1), axis=0).T
    buses = towns * TOWN
    admittance = 1 / (rng.uniform(0.01, 0.03, ends.shape[1]) + 1j * rng.uniform(0.05, 0.15, ends.shape[1]))
    controlled = np.arange(0, buses, 5)
    voltage = np.where(np.isin(np.arange(buses), controlled), 1.0, rng.uniform(0.96, 1.02, buses))
    angle = np.concatenate([[0], rng.normal(0, 0.02, buses - 1)])
    P, Q = _flows(voltage, angle, ends, admittance, np)
    loads = np.setdiff1d(np.arange(buses), controlled)
    return Grid(ends, admittance, np.stack([P, Q]), np.arange(1, buses), loads)


def _flows(voltage: Any, angle: Any, ends: np.ndarray, admittance: np.ndarray, xp: Any) -> Any:
    """P and Q that leave each bus, summed up over its lines."""
    a, b = ends
    g, s = np.real(admittance), np.imag(admittance)
    turn, both = angle[a] - angle[b], voltage[a] * voltage[b]
    cosine, sine = both * xp.cos(turn), both * xp.sin(turn)
    forth = voltage[a] ** 2 * g - g * cosine - s * sine, -(voltage[a] ** 2) * s + s * cosine - g * sine
    back = voltage[b] ** 2 * g - g * cosine + s * sine, -(voltage[b] ** 2) * s + s * cosine + g * sine
    if xp is np:
        count = len(voltage)
        return [np.bincount(a, f, count) + np.bincount(b, t, count) for f, t in zip(forth, back, strict=True)]
    zero = jnp.zeros(voltage.shape[0])
    return [zero.at[a].add(f).at[b].add(t) for f, t in zip(forth, back, strict=True)]


def mismatch(grid: Grid) -> Any:
    """What is left of P and Q at unknown angles and voltages, as a function of (x, load factor)."""
    buses = grid.injected.shape[1]

    def left(x: Any, load: Any = 1.0) -> Any:
        angle = jnp.zeros(buses).at[grid.angles].set(x[: buses - 1])
        voltage = jnp.ones(buses).at[grid.loads].set(x[buses - 1 :])
        P, Q = _flows(voltage, angle, grid.ends, grid.admittance, jnp)
        P, Q = P - load * grid.injected[0], Q - load * grid.injected[1]
        return jnp.concatenate([P[grid.angles], Q[grid.loads]])

    return left


def by_hand(left: Any, x0: Any, rtol: float, limit: int = 10) -> Any:
    """Newton over a Jacobian of known pattern and `sparse-direct`, as one would write it."""
    pattern = js.linearize_operator(left, x0).pattern
    rows = jnp.asarray(np.asarray(pattern.rows))
    columns, colors = jnp.asarray(np.asarray(pattern.indices)), _colors(pattern)
    seeds = jnp.asarray(np.eye(colors.max() + 1)[colors].T)
    linear = js.Solve("sparse-direct", rtol=1e-8)

    @jax.jit
    def solve(x: Any) -> Any:
        def advance(carry: Any) -> Any:
            k, x, r = carry
            products = jax.vmap(jax.linearize(left, x)[1])(seeds)
            J = SparseMatrix(products[jnp.asarray(colors)[columns], rows], pattern)
            x = x - js.solve_linear_info(J, r, linear).x
            return k + 1, x, left(x)

        r = left(x)
        first = jnp.linalg.norm(r)
        return jax.lax.while_loop(
            lambda c: (jnp.linalg.norm(c[2]) > rtol * first) & (c[0] < limit), advance, (0, x, r)
        )

    return solve


def _colors(pattern: Any) -> np.ndarray:
    """Columns of one colour share no row (Curtis, Powell, Reid), greedily."""
    n = pattern.shape[1]
    rows, columns = np.asarray(pattern.rows), np.asarray(pattern.indices)
    in_row: list[list[int]] = [[] for _ in range(pattern.shape[0])]
    in_column: list[list[int]] = [[] for _ in range(n)]
    for i, j in zip(rows, columns, strict=True):
        in_row[i].append(j)
        in_column[j].append(i)
    colors = -np.ones(n, int)
    for j in range(n):
        taken = {colors[k] for i in in_column[j] for k in in_row[i]}
        colors[j] = next(c for c in range(n) if c not in taken)
    return colors


def compare_power_flow(towns: int, scenarios: int, repeats: int, rtol: float = 1e-8) -> None:
    """One operating point beside Newton by hand, and scenarios of load on one pattern."""
    left = mismatch(grid(towns))
    net = grid(towns)
    size = len(net.angles) + len(net.loads)
    x0 = jnp.concatenate([jnp.zeros(len(net.angles)), jnp.ones(len(net.loads))])
    zero = jnp.zeros(size)

    def own(x: Any, load: Any = 1.0) -> Any:
        return js.solve_nonlinear_info(left, zero, js.Solve("newton", x0=x, rtol=rtol), load)

    single, hand = jax.jit(own), by_hand(left, x0, rtol)
    loads = jnp.linspace(0.5, 1.05, scenarios)
    batch = jax.jit(jax.vmap(lambda load: own(x0, load)))
    # First guesses that differ, so that no factors are found again.
    shift = iter(x0 + 1e-9 * jnp.arange(1, 400)[:, None])
    took = medians({"own": lambda: single(next(shift)).x, "hand": lambda: hand(next(shift))[1]}, repeats)
    one, by_steps, many = single(x0), hand(x0), batch(loads)
    report(
        problem=f"power flow, {size} unknowns", s=took["own"][1], by_hand_s=took["hand"][1],
        ratio=took["own"][1] / took["hand"][1], iterations=int(one.iterations), by_hand=int(by_steps[0]),
        status=one.status.name, difference=float(jnp.abs(one.x - by_steps[1]).max()),
    )  # fmt: skip
    took_all = seconds(lambda: batch(loads + 1e-9).x)
    report(
        problem=f"power flow, {scenarios} scenarios", s=took_all, of_one=took_all / scenarios,
        iterations=int(many.iterations.max()), converged=int(many.converged.sum()),
    )  # fmt: skip
