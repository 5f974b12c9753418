"""Module: an Equinox module whose bound methods JAX can compile."""

import types
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


@jax.tree_util.register_pytree_node_class
class Bound:
    """A method of a module: a pytree of the arrays of its module, hashed and compared by their identity.

    JAX keeps what it compiles under the hash of the function. The bound method of Equinox is hashed and compared by the
    values of its arrays, which have no hash and, while traced, no truth value. Of equal functions that differ by
    identity one more is compiled, no more.

    Args:
        function: The function of the class.
        module: What it is a method of.

    >>> class Scale(Module):
    ...     factor: jax.Array
    ...
    ...     def mv(self, x):
    ...         return self.factor * x
    >>> jax.jit(Scale(jax.numpy.array(2.0)).mv)(3.0).item()
    6.0
    """

    def __init__(self, function: Callable[..., Any], module: Any):
        self.__func__ = function
        self.__self__ = module
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    @property
    def __wrapped__(self) -> Any:
        """The method as Python binds it, for its name, text and arguments."""
        return types.MethodType(self.__func__, self.__self__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    def __hash__(self) -> int:
        leaves, treedef = jax.tree.flatten(self.__self__)
        return hash((self.__func__, treedef, *map(id, leaves)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound) or self.__func__ is not other.__func__:
            return False
        (mine, structure), (others, other_structure) = map(jax.tree.flatten, (self.__self__, other.__self__))
        return structure == other_structure and all(a is b for a, b in zip(mine, others, strict=True))

    def __repr__(self) -> str:
        return f"{self.__self__!r}.{self.__func__.__name__}"

    def tree_flatten(self) -> tuple[tuple[Any], Any]:
        """The module, and its function."""
        return (self.__self__,), self.__func__

    @classmethod
    def tree_unflatten(cls, function: Any, children: Any) -> "Bound":
        """The method of another module of the structure."""
        return cls(function, children[0])


class Module(eqx.Module):
    """An Equinox module with methods of the kind `Bound`."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if type(value) is types.MethodType and value.__self__ is self and name[:2] != "__":
            return Bound(value.__func__, self)
        return value
