"""Turns: whether many vectors are multiplied one after the other, each in the cache, or all at once."""

import os
from typing import Any

import jax

from jaxsolve.operators.conversion import is_operator

#: Unknowns a core from which lanes are solved one after the other. `CG` on 16 coefficient fields, two cores, the whole
#: batch at once and lane by lane: 256 unknowns 1.3 and 1.5 ms, 1024 12 and 7, 4096 97 and 43, 16 384 730 and 490.
BUSY = 512


def take_turns(n: int, parts: Any) -> bool:
    """Whether lanes of n unknowns take turns, worked on by the operators in this tree: large sparse ones on a CPU."""
    # A batch that is spread over several devices is worked on where it is.
    if jax.default_backend() != "cpu" or jax.device_count() > 1 or n < BUSY * (os.cpu_count() or 1):
        return False
    operators = jax.tree.leaves(parts, is_leaf=is_operator)
    return all(part.lanes_share_nothing for part in operators if is_operator(part))
