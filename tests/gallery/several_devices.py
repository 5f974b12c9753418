"""Programs for several devices, which a process that has begun with one can't run: each in a process of its own."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

#: Devices of such a process.
COUNT = 4
_CASES: dict[str, Callable[[], Any]] = {}


def case(f: Callable[[], Any]) -> Callable[[], Any]:
    """A program under the name of its function."""
    _CASES[f.__name__] = f
    return f


def main() -> None:
    """Runs the programs named on the command line."""
    for name in sys.argv[1:]:
        _CASES[name]()
        print("right:", name, flush=True)


def run(file: str, *names: str, **settings: str) -> None:
    """Runs programs of a file in one process with several devices, and fails as they do."""
    environment = {
        **os.environ,
        "XLA_FLAGS": with_devices(COUNT),
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": own_paths(),
        **settings,
    }
    done = subprocess.run(
        [sys.executable, file, *names], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.stdout.split("\n")[:-1] == [f"right: {name}" for name in names], done.stderr[-5000:]


def with_devices(count: int) -> str:
    """XLA's flags for so many devices: those of this session, which compile cheaply, go to its processes too."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"


@functools.cache
def own_paths() -> str:
    """Where a process finds the package and these tests."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
