"""What is observed of a solve: the watch on its loop, and the trajectory in the user's structures."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing
from jaxsolve.linear.problem import Problem
from jaxsolve.linear.request import Solve, method_name
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.telemetry.history import UNKNOWN_LIMIT, History, Trajectory
from jaxsolve.telemetry.listeners import Ear
from jaxsolve.telemetry.progress import Meter
from jaxsolve.telemetry.watch import SILENT, Watch


def watch_for(solve: Solve, problem: Problem, method: AbstractMethod, ear: Ear | None) -> Watch:
    """What the open tapes and the request want to see of the loop.

    Raises:
        MissingBackendError: If a progress bar is asked for and tqdm is not installed.
    """
    wish = None if ear is None else ear.wish
    if wish is None and not solve.progress:
        return SILENT
    lanes, size = math.prod(problem.batch), problem.A.shape[1]
    history = None
    if wish is not None:
        history = History.fitting(wish, _limit(solve), lanes * size * problem.b.dtype.itemsize)
    meter = None
    if solve.progress:
        meter = Meter.for_size(method_name(method), solve.progress, lanes * size)
    return Watch(history, meter)


def _limit(solve: Solve) -> int:
    limit = solve.max_iterations
    own = UNKNOWN_LIMIT if is_traced(limit) else int(np.max(np.asarray(limit), initial=0))
    return own if solve.gradient_solve is None else max(own, _limit(solve.gradient_solve))


def shown(trajectory: Trajectory | None, problem: Problem) -> Trajectory | None:
    """A trajectory as it comes out of a solve, with iterates in the structure of x and batch axes first.

    Rows that were not used are dropped where the values are concrete.
    """
    if trajectory is None:
        return None
    concrete = not is_traced(trajectory.iterations)
    flat = trajectory.trimmed() if concrete else trajectory
    if problem.batch:
        flat = jax.tree.map(lambda v: v.reshape(*problem.batch, *v.shape[1:]), flat)
    if flat.x is None:
        return flat
    rows = flat.iterations.shape
    if concrete:
        return dataclasses.replace(flat, x=unpacked(problem.unknown, flat.x, rows))
    vectors = flat.x.reshape(math.prod(rows), -1)
    x = jax.tree.map(lambda v: v.reshape(*rows, *v.shape[1:]), jax.vmap(problem.unknown.unpack)(vectors))
    return dataclasses.replace(flat, x=x)


def unpacked(packing: Packing, values: np.ndarray, batch: tuple[int, ...]) -> Any:
    """The tree of a (batch of) flat NumPy vectors; no JAX, since this runs inside callbacks."""
    leaves = packing.parts(values)
    leaves = [v.reshape((*batch, *shape)) for v, shape in zip(leaves, packing.shapes, strict=True)]
    return jax.tree.unflatten(packing.treedef, leaves)
