"""Staging: whether values are concrete, and how host index arrays enter a program without becoming its literals."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import primitives  # noqa: F401  (fails here, at import, where JAX is too old)

from jaxsolve.core.memo import by_identity

T = TypeVar("T")

#: Largest index array that may stand in a compiled program as a literal; above it XLA's constant handling shows
#: in the compile time (0.35 s for 20 MB).
LITERAL_BYTES = 65536


def is_traced(tree: Any) -> bool:
    """Whether any leaf of `tree` is a tracer (of jit, vmap or a derivative)."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def namespace(x: Any) -> Any:
    """The module of array functions for x: NumPy for its arrays, else jax.numpy; one formula serves both.

    >>> namespace(np.ones(2)).__name__, namespace(jnp.ones(2)).__name__
    ('numpy', 'jax.numpy')
    """
    return np if isinstance(x, np.ndarray) else jnp


def detached(tree: Any) -> Any:
    """`tree` without its gradients. Concrete leaves stay concrete, which `lax.stop_gradient` makes tracers of in jit.

    >>> known = jnp.ones(2)
    >>> jax.jit(lambda x: is_traced(detached(x)) and not is_traced(detached(known)))(1.0).item()
    True
    """
    return jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if is_traced(leaf) else leaf, tree)


def evaluated(tree: Any) -> contextlib.AbstractContextManager:
    """A context in which concrete values stay concrete in jit; one that does nothing where `tree` is traced.

    >>> known = jnp.ones(2)
    >>> def f(x):
    ...     with evaluated(known):
    ...         return x if is_traced(2 * known) else 2 * x
    >>> jax.jit(f)(1.0).item()
    2.0
    """
    return contextlib.nullcontext() if is_traced(tree) else jax.ensure_compile_time_eval()


def made_once(make: Callable[[], T], *known: Any) -> T:
    """What `make` makes of values, at once where these are known and a program around it is being traced.

    It is made by that program where values are traced, be it that only `make` itself holds such.
    """
    if staged() and not is_traced(known):
        with contextlib.suppress(jax.errors.UnexpectedTracerError), jax.ensure_compile_time_eval():
            return make()
    return make()


def staged() -> bool:
    """Whether the caller is being traced by `jit` (or scan, cond, ...), where new arrays are tracers too."""
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def index_array(host: np.ndarray) -> Array:
    """A host index array as a JAX array.

    In eager mode a device copy that is made once and kept as long as `host`. While staging, a literal up to
    `LITERAL_BYTES` and the result of a `pure_callback` above, so that no compiled program holds a large literal
    (the callback runs once per call of the program, outside its loops).

    Args:
        host: NumPy integer or bool array, not changed afterwards.
    """
    if not staged():
        return _on_device(host)
    if host.nbytes <= LITERAL_BYTES:
        return jnp.asarray(host)
    return jax.pure_callback(
        _Supply(host), jax.ShapeDtypeStruct(host.shape, _jax_dtype(host)), vmap_method="broadcast_all"
    )


class _Supply:
    """Returns one host array; compared by the array's identity so that equal programs stay equal."""

    def __init__(self, host: np.ndarray):
        self.host = host

    def __call__(self) -> np.ndarray:
        return np.asarray(self.host, _jax_dtype(self.host))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Supply) and other.host is self.host

    def __hash__(self) -> int:
        return id(self.host)


def _jax_dtype(host: np.ndarray) -> np.dtype:
    return jax.dtypes.canonicalize_dtype(host.dtype)


@by_identity
def _on_device(host: np.ndarray) -> Array:
    # `jnp.asarray` would compile a copy for each shape; what is put may keep its host array alive, so not this one.
    return jax.device_put(host.copy())
