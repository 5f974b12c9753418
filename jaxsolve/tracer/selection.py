"""Choices between values by a predicate that does not depend on the unknown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsolve.tracer import sums
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.products import keep
from jaxsolve.tracer.rule_registry import depends
from jaxsolve.tracer.value import Linear, is_zero


def choose(which: Any, cases: Sequence[Any], shape: tuple[int, ...], dtype: Any) -> Linear:
    """`lax.select_n`; a traced predicate keeps the entries of every case and scales them by 0 or 1."""
    picked, affine = [], False
    for k, case in enumerate(cases):
        if not depends(case):
            affine = affine or not is_zero(case)
            continue
        mask = OPAQUE if which is OPAQUE else np.asarray(which == k) if is_host(which) else which == k
        picked.append(keep(case, mask, dtype))
    return sums.add(picked, dtype, affine)
