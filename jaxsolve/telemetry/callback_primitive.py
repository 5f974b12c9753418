"""tell: hands values of a running program to a Python listener, once for a whole batch, in the program's order."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxsolve.core.compat import can_be_ordered
from jaxsolve.core.shards import cond

tell_p = Primitive("tell")
tell_p.multiple_results = True

#: It is called with NumPy arrays and must not call JAX. It is hashed and compared, so that equal programs stay equal.
Listener = Callable[..., None]

# An effect keeps a call in its program though nothing uses its result; these are those of `jax.debug.callback`.
(_EFFECT,) = jax.make_jaxpr(lambda: jax.debug.callback(print))().effects
(_ORDERED,) = jax.make_jaxpr(lambda: jax.debug.callback(print, ordered=True))().effects

#: Whether programs may hold ordered calls; part of the key under which JAX keeps them.
ORDERLY = jax.make_user_context(True)


def disorder() -> None:
    """Says that a program which holds ordered calls is about to fail.

    Away from a CPU its token fails with it, and every later program that waits for the token fails with the old error.
    So programs are compiled anew there, with calls that wait for nothing and arrive in any order.
    """
    if jax.default_backend() != "cpu":
        ORDERLY.set_global(False)


def tell(listener: Listener, *values: Any, due: Any = True, ordered: bool = False) -> None:
    """Calls `listener(*values)` where `due`: at once in eager mode, when the program runs under jit.

    Args:
        listener: Gets NumPy arrays. Under vmap it is called once, with one more leading axis on every value.
        values: Arrays.
        due: Bool scalar; under vmap one lane suffices. Where it is false nothing leaves the device.
        ordered: Whether ordered calls of a program arrive in its order. On several devices none are ordered, since
            JAX refuses that there; of JAX 0.12 on, none in functions without arguments (`can_be_ordered`); none away
            from a CPU once a program has failed (`disorder`).
    """
    orderly = jax.device_count() == 1 and ORDERLY.value and can_be_ordered()
    static = {"always": due is True, "ordered": ordered and orderly}
    tell_p.bind(due, *values, listener=listener, **static)


@tell_p.def_impl
def _at_once(due, *values, listener, always, ordered):
    if np.any(np.asarray(due)):
        listener(*[np.asarray(value) for value in values])
    return []


@tell_p.def_effectful_abstract_eval
def _shapes(due, *values, listener, always, ordered):
    return [], {_ORDERED if ordered else _EFFECT}


def _batch(args, axes, **static):
    size = next(a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None)
    moved = [
        jnp.broadcast_to(a, (size, *jnp.shape(a))) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(args, axes, strict=True)
    ]
    tell_p.bind(*moved, **static)
    return [], []


def _jvp(primals, tangents, **static):
    tell_p.bind(*primals, **static)
    return [], []


def _compiled(due: Array, *values, listener, always, ordered):
    def call():
        jax.debug.callback(_Call(listener), *values, ordered=ordered)

    # A branch only where it is needed: XLA of JAX 0.12 stumbles over ordered calls in nested ones.
    if always:
        call()
    else:
        cond(jnp.any(due), call, lambda: None)
    return []


batching.primitive_batchers[tell_p] = _batch
ad.primitive_jvps[tell_p] = _jvp
mlir.register_lowering(tell_p, mlir.lower_fun(_compiled, multiple_results=True))


class _Call:
    """The callback: JAX hands it arrays of its own."""

    def __init__(self, listener: Listener):
        self.listener = listener

    def __call__(self, *values: Any) -> None:
        self.listener(*[np.asarray(value) for value in values])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and other.listener == self.listener

    def __hash__(self) -> int:
        return hash(self.listener)
