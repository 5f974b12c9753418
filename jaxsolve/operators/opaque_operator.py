"""Sealed: a user's operator whose sizes and flags stay what they are while its arrays are traced."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax import Array

from jaxsolve.core.traits import Traits
from jaxsolve.operators.host_products import HostOperator
from jaxsolve.operators.operator import LinearOperator


class Sealed(LinearOperator):
    """An operator taken apart into arrays and the rest.

    Args:
        arrays: Its numeric leaves.
        shell: The others, and the structure; compared with `==`.
    """

    arrays: list[Any]
    shell: "Shell" = eqx.field(static=True)

    @property
    def operator(self) -> LinearOperator:
        """The operator itself."""
        return self.shell.join(self.arrays)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.operator.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.operator.dtype

    @property
    def traits(self) -> Traits:
        """The operator's facts."""
        return self.operator.traits

    def mv(self, x: Array) -> Array:
        """The product A x."""
        return self.operator.mv(x)

    def transpose(self) -> LinearOperator:
        """The operator's own transpose."""
        return sealed(self.operator.transpose())

    def adjoint(self) -> LinearOperator:
        """The operator's own adjoint."""
        return sealed(self.operator.adjoint())

    def conj(self) -> LinearOperator:
        """The operator's own conjugate."""
        return sealed(self.operator.conj())

    def entries(self) -> Any:
        """The operator's own entries."""
        return self.operator.entries()

    @property
    def lanes_share_nothing(self) -> bool:
        """What a user's operator does is not known."""
        return False

    def diagonal(self) -> Array:
        """The operator's own diagonal."""
        return self.operator.diagonal()

    def known_diagonal(self) -> Array | None:
        """The operator's own diagonal where it knows one."""
        return self.operator.known_diagonal()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The operator's own batch."""
        return self.operator.batch_shape

    def astype(self, dtype: Any) -> LinearOperator:
        """The operator in another precision."""
        return sealed(self.operator.astype(dtype))

    def on_host(self) -> HostOperator:
        """The operator's own products on the host."""
        return self.operator.on_host()

    def as_matrix(self) -> Array:
        """The operator's own matrix."""
        return self.operator.as_matrix()

    def layout(self) -> LinearOperator:
        """The operator's own fast form."""
        return sealed(self.operator.layout())

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know."""
        return self.operator.magnitude()

    def leading_row_sums(self, count: int) -> Array | None:
        """The sums of the first rows, where they are cheap to know."""
        return self.operator.leading_row_sums(count)


class Shell:
    """The structure of a pytree and those of its leaves that are no numbers to trace."""

    def __init__(self, tree: Any):
        leaves, self.treedef = jax.tree.flatten(tree)
        self.rest = tuple(None if _traceable(leaf) else leaf for leaf in leaves)

    def join(self, arrays: list[Any]) -> Any:
        """The tree with these arrays."""
        values = iter(arrays)
        return jax.tree.unflatten(self.treedef, [next(values) if r is None else r for r in self.rest])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shell) and (self.treedef, self.rest) == (other.treedef, other.rest)

    def __hash__(self) -> int:
        return hash((self.treedef, self.rest))


def sealed(A: LinearOperator) -> LinearOperator:
    """A, sealed if it has leaves (integers, flags, strings) that must not be traced."""
    leaves = jax.tree.leaves(A)
    if all(map(_traceable, leaves)):
        return A
    return Sealed([leaf for leaf in leaves if _traceable(leaf)], Shell(A))


def _traceable(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)
