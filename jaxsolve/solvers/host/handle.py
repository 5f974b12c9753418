"""Handle: factors of SciPy's SuperLU, made and freed by one thread."""

import concurrent.futures
import contextlib
import weakref
from collections.abc import Callable
from typing import Any

#: SciPy keeps account of SuperLU's memory by thread, and frees nothing that another thread has allocated: 450 KB a
#: tridiagonal matrix of 1000 unknowns. Programs make factors in one thread and forget them in another. A single thread
#: costs no speed, as SuperLU factorises under the lock of the interpreter.
_WORKER = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="jaxsolve-superlu")


class Handle:
    """What `splu` or `spilu` returns; has its attributes.

    Args:
        routine: `scipy.sparse.linalg.splu` or `spilu`.
        matrix: Its first argument.
        options: Its other ones.

    Raises:
        RuntimeError: What the routine raises, for singular matrices.
    """

    def __init__(self, routine: Callable[..., Any], matrix: Any, **options: Any):
        # The only reference, so that the thread that empties the list frees the factors.
        self._box = [_WORKER.submit(routine, matrix, **options).result()]
        weakref.finalize(self, _free, self._box).atexit = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._box[0], name)


def _free(box: list[Any]) -> None:
    # At the end of the process the thread is gone, and so is all memory.
    with contextlib.suppress(RuntimeError):
        _WORKER.submit(box.clear)
