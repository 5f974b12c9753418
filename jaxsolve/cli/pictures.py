"""Pictures of runs and of the demo, by matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsolve.cli.outputs import matplotlib
from jaxsolve.cli.runs import Run

#: What a cell of the grid of outcomes shows, and its colour.
CLASSES = {"converged": "#4c9f70", "FALSE": "#d1263c", "stopped": "#e9c46a", "not run": "#e5e5e5"}

Curve = tuple[str, list[int], list[float], bool]


def convergence(curves: Sequence[Curve], rtol: float, title: str) -> Any:
    """Relative residuals over iterations, one line a solve; broken lines did not converge."""
    figure = matplotlib().figure.Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    draw_curves(axes, curves, rtol)
    axes.set_title(title)
    return figure


def draw_curves(axes: Any, curves: Sequence[Curve], rtol: float) -> None:
    """Draws residual histories into `axes`."""
    # Twenty colours, the dark ones first.
    colours = [matplotlib().colormaps["tab20"](k) for k in (*range(0, 20, 2), *range(1, 20, 2))]
    for k, (label, steps, residuals, converged) in enumerate(curves):
        style = {"linestyle": "-"} if converged else {"linestyle": ":", "alpha": 0.6}
        floor = np.maximum(np.asarray(residuals, float), 1e-17)
        axes.plot(
            steps, floor, label=label, color=colours[k % len(colours)], marker=".", markersize=3, **style
        )
    axes.axhline(rtol, color="0.4", linewidth=0.8, linestyle="--")
    axes.set(xlabel="iterations", ylabel="relative residual", yscale="log")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    # Residuals of methods that diverge are cut off here: beyond, nothing can be read off.
    axes.set_ylim(top=min(axes.get_ylim()[1], 1e4))
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize=7, ncols=1 + len(curves) // 24, loc="center left", bbox_to_anchor=(1, 0.5))


def demo(
    conductivity: Any,
    x: Any,
    curves: Sequence[Curve],
    rtol: float,
    path: Sequence[tuple[float, float]],
    truth: float,
) -> Any:
    """The demo in four fields: conductivity, solution, residuals over iterations, and the fit."""
    figure = matplotlib().figure.Figure(figsize=(12, 8), layout="constrained")
    (left, right), (below, last) = figure.subplots(2, 2)
    _field(figure, left, np.log10(conductivity), "log10 of the conductivity", "cividis")
    _field(figure, right, x, "solution", "magma")
    draw_curves(below, curves, rtol)
    below.set_title("relative residual")
    values, misfits = zip(*path, strict=True)
    last.semilogy(misfits, "o-", color="C0", label="misfit")
    last.set(
        xlabel="step of gradient descent",
        ylabel="relative misfit",
        title="fit of the inclusions' conductivity",
    )
    last.grid(alpha=0.3)
    other = last.twinx()
    other.plot(values, "s-", color="C1", label="fitted")
    other.axhline(truth, color="C1", linestyle="--", linewidth=0.8, label="true")
    other.set_ylabel("conductivity of the inclusions")
    last.legend(*_labels(last, other), loc="center")
    return figure


def _field(figure: Any, axes: Any, values: Any, title: str, colours: str) -> None:
    image = axes.imshow(np.asarray(values), cmap=colours, origin="lower")
    axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, shrink=0.9)


def _labels(*several: Any) -> tuple[list[Any], list[str]]:
    found = [axes.get_legend_handles_labels() for axes in several]
    return [handle for handles, _ in found for handle in handles], [
        text for _, texts in found for text in texts
    ]


def outcomes(runs: Sequence[Run]) -> Any:
    """A grid of matrices and methods coloured by what came of them."""
    matrices = list(dict.fromkeys(row.matrix for row in runs))
    ways = list(dict.fromkeys(row.way for row in runs))
    names = list(CLASSES)
    grid = np.full((len(matrices), len(ways)), names.index("not run"))
    for row in runs:
        grid[matrices.index(row.matrix), ways.index(row.way)] = names.index(_class(row))
    figure = matplotlib().figure.Figure(
        figsize=(2.5 + 0.3 * len(ways), 1.5 + 0.22 * len(matrices)), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.imshow(
        grid,
        cmap=matplotlib().colors.ListedColormap(list(CLASSES.values())),
        vmin=-0.5,
        vmax=len(names) - 0.5,
        aspect="auto",
    )
    axes.set_xticks(range(len(ways)), ways, rotation=90, fontsize=7)
    axes.set_yticks(range(len(matrices)), matrices, fontsize=7)
    for name, colour in CLASSES.items():
        axes.plot([], [], "s", color=colour, label=name)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), fontsize=7, frameon=False)
    return figure


def _class(row: Run) -> str:
    if row.false:
        return "FALSE"
    if row.converged:
        return "converged"
    return "not run" if row.iterations is None else "stopped"
