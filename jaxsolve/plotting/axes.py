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


def is_dark(ax: Any) -> bool:
    """Whether axes are drawn light on dark, told by the ink of labels: a notebook's page may shine through the axes."""
    red, green, blue, _ = matplotlib("colors", "is_dark").to_rgba(ink(ax))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5


def ink(ax: Any) -> Any:
    """The colour that labels of axes are written in."""
    return ax.xaxis.label.get_color()


def matplotlib(module: str, what: str) -> Any:
    """A module of matplotlib.

    Raises:
        MissingBackendError: If it is not installed.
    """
    return require(f"matplotlib.{module}", "plot", what)
