"""What XLA is kept from: fusing windows of one array with what makes it, and starting factorisations at once."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsolve.core.staging import namespace


def runtime_one(x: Array) -> Array:
    """The number 1 in a form that the compiler cannot know, and one for all lanes of a vmap.

    With a number for each lane XLA duplicates what `apart` is to keep it from: in a batch of 16 a cycle took 11 ms a
    lane, with one number 3, as by itself.
    """
    return _one(lax.stop_gradient(x.reshape(-1)[0].real))


@jax.custom_batching.custom_vmap
def _one(number: Array) -> Array:
    # Whatever the number is, NaN too: one lane must not harm the others.
    certain = (number <= 0) | (number > -1) | (number != number)
    return jnp.where(certain, 1, 2).astype(number.dtype)


@_one.def_vmap
def _one_for_all(size: int, batched: list[bool], number: Array) -> tuple[Array, bool]:
    del size, batched
    return _one(jnp.max(number, initial=0)), False


def apart(x: Array, one: Array) -> Array:
    """x, computed once: x / one.

    XLA fuses chains of stencils on the CPU and recomputes the earlier ones in each window of the later ones
    (a cycle took 54 ms, its parts 9 ms, and compiled three times as long). It never duplicates a division. An
    optimisation barrier is removed before fusion and does not help.
    """
    one = one.astype(x.real.dtype)
    return lax.complex(x.real / one, x.imag / one) if jnp.iscomplexobj(x) else x / one


def whole(x: Array) -> Array:
    """x, `apart` from what is made of it; as it is on the host."""
    return apart(x, runtime_one(x)) if namespace(x) is jnp else x


def after(number: Array, data: Array) -> Array:
    """`data`, known only when a number is.

    XLA's CPU starts independent batched factorisations at once (and those of a loop that may never run, before it), and
    each waits for threads of one pool: with two threads, three of them wait for ever (jaxlib 0.10.2). A number next to
    never is the least one there is, and then does no harm.
    """
    limits = jnp.finfo(data.dtype)
    return data + jnp.where(number == -limits.max, limits.tiny, 0).astype(data.dtype)


@jax.custom_batching.custom_vmap
def somewhere(flag: Array) -> Array:
    """The flag; under vmap whether any lane has it, so that loops need not choose each lane's state."""
    return flag


@somewhere.def_vmap
def _somewhere_in_all(size: int, batched: list[bool], flag: Array) -> tuple[Array, bool]:
    del size, batched
    return somewhere(jnp.any(flag)), False
