"""The problems of `benchmarks.tracing` in the operations of PhiML, which are all that its tracer reads."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from phiml import math
from phiml.math import channel, instance, spatial

math.use("jax")

ZERO, EDGE, PERIODIC = (
    math.extrapolation.ZERO,
    math.extrapolation.ZERO_GRADIENT,
    math.extrapolation.PERIODIC,
)
HIGH, LOW, INNER = slice(1, None), slice(0, -1), slice(1, -1)


def line(x: Any, k: Any) -> Any:
    p = math.pad(x, {"x": (1, 1)}, ZERO)
    return k * (2 * x - p.x[2:] - p.x[:-2])


def fluxes(u: Any, k: Any, axes: str) -> Any:
    up, kp, out = (
        math.pad(u, dict.fromkeys(axes, (1, 1)), ZERO),
        math.pad(k, dict.fromkeys(axes, (1, 1)), EDGE),
        0,
    )
    for axis in axes:
        inner = dict.fromkeys(axes, INNER)
        high, low = {**inner, axis: HIGH}, {**inner, axis: LOW}
        flow = 0.5 * (kp[high] + kp[low]) * (up[high] - up[low])
        out = out - (flow[{axis: HIGH}] - flow[{axis: LOW}])
    return out


def dirichlet(u: Any, k: Any) -> Any:
    return fluxes(u, k, "xy")


def cube(u: Any, k: Any) -> Any:
    return fluxes(u, k, "xyz")


def periodic(u: Any, k: Any) -> Any:
    out = 0
    for axis in "xy":
        up, kp = (math.pad(v, {axis: (1, 1)}, PERIODIC) for v in (u, k))
        flow = 0.5 * (kp[{axis: HIGH}] + kp[{axis: LOW}]) * (up[{axis: HIGH}] - up[{axis: LOW}])
        out = out + flow[{axis: HIGH}] - flow[{axis: LOW}]
    return out


def convolution(u: Any, k: Any) -> Any:
    p, out = math.pad(u, {"x": (1, 1), "y": (1, 1)}, ZERO), 0
    m, n = u.shape.sizes
    for i in range(3):
        for j in range(3):
            out = out + k.a[i].b[j] * p.x[i : i + m].y[j : j + n]
    return out


def graph_of(n: int) -> Callable[[Any, Any], Any]:
    rng = np.random.default_rng(7)
    s, r = (
        math.wrap(rng.integers(0, n, 4 * n)[:, None], instance("edges"), channel(vector="nodes"))
        for _ in range(2)
    )

    def graph(x: Any, w: Any) -> Any:
        flow = w * (math.gather(x, s) - math.gather(x, r))
        into, out = (math.scatter(instance(nodes=n), at, flow, mode="add", default=0.0) for at in (r, s))
        return into - out

    return graph


def problem(name: str, n: int) -> tuple[Callable[[Any, Any], Any], Any, Any] | None:
    """The function, and the shapes of the unknown and of the parameter; None where PhiML has no such matrix."""
    axes = {"line": "x", "dirichlet": "xy", "periodic": "xy", "convolution": "xy", "cube": "xyz"}.get(name)
    if name == "graph":
        return graph_of(n), instance(nodes=n), instance(edges=4 * n)
    if axes is None:
        return None  # several arrays in and out
    x = spatial(**dict.fromkeys(axes, round(n ** (1 / len(axes)))))
    return globals()[name], x, channel(a=3, b=3) if name == "convolution" else x


def values(name: str, n: int) -> Callable[[Any], Any] | None:
    """The entries of the matrix as a function of the native parameters; compiled where PhiML can be."""
    found = problem(name, n)
    if found is None:
        return None
    f, x, shape = found

    def entries(params: tuple[jax.Array]) -> jax.Array:
        k = math.reshaped_tensor(params[0], list(shape))
        matrix, _ = math.matrix_from_function(
            f, math.zeros(x), k, auxiliary_args="w" if name == "graph" else "k"
        )
        data = matrix._values
        return jnp.asarray(data.native(data.shape))

    return entries if name == "graph" else jax.jit(entries)
