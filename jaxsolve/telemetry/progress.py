"""Progress: a bar for long solves, moved from inside the loop every few iterations."""

import dataclasses
import math
import threading
import time
import warnings
from typing import Any

import numpy as np
from jax import Array

from jaxsolve.core.optional import require
from jaxsolve.telemetry.callback_primitive import tell

#: A call from a compiled loop costs up to 0.6 ms, an iteration some 7 ns an unknown: every `WORK / n` iterations it
#: costs a percent of the loop.
WORK = 20_000_000
#: Small systems run through this many iterations in milliseconds.
SELDOM = 1000
#: Seconds between two drawings: a terminal is slower than a loop.
PAUSE = 0.1


@dataclasses.dataclass(frozen=True)
class Meter:
    """Where the progress of a solve goes. Static under jit; equal meters share a program and a bar.

    Attributes:
        label: What stands before the bar.
        every: Iterations between two updates.
    """

    label: str
    every: int

    @classmethod
    def for_size(cls, label: str, progress: bool | int, size: int) -> "Meter":
        """A meter for systems of `size` unknowns in all; an integer `progress` is the number of iterations itself.

        Raises:
            MissingBackendError: If tqdm is not installed.
        """
        _bar_class()
        if progress is not True:
            return cls(label, int(progress))
        return cls(label, min(max(1, WORK // max(size, 1)), SELDOM))

    def note(self, before: Array, k: Array, norm: Array, target: Array) -> None:
        """Moves the bar when `every` iterations have passed."""
        tell(self, k, norm, target, np.False_, due=k // self.every > before // self.every)

    def end(self, k: Array, norm: Array, target: Array) -> None:
        """Closes the bar, if the solve was long enough to have one."""
        tell(self, k, norm, target, np.True_)

    def __call__(self, k: Any, norm: Any, target: Any, done: Any) -> None:
        """Draws the bar: of a batch, for the finite system that has the farthest to go."""
        excess = np.ravel(norm) / np.maximum(np.ravel(target), np.finfo(np.ravel(norm).dtype).tiny)
        worst = int(np.argmax(np.where(np.isfinite(excess), excess, -1))) if excess.size else None
        with _LOCK:
            bar = _BARS.get(self)
            if bar is None and not np.all(done) and worst is not None:
                bar = _BARS[self] = _Bar(self.label)
            if bar is not None and worst is not None:
                bar.show(int(np.max(k)), float(np.ravel(norm)[worst]), float(np.ravel(target)[worst]))
            if bar is not None and np.all(done):
                _BARS.pop(self).close()


_BARS: dict[Meter, "_Bar"] = {}
_LOCK = threading.Lock()


class _Bar:
    """A tqdm bar in per cent of the way to the tolerance, which iterations cover on a logarithmic scale."""

    def __init__(self, label: str):
        self.first: float | None = None
        self.drawn = time.monotonic()
        shape = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"
        self.bar = _bar_class()(total=100, desc=label, bar_format=shape)

    def show(self, k: int, norm: float, target: float) -> None:
        if math.isfinite(norm):
            self.first = norm if self.first is None else max(self.first, norm)
        if self.first is None or not math.isfinite(norm):
            return
        way = math.log(self.first / target) if self.first > target > 0 else 0.0
        left = math.log(norm / target) if norm > target > 0 else 0.0
        self.bar.n = 100 if norm <= target else min(99, round(100 * (1 - left / way))) if way else 0
        self.bar.set_postfix_str(f"iteration {k}, residual {norm:.2e} of {target:.2e}", refresh=False)
        if time.monotonic() - self.drawn > PAUSE:
            self.drawn = time.monotonic()
            self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


def _bar_class() -> Any:
    # In notebooks `tqdm.auto` is the widget where ipywidgets are there; it warns where they are not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return require("tqdm.auto", "progress", "Solve(progress=True)").tqdm
