"""Pictures that commands write, where matplotlib is installed."""

import importlib
import importlib.util
from typing import Any

from jaxsolve.cli.inputs import UsageError


def pictures_missing() -> str:
    """Why there are no pictures, "" if there are."""
    return (
        ""
        if importlib.util.find_spec("matplotlib")
        else "pictures need matplotlib: pip install 'jaxsolve[plot]'"
    )


def matplotlib() -> Any:
    """The package matplotlib, imported when it is needed: that takes half a second.

    Raises:
        UsageError: If it is missing.
    """
    if pictures_missing():
        raise UsageError(f"{pictures_missing()}.")
    importlib.import_module("matplotlib.figure")
    return importlib.import_module("matplotlib")


def save(figure: Any, path: str) -> None:
    """Writes a figure.

    Raises:
        UsageError: If it cannot be written there.
    """
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise UsageError(f"the picture cannot be written to '{path}': {error}") from None
