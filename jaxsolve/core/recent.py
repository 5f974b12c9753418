"""Recent: the latest of what was made, as many as fit into a number of objects and of bytes."""

import collections
import dataclasses
import threading
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from jaxsolve.core.compat import Tracer

#: Programs that one function of the package keeps.
PROGRAMS = 64
#: What a program of a solve is taken to take: resident memory grows by 2 to 9 MB for each.
PROGRAM_BYTES = 5 * 2**20
#: What the programs of one function, and the arrays that they refer to, may take together.
MOST_BYTES = 2**30

T = TypeVar("T")


class Recent(Generic[T]):
    """A dictionary that forgets what was used longest ago.

    A program keeps alive the patterns that its arguments are made of, and all that is remembered of these: their arrays
    count with those of the results, each once.

    Args:
        most: Objects kept at most.
        most_bytes: Bytes kept at most, the newest object excepted.
        each: Bytes of an object beside the arrays that it or its key refers to.
    """

    def __init__(self, most: int = PROGRAMS, most_bytes: int = MOST_BYTES, each: int = 0):
        self.most = most
        self.most_bytes = most_bytes
        self.each = each
        self._items: collections.OrderedDict[_Key, tuple[_Key, T]] = collections.OrderedDict()
        self._lock = threading.RLock()

    def find(self, *key: Hashable) -> T | None:
        """The object of a key, None where it is not (or no longer) here."""
        kept = _Key(key)
        kept.hash = hash(key)
        with self._lock:
            found = self._items.get(kept)
            if found is None:
                return None
            self._items.move_to_end(found[0])
            return found[1]

    def keep(self, value: T, *key: Hashable) -> T:
        """The object, kept for its key."""
        kept = _Key(key)
        kept.hash = hash(key)
        with self._lock:
            self._items.pop(kept, None)
            self._items[kept] = (kept, value)
            while len(self._items) > self.most or (len(self._items) > 1 and self.nbytes > self.most_bytes):
                self._items.popitem(last=False)
        return value

    def drop(self, *key: Hashable) -> None:
        """Forgets the object of a key now."""
        kept = _Key(key)
        kept.hash = hash(key)
        with self._lock:
            self._items.pop(kept, None)

    @property
    def nbytes(self) -> int:
        """The bytes that are kept."""
        return self.each * len(self._items) + array_bytes(*self._items.values())

    def __len__(self) -> int:
        return len(self._items)


class _Key(list):
    """A key that is hashed once: that of the arguments of a solve costs a microsecond."""

    __slots__ = ("hash",)

    hash: int

    def __hash__(self) -> int:
        return self.hash


def array_bytes(*things: Any) -> int:
    """The bytes of all arrays that these refer to, each counted once; also by structures of pytrees and by patterns.

    >>> ones = np.ones(3)
    >>> array_bytes(ones, {"again": [ones], "other": np.ones(2)})
    40
    """
    seen: dict[int, Any] = {}
    total, todo = 0, list(things)
    while todo:
        x = todo.pop()
        if id(x) in seen:
            continue
        seen[id(x)] = x
        if isinstance(x, np.ndarray | jax.Array):
            total += 0 if isinstance(x, Tracer) else x.nbytes
        elif isinstance(x, dict):
            todo += x.values()
        elif isinstance(x, list | tuple):
            todo += x
        elif isinstance(x, jax.tree_util.PyTreeDef):
            todo += x.node_data() or ()
            todo += x.children()
        elif dataclasses.is_dataclass(x) or type(x).__module__.startswith("jaxsolve."):
            todo += getattr(x, "__dict__", {}).values()
    return total
