"""Memo: what is kept of results and of compiled programs, and for how long."""

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from jaxsolve.core.precision import in_full

#: Programs that one function of the package keeps; one of a solve takes 2 to 9 MB.
PROGRAMS = 64

T = TypeVar("T")


def by_identity(f: Callable[[Any], T]) -> Callable[[Any], T]:
    """f, computed once for each object that is never changed but cannot be hashed; the result must not refer to it.

    >>> import numpy as np
    >>> calls, ones = [], np.ones(3)
    >>> total = by_identity(lambda v: calls.append(v.size) or v.sum())
    >>> float(total(ones)), float(total(ones)), calls
    (3.0, 3.0, [3])
    """
    known: dict[int, tuple[weakref.ref, T]] = {}

    @functools.wraps(f)
    def remembered(x: Any) -> T:
        key = id(x)
        entry = known.get(key)
        if entry is None or entry[0]() is not x:
            entry = (weakref.ref(x, lambda _: known.pop(key, None)), f(x))
            known[key] = entry
        return entry[1]

    return remembered


def compiled(f: Callable[..., T], static: int = 0) -> Callable[..., T]:
    """f compiled, with the programs that were used last kept and the others forgotten.

    JAX keeps programs as long as the function that they were made of, and a function of a package lives for ever: a
    loop over matrices of new patterns would fill the memory. So each structure of arguments gets a function of its own.

    Args:
        f: Function of pytrees of arrays.
        static: How many of the first arguments are no arrays; they are hashed, and so are arguments by name.

    >>> tripled = compiled(lambda x: 3 * x)
    >>> tripled(np.ones(2)).tolist()
    [3.0, 3.0]
    """

    @functools.lru_cache(maxsize=PROGRAMS)
    def program(treedef: Any, shapes: tuple, fixed: tuple, named: tuple) -> Any:
        def of_leaves(*leaves: Any) -> T:
            return in_full(f)(*fixed, *jax.tree.unflatten(treedef, leaves), **dict(named))

        return jax.jit(
            functools.update_wrapper(of_leaves, f, assigned=("__name__", "__qualname__"), updated=())
        )

    @functools.wraps(f)
    def call(*args: Any, **named: Any) -> T:
        leaves, treedef = jax.tree.flatten(args[static:])
        shapes = tuple([(np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves])
        return program(treedef, shapes, args[:static], tuple(named.items()))(*leaves)

    return call
