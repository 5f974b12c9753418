"""Medians of interleaved runs, so that a noisy machine disturbs all contestants alike."""

import json
import time
from collections.abc import Callable
from typing import Any

import jax


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def medians(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """For each contestant (first, median) seconds: the first call compiles, the others take turns.

    An untimed run precedes each timed one, and every round starts with another contestant: what runs after one of a
    single thread (SciPy) finds the other cores asleep, which was measured to double its time.
    """
    first = {name: seconds(run) for name, run in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for turn in range(repeats):
        for k in range(len(order)):
            name = order[(k + turn) % len(order)]
            seconds(contestants[name])
            times[name].append(seconds(contestants[name]))
    return {name: (first[name], sorted(values)[len(values) // 2]) for name, values in times.items()}


def report(**row: Any) -> None:
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
