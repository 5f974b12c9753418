"""Branches by a predicate that does not depend on the unknown."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsolve.core.compat import Equation, prims
from jaxsolve.tracer.factors import OPAQUE, is_host
from jaxsolve.tracer.interpreter import within
from jaxsolve.tracer.rule_registry import Scope, depends, rule
from jaxsolve.tracer.selection import choose


@rule(prims.cond_p)
def _cond(scope: Scope, eqn: Equation, which: Any, *operands: Any) -> list[Any]:
    """A branch by a known predicate p: y = f_p(x); by a traced one y = Σ_k [p = k] f_k(x), linear where each branch is.

    >>> import jax, jaxsolve as js
    >>> A, _ = js.matrix_from_function(
    ...     lambda x, p: jax.lax.cond(p, lambda: 2 * x, lambda: -x), np.zeros(1), True
    ... )
    >>> A.todense()
    Array([[2.]], dtype=...)
    """
    branches = eqn.params["branches"]
    if is_host(which):
        return within(scope, eqn, branches[int(np.clip(int(which), 0, len(branches) - 1))], operands)
    if which is not OPAQUE:
        which = jnp.clip(jnp.asarray(which, jnp.int32), 0, len(branches) - 1)
    results = [within(scope, eqn, branch, operands) for branch in branches]
    return [_either(which, cases, v.aval) for *cases, v in zip(*results, eqn.outvars, strict=True)]


def _either(which: Any, cases: list[Any], out: Any) -> Any:
    if any(depends(case) for case in cases):
        return choose(which, cases, out.shape, out.dtype)
    if which is OPAQUE or any(case is OPAQUE for case in cases):
        return OPAQUE
    values = [jnp.broadcast_to(jnp.asarray(case, out.dtype), out.shape) for case in cases]
    return lax.select_n(which == 1, *values) if len(values) == 2 else lax.select_n(which, *values)
