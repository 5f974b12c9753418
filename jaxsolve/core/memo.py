"""Memo: what is kept of results and of compiled programs, and for how long."""

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from jaxsolve.core.precision import in_full
from jaxsolve.core.recent import MOST_BYTES, PROGRAM_BYTES, PROGRAMS, Recent
from jaxsolve.core.shards import joined

T = TypeVar("T")


def per_object(f: Callable[..., T]) -> Callable[..., T]:
    """f, computed once for each object that is its first argument, with each of the further ones.

    What was computed is kept by the object itself and dies with it. In a dictionary by weak references a result that
    refers to its object would keep it alive for ever, as the lower part of a lower triangular pattern does: itself.

    Args:
        f: A function of an object that is never changed but in its `__dict__`, and of hashable arguments.

    >>> class Pair:
    ...     pass
    >>> calls = []
    >>> with_itself = per_object(lambda x, k: calls.append(k) or (x, k))
    >>> pair = Pair()
    >>> with_itself(pair, 1) is with_itself(pair, 1), calls
    (True, [1])
    """

    @functools.wraps(f)
    def remembered(x: Any, *further: Any) -> T:
        known = vars(x).setdefault("_remembered", {})
        key = (f, *further)
        try:
            return known[key]
        except KeyError:
            return known.setdefault(key, f(x, *further))

    return remembered


def recent(
    f: Callable[..., T] | None = None,
    most: int = PROGRAMS,
    most_bytes: int = MOST_BYTES,
    each: int = PROGRAM_BYTES,
) -> Any:
    """f of hashable arguments, its latest results kept; see `Recent` for the bounds.

    >>> double = recent(lambda x: 2 * x, most=1, each=0)
    >>> double(2), double(3)
    (4, 6)
    """
    if f is None:
        return functools.partial(recent, most=most, most_bytes=most_bytes, each=each)
    known: Recent[T] = Recent(most, most_bytes, each)

    @functools.wraps(f)
    def remembered(*args: Any) -> T:
        found = known.find(*args)
        return known.keep(f(*args), *args) if found is None else found

    return remembered


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

    @recent(most=PROGRAMS)
    def program(treedef: Any, shapes: tuple, fixed: tuple, named: tuple, axes: tuple) -> Any:
        def of_leaves(*leaves: Any) -> T:
            return in_full(f)(*fixed, *jax.tree.unflatten(treedef, leaves), **dict(named))

        return jax.jit(
            functools.update_wrapper(of_leaves, f, assigned=("__name__", "__qualname__"), updated=())
        )

    @functools.wraps(f)
    def call(*args: Any, **named: Any) -> T:
        leaves, treedef = jax.tree.flatten(args[static:])
        shapes = tuple([(np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves])
        return program(treedef, shapes, args[:static], tuple(named.items()), joined())(*leaves)

    return call
