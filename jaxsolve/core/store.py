"""Store: host objects that programs refer to by the digest of what they are made from."""

import collections
import hashlib
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

#: Words of 32 bits in a digest: 64-bit integers do not exist where x64 is off.
DIGEST_WORDS = 4


def digest(values: np.ndarray) -> np.ndarray:
    """The digest of an array as four uint32. Costs about a second a gigabyte, half of that with SHA instructions.

    >>> bool((digest(np.ones(3)) == digest(np.ones(3))).all()), digest(np.ones(3)).shape
    (True, (4,))
    """
    contiguous = np.ascontiguousarray(values)
    # Nobody attacks the store; blake2b took twice as long (2.0 ms for 1.6 MB against 1.0).
    state = hashlib.sha1(usedforsecurity=False)
    state.update(f"{contiguous.dtype.str}{contiguous.shape}".encode())
    state.update(contiguous.reshape(-1).view(np.uint8).data)
    return np.frombuffer(state.digest(), np.uint32)[:DIGEST_WORDS]


class Store:
    """A dictionary with bounded memory that forgets what was used longest ago.

    A program holds a key, never an object: keys are digests of the values, so that calling twice, never or in any
    order is the same, as `jax.pure_callback` may. Nothing has to be released; a forgotten object is made again from
    the values.

    Args:
        most: Objects kept at least in one batch and at most in all (a batch of more raises the number to its own).
        most_bytes: Bytes kept at most, the newest object excepted.
    """

    def __init__(self, most: int, most_bytes: int):
        self.most = most
        self.most_bytes = most_bytes
        self.bytes = 0
        self.made = 0
        self._items: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._lock = threading.RLock()

    def find(self, key: Hashable) -> Any | None:
        """The object of a key, None where it is not (or no longer) here."""
        with self._lock:
            if key not in self._items:
                return None
            self._items.move_to_end(key)
            return self._items[key]

    def get(self, key: Hashable, make: Callable[[], Any], batch: int = 1) -> Any:
        """The object of a key, made where it is missing.

        Args:
            key: Digest of all that determines the object.
            make: Makes it; the object has `nbytes`.
            batch: How many objects are in use together.
        """
        found = self.find(key)
        if found is not None:
            return found
        # Made outside of the lock: two threads may make the same object, which costs time and nothing else.
        new = make()
        with self._lock:
            self.made += 1
            old = self._items.pop(key, None)
            self.bytes += new.nbytes - (0 if old is None else old.nbytes)
            self._items[key] = new
            while len(self._items) > max(self.most, 2 * batch) or (
                self.bytes > self.most_bytes and len(self._items) > 1
            ):
                self.bytes -= self._items.popitem(last=False)[1].nbytes
        return new

    def discard(self, key: Hashable) -> None:
        """Forgets one object now."""
        with self._lock:
            old = self._items.pop(key, None)
            self.bytes -= 0 if old is None else old.nbytes

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._items.clear()
            self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)
