"""Memory: how much there is, and the refusal of what needs more, in words and before anything is allocated."""

import functools
import os
import pathlib

import jax
import numpy as np

from jaxsolve.core.errors import StructureError

#: What is chosen unasked takes at most this part of the memory.
SHARE = 0.5
#: Where Linux tells the limit of a container, "max" for none.
CONTAINER = pathlib.Path("/sys/fs/cgroup/memory.max")


def require_memory(needed: float, owner: str, what: str, instead: str, on_device: bool = False) -> None:
    """Refuses what would not fit.

    Args:
        needed: Bytes.
        owner: Who needs them: "`LU`", "preconditioner 'ilu'".
        what: For what.
        instead: What to do, a sentence.
        on_device: Whether they lie where JAX computes.

    Raises:
        StructureError: If there are fewer.

    >>> require_memory(1e3, "`LU`", "the factors of A", "Use 'GMres'.")
    """
    there = device_bytes() if on_device else available_bytes()
    if needed > there:
        place = "the device" if there < available_bytes() else "this machine"
        needs, has = (f"{size / 2**30:.2g} GiB" for size in (needed, there))
        raise StructureError(f"{owner} would need {needs} for {what}, and {place} has {has}. {instead}")


def available_bytes() -> float:
    """The memory of this machine, or of the container if that has less; infinite where it can't be asked for."""
    return min(_of_machine(), _of_container())


def device_bytes() -> float:
    """The memory where JAX computes: that of the accelerator, or that of the machine."""
    return min(available_bytes(), _of_accelerator(jax.default_backend()))


@functools.cache
def _of_machine() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return np.inf


@functools.cache
def _of_container() -> float:
    try:
        return float(CONTAINER.read_text())
    except (OSError, ValueError):
        return np.inf


@functools.cache
def _of_accelerator(backend: str) -> float:
    stats = None if backend == "cpu" else jax.local_devices(backend=backend)[0].memory_stats()
    return float((stats or {}).get("bytes_limit", np.inf))
