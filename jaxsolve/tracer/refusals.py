"""Refusals: programs that could not be read as sparse matrices, so that they are not tried again."""

import collections
from collections.abc import Hashable

from jaxsolve.core.compat import ClosedJaxpr, Tracer, lifted, open_jaxpr
from jaxsolve.operators.program import Program, digest

#: Programs that are remembered, the latest ones.
MOST = 256


class Refusals:
    """A memory of programs.

    A reading follows from the equations, the shapes, and the values of the constants that are not traced: two
    programs are the same here where all of these are. What was refused with other constants says nothing of the next.
    Keys alone: texts of programs and digests, which hold no arrays.
    """

    def __init__(self) -> None:
        self._known: collections.OrderedDict[Hashable, None] = collections.OrderedDict()
        self._lengths: set[int] = set()

    def holds(self, jaxpr: ClosedJaxpr) -> bool:
        """Whether this program was refused."""
        # Most programs differ from the remembered ones in their length, and need no key.
        return len(jaxpr.eqns) in self._lengths and _key(jaxpr) in self._known

    def add(self, jaxpr: ClosedJaxpr) -> None:
        """Remembers a program, in place of the oldest one if there are too many."""
        self._lengths.add(len(jaxpr.eqns))
        self._known[_key(jaxpr)] = None
        if len(self._known) > MOST:
            self._known.popitem(last=False)


def _key(jaxpr: ClosedJaxpr) -> Hashable:
    constants = open_jaxpr(jaxpr)[1]
    return Program(lifted(jaxpr)), tuple(None if isinstance(c, Tracer) else digest(c) for c in constants)
