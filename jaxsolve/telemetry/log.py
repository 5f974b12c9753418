"""Logging: one line a solve on the logger `jaxsolve`, at debug."""

import logging
import math
import sys
from typing import Any

import jax
import numpy as np

from jaxsolve.core.results import SolveInfo, describe

LOGGER = logging.getLogger("jaxsolve")

#: Whether compiled programs log; part of the key under which JAX keeps them.
LOGGED = jax.make_user_context(False)


class _Console(logging.StreamHandler):
    """Writes to `sys.stderr` as it is when the line is written."""

    def __init__(self):
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s (%(levelname)s), %(asctime)s"))

    @property
    def stream(self) -> Any:
        return sys.stderr


def set_logging_level(level: int | str) -> None:
    """Sets what the logger `jaxsolve` lets through; at "debug" every solve writes a line, also inside jit.

    Programs that were compiled before are compiled again at "debug", since only then they hold the calls that log.
    Lines go to standard error unless the program has set up logging of its own.

    Args:
        level: A name ("debug", "info", "warning", ...) or a number of `logging`.

    Raises:
        ValueError: For an unknown name.
        TypeError: For what is neither a name nor a number.

    >>> set_logging_level("warning")
    """
    names = logging.getLevelNamesMapping()
    if isinstance(level, str):
        if level.upper() not in names:
            raise ValueError(
                f"unknown logging level {level!r}; known are {', '.join(name.lower() for name in names)}."
            )
        level = names[level.upper()]
    if not isinstance(level, int):
        raise TypeError(
            f"set_logging_level expects a name such as 'debug' or a number; got {type(level).__name__}."
        )
    LOGGER.setLevel(level)
    if not LOGGER.hasHandlers():
        LOGGER.addHandler(_Console())
    LOGGED.set_global(level <= logging.DEBUG)


def log(info: SolveInfo) -> None:
    """Writes the line of a solve."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        systems = max(math.prod(np.shape(info.code)), 1)
        unknowns = sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(info.x)) // systems
        seconds = "" if np.isnan(info.solve_time) else f", {info.solve_time:.3g} s"
        LOGGER.debug("%s, %d unknowns%s", describe(info, advice=False), unknowns, seconds)
