"""Axes to draw in: those given, or new ones."""

from typing import Any

from jaxsolve.core.optional import require


def axes_for(ax: Any, what: str, size: tuple[float, float]) -> Any:
    """`ax`, or the axes of a new figure where it is None.

    Args:
        ax: Matplotlib axes or None.
        what: What draws, for the message.
        size: Width and height of a new figure in inches.

    Raises:
        MissingBackendError: If matplotlib is not installed; the text names the extra.
    """
    pyplot = require("matplotlib.pyplot", "plot", what)
    if ax is not None:
        return ax
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def matplotlib(module: str, what: str) -> Any:
    """A module of matplotlib.

    Raises:
        MissingBackendError: If it is not installed.
    """
    return require(f"matplotlib.{module}", "plot", what)
