"""Compositions of JAX's transformations around a step, each beside the same thing written out in plain Python.

A step is a function (p, t, u) -> array: parameters p that are differentiated, a scalar t that differs from turn to
turn of a loop, and a scalar u that a loop carries. A composition makes a step of a step, so that compositions nest.
The plain form has no loop, branch or rule of JAX in it: derivatives of it are a reference.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

Step = Callable[[Any, Any, Any], Any]

#: What t is multiplied by in the turns of a loop.
TURNS = (0.7, 1.2)


def turns(t):
    """The values of t, in the dtype of t."""
    return t * jnp.asarray(TURNS, t.dtype)


def measure(x):
    """A real number that depends on every entry of x: what a loop carries on."""
    x = jnp.real(x).ravel()
    return jnp.mean(x * (1 + 0.3 * jnp.arange(x.size, dtype=x.dtype)))


def _in_turns(step: Step) -> Step:
    def written_out(p, t, u):
        return sum(step(p, each, u) for each in turns(t))

    return written_out


def _carried(step: Step) -> Step:
    def written_out(p, t, u):
        total = 0
        for each in turns(t):
            x = step(p, each, u)
            u, total = measure(x), total + x
        return total

    return written_out


def _scan(step: Step) -> Step:
    def scanned(p, t, u):
        def turn(u, each):
            x = step(p, each, u)
            return measure(x), x

        return lax.scan(turn, u, turns(t))[1].sum(0)

    return scanned


def _scan_of_parameters(step: Step) -> Step:
    # Here p is carried, so that nothing about it is a constant of the loop.
    def scanned(p, t, u):
        def turn(carry, each):
            p, u, total = carry
            x = step(p, each, u)
            return (p, measure(x), total + x), None

        zero = jnp.zeros_like(step(p, t, u))
        return lax.scan(turn, (p, u, zero), turns(t), reverse=False)[0][2]

    return scanned


def _map(step: Step) -> Step:
    return lambda p, t, u: lax.map(lambda each: step(p, each, u), turns(t)).sum(0)


def _vmap(step: Step) -> Step:
    return lambda p, t, u: jax.vmap(lambda each: step(p, each, u))(turns(t)).sum(0)


def _vmap_of_all(step: Step) -> Step:
    def batched(p, t, u):
        ps, us = (jnp.stack([v, v]) for v in (p, u))
        return jax.vmap(step)(ps, turns(t), us).sum(0)

    return batched


def _cond(step: Step) -> Step:
    return lambda p, t, u: lax.cond(
        t * p[1] > 0.6, lambda p: step(p, t, u), lambda p: 0.5 * step(p, 2 * t, u), p
    )


def _cond_written_out(step: Step) -> Step:
    return lambda p, t, u: jnp.where(t * p[1] > 0.6, step(p, t, u), 0.5 * step(p, 2 * t, u))


def _switch(step: Step) -> Step:
    branches = [lambda p, t, u: 2 * u * p[0] + 0 * step(p, t, u), step, lambda p, t, u: -step(p, t, u)]
    return lambda p, t, u: lax.switch((t > 0).astype(int), branches, p, t, u)


def _checkpoint(policy: Any) -> Callable[[Step], Step]:
    return lambda step: jax.checkpoint(step, policy=policy)


def _named(step: Step) -> Step:
    def inner(p, t, u):
        return checkpoint_name(step(p, t, u), "x")

    return jax.checkpoint(inner, policy=jax.checkpoint_policies.save_only_these_names("x"))


def _jit(step: Step) -> Step:
    return jax.jit(lambda p, t, u: step(p, t, u))


def _custom_vmap(step: Step) -> Step:
    ruled = jax.custom_batching.custom_vmap(lambda p, t, u: step(p, t, u))

    @ruled.def_vmap
    def rule(size, batched, *args):
        return jax.vmap(step, [0 if b else None for b in batched])(*args), True

    return ruled


def _fori(step: Step) -> Step:
    def looped(p, t, u):
        def turn(i, carry):
            u, total = carry
            x = step(p, turns(t)[i], u)
            return measure(x), total + x

        return lax.fori_loop(0, len(TURNS), turn, (u, jnp.zeros_like(step(p, t, u))))[1]

    return looped


def _while(step: Step) -> Step:
    def looped(p, t, u):
        def turn(carry):
            i, u, total = carry
            x = step(p, turns(t)[i], u)
            return i + 1, measure(x), total + x

        start = (0, u, jnp.zeros_like(step(p, t, u)))
        return lax.while_loop(lambda carry: carry[0] < len(TURNS), turn, start)[2]

    return looped


def _same(step: Step) -> Step:
    return step


class Composition(NamedTuple):
    """A transformation of steps, the same in plain Python, and how it may be differentiated."""

    of: Callable[[Step], Step]
    plain: Callable[[Step], Step]
    reverse: bool = True


COMPOSITIONS = {
    "nothing": Composition(_same, _same),
    "scan": Composition(_scan, _carried),
    "scan of parameters": Composition(_scan_of_parameters, _carried),
    "map": Composition(_map, _in_turns),
    "cond": Composition(_cond, _cond_written_out),
    "switch": Composition(_switch, _same),
    "checkpoint": Composition(_checkpoint(None), _same),
    "checkpoint of dots": Composition(_checkpoint(jax.checkpoint_policies.dots_saveable), _same),
    "checkpoint of all": Composition(_checkpoint(jax.checkpoint_policies.everything_saveable), _same),
    "checkpoint of names": Composition(_named, _same),
    "vmap": Composition(_vmap, _in_turns),
    "vmap of all": Composition(_vmap_of_all, _in_turns),
    # JAX does not transpose a `custom_vmap` outside of vmap.
    "custom_vmap": Composition(_custom_vmap, _same, reverse=False),
    "vmap of custom_vmap": Composition(lambda step: _vmap_of_all(_custom_vmap(step)), _in_turns),
    "jit": Composition(_jit, _same),
    "fori_loop": Composition(_fori, _carried),
    "while_loop": Composition(_while, _carried, reverse=False),
}


def nested(names: Sequence[str]) -> Composition:
    """The composition of compositions, the first outermost."""

    def of(step):
        return functools.reduce(lambda inner, name: COMPOSITIONS[name].of(inner), reversed(names), step)

    def plain(step):
        return functools.reduce(lambda inner, name: COMPOSITIONS[name].plain(inner), reversed(names), step)

    return Composition(of, plain, all(COMPOSITIONS[name].reverse for name in names))
