"""Which functions of the package one call passes through, for tests and for `benchmarks.overhead`."""

import collections
import gc
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jaxsolve as js

PACKAGE = str(pathlib.Path(js.__file__).parent)


def hops(run: Callable[[], Any]) -> list[tuple[str, str]]:
    """(file, function) of each Python call into the package, in order, of a run after two others."""
    run(), run()
    seen: list[tuple[str, str]] = []

    def see(frame: Any, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE):
            seen.append((name[len(PACKAGE) + 1 :], frame.f_code.co_qualname))

    # What the collector happens to free is none of this call's business.
    gc.collect()
    gc.disable()
    before = sys.getprofile()
    sys.setprofile(see)
    try:
        run()
    finally:
        sys.setprofile(before)
        gc.enable()
    return seen


def counted(walk: list[tuple[str, str]]) -> dict[str, int]:
    """Files, functions and calls of a walk."""
    counts = collections.Counter(walk)
    return {"files": len({name for name, _ in counts}), "functions": len(counts), "calls": len(walk)}
