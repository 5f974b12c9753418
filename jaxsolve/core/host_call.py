"""NumPy code run from inside jit: shapes, batches and errors of `jax.pure_callback` in one place."""

import collections
import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.buffer_callback import buffer_callback

_LOG = logging.getLogger("jaxsolve.host")

#: The exceptions that host code raised last, newest last; what a callback raises cannot leave a compiled program.
FAILURES: collections.deque[Exception] = collections.deque(maxlen=16)


def host_call(
    function: Callable[..., tuple[np.ndarray, ...]],
    results: Sequence[jax.ShapeDtypeStruct],
    failed: Sequence[Any],
    *arguments: Any,
) -> tuple[jax.Array, ...]:
    """The results of a NumPy function, in eager mode, jit and vmap.

    The function gets every argument with one leading batch axis more, of the length of the batch or of 1 where the
    argument is shared by it, and returns every result with a batch axis. A vmap of any depth is thus one call, and
    what is shared stays shared.

    Args:
        function: A pure function; hashable and equal to itself in later calls, or every call compiles anew.
        results: Shapes and dtypes of the results, without batch.
        failed: What each result is filled with when the function raises; the exception goes to `FAILURES` and to the
            log. (An exception that leaves a callback has undefined consequences, up to the end of the process.)
        arguments: Arrays. They reach the function as NumPy arrays: a callback must not touch JAX (it can deadlock).
    """
    arguments = tuple(jax.numpy.asarray(argument) for argument in arguments)
    call = _Call(
        function,
        tuple(argument.ndim for argument in arguments),
        tuple((result.shape, np.dtype(result.dtype)) for result in results),
        tuple(failed),
    )
    if jax.default_backend() == "cpu":
        return tuple(buffer_callback(_InPlace(call), tuple(results), vmap_method="expand_dims")(*arguments))
    return tuple(jax.pure_callback(call, tuple(results), *arguments, vmap_method="expand_dims"))


@dataclasses.dataclass(frozen=True)
class _Call:
    """The callback: flattens the batch, calls the function, catches what it raises."""

    function: Callable[..., tuple[np.ndarray, ...]]
    ranks: tuple[int, ...]
    results: tuple[tuple[tuple[int, ...], np.dtype], ...]
    failed: tuple[Any, ...]

    def __call__(self, *arguments: Any) -> tuple[np.ndarray, ...]:
        arrays = [np.asarray(argument) for argument in arguments]
        leads = [array.shape[: array.ndim - rank] for array, rank in zip(arrays, self.ranks, strict=True)]
        batch = np.broadcast_shapes(*leads) if any(leads) else ()
        size = math.prod(batch)
        try:
            flat = [_flat(array, lead, batch, size) for array, lead in zip(arrays, leads, strict=True)]
            values = self.function(*flat)
            return tuple(
                np.asarray(value, dtype).reshape(batch + shape)
                for value, (shape, dtype) in zip(values, self.results, strict=True)
            )
        except Exception as error:
            FAILURES.append(error)
            _LOG.warning("%s in %s on the host: %s", type(error).__name__, _name(self.function), error)
            return tuple(
                np.full(batch + shape, fill, dtype)
                for fill, (shape, dtype) in zip(self.failed, self.results, strict=True)
            )


@dataclasses.dataclass(frozen=True)
class _InPlace:
    """The same call on the buffers of a CPU program.

    `pure_callback` hands over JAX arrays that are still being copied, by the very threads that run programs: where as
    many programs as there are cores wait in callbacks for their arguments, none ever gets them (seen with arrays of
    8 MB in two threads on two cores).
    """

    call: _Call

    def __call__(self, context: Any, results: tuple[Any, ...], *arguments: Any) -> None:
        # Copies: the buffers belong to the program, which goes on when this returns.
        values = self.call(*(np.array(np.asarray(argument)) for argument in arguments))
        for result, value in zip(results, values, strict=True):
            np.asarray(result)[...] = value


def _flat(array: np.ndarray, lead: tuple[int, ...], batch: tuple[int, ...], size: int) -> np.ndarray:
    core = array.shape[len(lead) :]
    if all(length == 1 for length in lead):
        return array.reshape(1, *core)
    return np.broadcast_to(array, batch + core).reshape(size, *core)


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
