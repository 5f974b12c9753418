"""What is observed of a solve: the watch on its loop, and the trajectory in the user's structures."""

import dataclasses
import math

import jax
import numpy as np

from jaxsolve.core.staging import is_traced
from jaxsolve.front.request import Solve
from jaxsolve.front.structures import Structures, unpacked
from jaxsolve.telemetry.history import UNKNOWN_LIMIT, History
from jaxsolve.telemetry.listeners import Ear
from jaxsolve.telemetry.progress import Meter
from jaxsolve.telemetry.trajectory import Trajectory
from jaxsolve.telemetry.watch import SILENT, Watch


def watch_for(solve: Solve, structures: Structures, method: str, ear: Ear | None) -> Watch:
    """What the open tapes and the request want to see of the loop.

    Raises:
        MissingBackendError: If a progress bar is asked for and tqdm is not installed.
    """
    wish = None if ear is None else ear.wish
    if wish is None and not solve.progress:
        return SILENT
    lanes, size = math.prod(structures.batch), structures.unknown.size
    history = None
    if wish is not None:
        history = History.fitting(wish, _limit(solve), lanes * size * structures.dtype.itemsize)
    meter = None
    if solve.progress:
        meter = Meter.for_size(method, solve.progress, lanes * size)
    return Watch(history, meter)


def _limit(solve: Solve) -> int:
    limit = solve.max_iterations
    own = UNKNOWN_LIMIT if is_traced(limit) else int(np.max(np.asarray(limit), initial=0))
    return own if solve.gradient_solve is None else max(own, _limit(solve.gradient_solve))


def shown(trajectory: Trajectory | None, structures: Structures) -> Trajectory | None:
    """A trajectory as it comes out of a solve, with iterates in the structure of x and batch axes first.

    Rows that were not used are dropped where the values are concrete.
    """
    if trajectory is None:
        return None
    concrete = not is_traced(trajectory.iterations)
    flat = trajectory.trimmed() if concrete else trajectory
    if structures.batch:
        flat = jax.tree.map(lambda v: v.reshape(*structures.batch, *v.shape[1:]), flat)
    if flat.x is None:
        return flat
    rows = flat.iterations.shape
    if concrete:
        return dataclasses.replace(flat, x=unpacked(structures.unknown, flat.x, rows))
    vectors = flat.x.reshape(math.prod(rows), -1)
    x = jax.tree.map(lambda v: v.reshape(*rows, *v.shape[1:]), jax.vmap(structures.unknown.unpack)(vectors))
    return dataclasses.replace(flat, x=x)
