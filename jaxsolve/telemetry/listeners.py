"""Listeners: who hears the solves of a thread, and how a compiled program finds them.

A program holds the number of a slot, not a tape: the slot belongs to the thread that made the first of its tapes, and
all tapes open in that thread hear what arrives there. The number is part of the key under which JAX keeps programs, so
a function that was compiled without a tape is compiled again under one, and once only: the next tape gets the same
slot. Threads that have tapes at the same time have different slots, and programs of their own.
"""

import contextlib
import dataclasses
import itertools
import logging
import threading
from typing import Any

import jax
import jax.core
import numpy as np
from jax import lax

from jaxsolve.core.results import SolveInfo
from jaxsolve.core.staging import staged
from jaxsolve.telemetry.history import Wish
from jaxsolve.telemetry.log import LOGGED, LOGGER, log

#: The slot and the wishes under which a program is traced.
_HEARD = jax.make_user_context(None)
_SLOTS: dict[int, list["Listening"]] = {}
_LOCK = threading.Lock()


class Listening:
    """One listener, open from `open` to `close`; what it has heard is in `heard`.

    Args:
        wish: What is to be recorded of the loop, None for nothing.
    """

    def __init__(self, wish: Wish | None):
        self.wish = wish
        self.heard: list[SolveInfo] = []
        # Opened inside a traced function it hears tracers, which the function may return.
        self.traced = staged()
        self._context: Any = None

    def open(self) -> None:
        """From here on all solves of this thread are heard."""
        mine = _MINE.everyone
        mine.append(self)
        if self.traced:
            return
        with _LOCK:
            if _MINE.slot is None:
                _MINE.slot = next(k for k in itertools.count() if k not in _SLOTS)
            _SLOTS[_MINE.slot] = [one for one in mine if not one.traced]
        self._context = _HEARD((_MINE.slot, _wish(mine)))
        self._context.__enter__()

    def close(self) -> None:
        """Solves from here on are not heard; waits for those that run."""
        self.wait()
        mine = _MINE.everyone
        mine.remove(self)
        if self.traced:
            return
        self._context.__exit__(None, None, None)
        with _LOCK:
            left = [one for one in mine if not one.traced]
            if left:
                _SLOTS[_MINE.slot] = left
            else:
                del _SLOTS[_MINE.slot]
                _MINE.slot = None

    def wait(self) -> None:
        """Waits until the programs that this thread has started have delivered all that they tell."""
        if not self.traced:
            # A program that failed says so where its result is used, not here.
            with contextlib.suppress(Exception):
                jax.effects_barrier()

    def hear(self, info: SolveInfo) -> None:
        """Notes a solve."""
        if self.wish is None:
            info = dataclasses.replace(info, trajectory=None)
        elif self.wish.norms_only and info.trajectory is not None:
            info = dataclasses.replace(info, trajectory=dataclasses.replace(info.trajectory, x=None))
        self.heard.append(info)


class _Mine(threading.local):
    """The listeners of this thread, first opened first."""

    def __init__(self):
        self.everyone: list[Listening] = []
        self.slot: Any = None


_MINE = _Mine()


@dataclasses.dataclass(frozen=True)
class Ear:
    """Who hears a solve. Static under jit.

    Attributes:
        slot: Where tapes hear what is concrete, None without such tapes.
        logged: Whether the log does.
        wish: What is to be recorded of the loop.
    """

    slot: int | None
    logged: bool
    wish: Wish | None

    def hear(self, info: SolveInfo) -> None:
        """Passes on a solve with concrete values; where the tapes are closed by now, nobody hears it."""
        if self.logged:
            log(info)
        # A copy of the list: another thread may be closing a tape.
        for one in tuple(_SLOTS.get(self.slot, ()) if self.slot is not None else ()):
            one.hear(info)

    @property
    def compiled(self) -> bool:
        """Whether programs must call back."""
        return self.slot is not None or self.logged

    def hear_traced(self, info: SolveInfo) -> None:
        """Passes on a solve, traced or not, to the tapes that are open inside a traced function."""
        for one in _MINE.everyone:
            if one.traced:
                one.hear(jax.tree.map(_cut, info))

    def quiet(self) -> contextlib.AbstractContextManager[Any]:
        """Inside, JAX finds the programs compiled while nobody listened."""
        stack = contextlib.ExitStack()
        stack.enter_context(_HEARD(None))
        stack.enter_context(LOGGED(False))
        return stack


def ear() -> Ear | None:
    """The listeners of a solve made now in this thread; None if there are none."""
    logged = LOGGER.isEnabledFor(logging.DEBUG)
    if not _MINE.everyone and not logged:
        return None
    return Ear(_MINE.slot, logged, _wish(_MINE.everyone))


def _wish(everyone: list[Listening]) -> Wish | None:
    wishes = [one.wish for one in everyone if one.wish is not None]
    if not wishes:
        return None
    return Wish(min(w.every for w in wishes), all(w.norms_only for w in wishes))


def _cut(leaf: Any) -> Any:
    # A value without its tangent belongs to the function around the derivative.
    traced = isinstance(leaf, jax.core.Tracer) and np.issubdtype(leaf.dtype, np.inexact)
    return lax.stop_gradient(leaf) if traced else leaf
