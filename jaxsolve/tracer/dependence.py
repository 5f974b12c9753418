"""Dependence: which results of a jaxpr can depend on which of its inputs, seen through calls, branches and loops."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxsolve.core.compat import Equation, Jaxpr, Literal, called, open_jaxpr, prims, scan_parts, while_parts


def equations(jaxpr: Any) -> int:
    """The number of equations of a jaxpr, those of inner ones included (inner loops counted once)."""
    count = 0
    for eqn in open_jaxpr(jaxpr)[0].eqns:
        inner = [
            v for p in eqn.params.values() for v in (p if isinstance(p, tuple) else (p,)) if _is_jaxpr(v)
        ]
        count += 1 + sum(equations(j) for j in inner)
    return count


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, Jaxpr) or isinstance(open_jaxpr(value)[0], Jaxpr)


def dependent(jaxpr: Any, inputs: Sequence[bool]) -> list[bool]:
    """Which outputs of a jaxpr can depend on the marked inputs."""
    inner, _ = open_jaxpr(jaxpr)
    marked = {v for v, mark in zip(inner.invars, inputs, strict=True) if mark}
    for eqn in inner.eqns:
        flags = [not isinstance(v, Literal) and v in marked for v in eqn.invars]
        if any(flags):
            marked.update(v for v, mark in zip(eqn.outvars, _through(eqn, flags), strict=True) if mark)
    return [not isinstance(v, Literal) and v in marked for v in inner.outvars]


def steering(jaxpr: Any, inputs: Sequence[bool]) -> list[bool]:
    """Which integer (or boolean) inputs of a jaxpr decide where the marked inputs go: indices, branches, ...

    Not those that choose between two values of one place (`jnp.where`), since either may be there.
    """
    inner, _ = open_jaxpr(jaxpr)
    marked = {v for v, mark in zip(inner.invars, inputs, strict=True) if mark}
    flags: list[list[bool]] = []
    for eqn in inner.eqns:
        flags.append([not isinstance(v, Literal) and v in marked for v in eqn.invars])
        if any(flags[-1]):
            through = _through(eqn, list(flags[-1]))
            marked.update(v for v, mark in zip(eqn.outvars, through, strict=True) if mark)
    found: set[Any] = set()
    for eqn, reads in zip(reversed(inner.eqns), reversed(flags), strict=True):
        body = called(eqn)
        if any(v in found for v in eqn.outvars):
            steers = [True] * len(eqn.invars)
        elif not any(reads) or eqn.primitive is prims.select_n_p:
            continue
        else:
            steers = [True] * len(eqn.invars) if body is None else steering(body, reads)
        found.update(
            v for v, mark in zip(eqn.invars, steers, strict=True) if mark and not isinstance(v, Literal)
        )
        found = {v for v in found if _is_integer(v.aval.dtype)}
    return [v in found for v in inner.invars]


def _is_integer(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)


def _through(eqn: Equation, flags: list[bool]) -> list[bool]:
    """Which outputs of an equation can depend on its marked inputs."""
    inner = called(eqn)
    if inner is not None:
        return dependent(inner, flags)
    if eqn.primitive is prims.cond_p and not flags[0]:
        branches = [dependent(branch, flags[1:]) for branch in eqn.params["branches"]]
        return [any(marks) for marks in zip(*branches, strict=True)]
    if eqn.primitive is prims.scan_p:
        body = eqn.params["jaxpr"]
        return dependent(body, carried(body, flags, *scan_parts(eqn)))
    if eqn.primitive is prims.while_p:
        before, inside = while_parts(eqn)
        carries = len(flags) - before - inside
        flags[before:] = carried(eqn.params["body_jaxpr"], flags[before:], inside, carries)
        stops = dependent(eqn.params["cond_jaxpr"], flags[:before] + flags[before + inside :])
        return [True] * carries if any(stops) else flags[before + inside :]
    return [True] * len(eqn.outvars)


def carried(body: Any, flags: Sequence[bool], constants: int, carries: int) -> list[bool]:
    """Which inputs of a loop's body depend on the marked ones in some step."""
    flags, span = list(flags), slice(constants, constants + carries)
    for _ in range(carries + 1):
        after = [a or b for a, b in zip(flags[span], dependent(body, flags), strict=False)]
        if after == flags[span]:
            break
        flags[span] = after
    return flags
