"""What the processes of a program tell each other while they set up a matrix."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxsolve.core.errors import StructureError


def shared(parts: Mapping[int, np.ndarray], count: int) -> Mapping[int, np.ndarray]:
    """Of the integers that this process has for its devices, those of all devices.

    Args:
        parts: An array for each device of this process.
        count: The number of devices of all.
    """
    if jax.process_count() == 1:
        return parts
    lengths = np.zeros(count, np.int32)
    for s, v in parts.items():
        lengths[s] = len(v)
    lengths = _sum(lengths)
    held = np.zeros((count, max(1, int(lengths.max()))), np.int64)
    for s, v in parts.items():
        held[s, : len(v)] = v
    # JAX would cut 64-bit integers to 32 where these are switched off.
    held = np.ascontiguousarray(_sum(held.view(np.int32))).view(np.int64)
    return {s: held[s, : lengths[s]] for s in range(count)}


def agreed(problem: str, facts: str) -> None:
    """Raises in all processes what is wrong in one of them, or that their facts differ.

    Args:
        problem: What is wrong in this one, "" for nothing.
        facts: What must be the same in all.

    Raises:
        StructureError: In words.
    """
    text = np.frombuffer(f"{problem}\0{facts}".encode(), np.uint8).astype(np.int64)
    count, mine = jax.process_count(), jax.process_index()
    told = shared({mine: text}, count)
    found = [bytes(v.astype(np.uint8)).decode().split("\0") for _, v in sorted(told.items())]
    for process, (wrong, _) in enumerate(found):
        if wrong:
            raise StructureError(wrong if count == 1 else f"process {process}: {wrong}")
    for process, (_, other) in enumerate(found):
        if other != found[0][1]:
            raise StructureError(
                f"processes 0 and {process} differ in starts or dtype: {found[0][1]} and {other}; these are the same "
                "in all."
            )


def _sum(v: np.ndarray) -> np.ndarray:
    """The sum over processes."""
    return np.asarray(multihost_utils.process_allgather(v)).sum(axis=0).astype(v.dtype)
