"""plot: how residuals fell."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxsolve.core.results import SolveInfo
from jaxsolve.core.staging import is_traced
from jaxsolve.front.request import preconditioner_name
from jaxsolve.plotting.axes import axes_for, ink
from jaxsolve.telemetry.tape import SolveTape
from jaxsolve.telemetry.trajectory import Trajectory

#: Systems of a batch that are drawn one by one; more are drawn by their quantiles.
SINGLY = 4


def plot(
    solves: SolveTape | SolveInfo | Iterable[SolveInfo],
    ax: Any = None,
    *,
    over: str = "iterations",
    labels: Iterable[str] | None = None,
) -> Any:
    """The axes of a picture of residual norms: one line a solve, on a logarithmic scale, with its tolerance dashed.

    The systems of a large batch are shown as their median, with a band from the 10th to the 90th percentile and a
    lighter one from the best to the worst. Solves that failed end in a cross, solves of gradients are dotted.

    Args:
        solves: A tape, a result, or several results, recorded with `SolveTape(record_trajectories=True)`.
        ax: Matplotlib axes to draw in; a new figure without them.
        over: What the horizontal axis shows: "iterations", or "time" in seconds for eager solves (whose time,
            compilation included where there was one, is divided evenly among their iterations).
        labels: Names for the legend; without them the methods, with their preconditioners.

    Returns:
        The Matplotlib axes that were drawn in.

    Raises:
        MissingBackendError: If matplotlib is not installed.
        ValueError: If there is nothing to draw, or no trajectory, or no time.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> with js.SolveTape(record_trajectories=True) as solves:
    ...     x = js.solve_linear(jnp.diag(jnp.arange(1.0, 9.0)), jnp.ones(8), js.Solve("CG"))
    >>> js.plot(solves).get_yscale()
    'log'
    """
    if over not in ("iterations", "time"):
        raise ValueError(f"over is 'iterations' or 'time'; got {over!r}.")
    infos = [solves] if isinstance(solves, SolveInfo) or not isinstance(solves, Iterable) else list(solves)
    for info in infos:
        if not isinstance(info, SolveInfo):
            raise TypeError(f"js.plot draws a SolveTape or SolveInfos; got a {type(info).__name__}.")
    if not infos:
        raise ValueError("there is nothing to plot: no solve was recorded.")
    names = [_label(info) for info in infos] if labels is None else list(labels)
    if len(names) != len(infos):
        raise ValueError(f"{len(infos)} solves need as many labels; got {len(names)}.")
    if labels is None and len(infos) > 1:
        names = [f"{k}: {name}" for k, name in enumerate(names)]
    curves = [_curve(info, over) for info in infos]
    ax = axes_for(ax, "js.plot", (6.4, 4.0))
    floor = _floor(curves)
    tolerances: dict[float, str] = {}
    for info, name, (steps, norms) in zip(infos, names, curves, strict=True):
        line = _draw(ax, steps, np.maximum(norms, floor), name, info)
        for target in np.unique(np.asarray(info.target)):
            tolerances.setdefault(float(target), line.get_color())
    _draw_tolerances(ax, tolerances, floor)
    ax.set(yscale="log", ylabel="residual norm ‖b - A x‖")
    ax.set_xlabel("iterations" if over == "iterations" else "time (s)")
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", frameon=False)
    return ax


def _label(info: SolveInfo) -> str:
    recipe = getattr(info.solve, "preconditioner", None)
    inverse = "" if recipe is None else f" + {preconditioner_name(recipe)}"
    kind = "" if info.kind == "solve" else f" ({info.kind})"
    return f"{info.method}{inverse}{kind}"


def _curve(info: SolveInfo, over: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps of shape (k,) and residual norms of shape (systems, k)."""
    if not isinstance(info.trajectory, Trajectory):
        raise ValueError(
            f"{info!r} has no trajectory: solve inside `with js.SolveTape(record_trajectories=True) as solves:`."
        )
    if is_traced(info.trajectory):
        raise ValueError(f"{info!r} is being traced: return it from the function, and plot what comes out.")
    trajectory = info.trajectory.trimmed()
    steps = trajectory.iterations.reshape(-1, len(trajectory))
    norms = trajectory.residual_norm.reshape(-1, len(trajectory))
    if len(norms) > SINGLY:
        # A system that is done keeps its residual while others go on.
        last = np.maximum.accumulate(np.where(np.isnan(norms), -1, np.arange(len(trajectory))), axis=1)
        norms = np.take_along_axis(norms, np.maximum(last, 0), axis=1)
    ticks = steps.max(axis=0).astype(float)
    if over == "time":
        if np.isnan(info.solve_time):
            raise ValueError(
                f"{info!r} has no time of its own: only eager solves do. Plot over='iterations'."
            )
        ticks *= float(info.solve_time) / max(ticks[-1], 1)
    return ticks, norms


def _floor(curves: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The height at which zero is drawn: a little below all other residuals."""
    values = np.concatenate([norms.reshape(-1) for _, norms in curves])
    positive = values[np.isfinite(values) & (values > 0)]
    return float(positive.min()) / 10 if positive.size else 1e-16


def _draw(ax: Any, steps: np.ndarray, norms: np.ndarray, name: str, info: SolveInfo) -> Any:
    style = "-" if info.kind == "solve" else ":"
    converged = np.ravel(np.asarray(info.converged))
    if len(norms) > SINGLY:
        lowest, low, median, high, highest = np.nanquantile(norms, [0, 0.1, 0.5, 0.9, 1], axis=0)
        (line,) = ax.plot(steps, median, style, label=f"{name}, median of {len(norms)}")
        ax.fill_between(steps, low, high, color=line.get_color(), alpha=0.3, linewidth=0)
        ax.fill_between(steps, lowest, highest, color=line.get_color(), alpha=0.12, linewidth=0)
        if not converged.all():
            ax.plot(steps[-1], highest[-1], "x", color=line.get_color())
        return line
    # Dots show single iterations as long as they do not touch.
    marker = "." if len(steps) <= 60 else ""
    lines = []
    for row, done in zip(norms, converged, strict=True):
        used = ~np.isnan(row)
        colour = lines[0].get_color() if lines else None
        look = {"color": colour, "alpha": 0.6 if lines else 1, "label": "" if lines else name}
        lines += ax.plot(steps[used], row[used], style, marker=marker, **look)
        if not done and used.any():
            ax.plot(steps[used][-1], row[used][-1], "x", markersize=8, color=lines[0].get_color())
    return lines[0]


def _draw_tolerances(ax: Any, tolerances: dict[float, str], floor: float) -> None:
    shown = {target: colour for target, colour in tolerances.items() if target > floor}
    if len(shown) > 2 * SINGLY:
        ax.axhspan(min(shown), max(shown), color="0.5", alpha=0.15, label="tolerances")
        return
    for k, (target, colour) in enumerate(shown.items()):
        tint, alpha = (ink(ax), 0.6) if len(shown) == 1 else (colour, None)
        ax.axhline(
            target, color=tint, alpha=alpha, linestyle="--", linewidth=0.8, label="" if k else "tolerance"
        )
