"""What an operator tells of itself: products, entries, batch, dtype, host form, facts.

From the user's object to what is executed:

1. `conversion.as_operator` makes it an operator; one with flags or sizes among its leaves is sealed.
2. `astype` brings its values to the precision of the system; `batch_shape` says which axes of them are lanes.
3. `entries`, `dense_form` and `stored_entries` are asked where entries are needed. An operator that tells none of them
   is read by its products (`tracer.explicit_matrix`).
4. `layout` is what runs, `on_host` what SciPy's methods run.

Each has a default here, so that `shape`, `dtype` and `mv` are enough.
"""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.module import Module
from jaxsolve.core.traits import Traits
from jaxsolve.operators.host_products import HostOperator, compiled_products

if TYPE_CHECKING:
    from jaxsolve.operators.dense_matrix import DenseMatrix
    from jaxsolve.operators.dia import DiagonalsOperator
    from jaxsolve.operators.on_mesh import OnMesh
    from jaxsolve.operators.pattern import Pattern
    from jaxsolve.operators.sparse import SparseMatrix


class AbstractOperator(Module):
    """What is asked of an operator, with what follows from its products alone."""

    #: Whether its entries may be looked for in its products.
    readable: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The dtype of the entries."""

    @abc.abstractmethod
    def mv(self, x: Array) -> Array:
        """The product A x, of shape (m,)."""

    def multiply_columns(self, X: Array) -> Array:
        """The products A X with the columns of X, of shape (n, k)."""
        return jax.vmap(self.layout().mv, in_axes=1, out_axes=1)(X)

    @property
    def traits(self) -> Traits:
        """What is known of the matrix; nothing unless a subclass or `declare` says so."""
        return Traits()

    def entries(self) -> "SparseMatrix | None":
        """The matrix by its entries where it is known by them, else None: then they are read off the products."""
        return None

    @property
    def dense_form(self) -> "DenseMatrix | None":
        """The matrix as an array where it is one, else None."""
        return None

    @property
    def on_mesh(self) -> "OnMesh | None":
        """The operator where its parts lie on the devices of a mesh, else None."""
        return None

    def stored_entries(self) -> "tuple[Array, Pattern] | None":
        """The values in CSR order and their pattern where a layout holds them, else None."""
        return None

    def by_diagonals(self) -> "DiagonalsOperator | None":
        """The matrix by its diagonals where it is executed so, else None."""
        return None

    @property
    def known_bandwidth(self) -> tuple[int, int] | None:
        """How far entries reach below and above the main diagonal, None where their positions are not known."""
        return None

    @property
    def entry_count(self) -> int | None:
        """The number of stored entries, None where there are none."""
        return None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes that all arrays of a batch of matrices have; () for one matrix."""
        return ()

    def astype(self, dtype: Any) -> Any:
        """The operator with values in the precision of `dtype`, so that products convert nothing.

        Real values stay real in a complex system. Operators that do not know how stay as they are.
        """
        return self

    def on_host(self) -> HostOperator:
        """The SciPy operator with the same products, for one whose leaves are NumPy arrays.

        Known operators need NumPy alone. Others (functions) run their compiled product, which is started from inside
        of a callback: on the CPU, one at a time.
        """
        return compiled_products(self)

    def layout(self) -> Any:
        """The same map in the form that is fastest to apply many times."""
        return self

    @property
    def lanes_share_nothing(self) -> bool:
        """Whether products with many vectors read each number once for each of them, so that lanes share nothing."""
        parts = jax.tree.leaves(
            self, is_leaf=lambda part: part is not self and isinstance(part, AbstractOperator)
        )
        return all(part.lanes_share_nothing for part in parts if isinstance(part, AbstractOperator))

    def diagonal(self) -> Array:
        """The diagonal, of shape (min(m, n),). Costs n products unless the entries are told."""
        told = self.entries()
        return jnp.diagonal(self.as_matrix()) if told is None else told.diagonal()

    def known_diagonal(self) -> Array | None:
        """The diagonal, None where only n products would tell it."""
        if type(self).diagonal is not AbstractOperator.diagonal:
            return self.diagonal()
        told = self.entries()
        return None if told is None else told.diagonal()

    def as_matrix(self) -> Array:
        """The dense matrix of shape (m, n). Costs n products unless the entries are told."""
        told = self.entries()
        if told is not None:
            return told.as_matrix()
        return jax.vmap(self.mv, out_axes=1)(jnp.eye(self.shape[1], dtype=self.dtype))

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know, else None."""
        return None

    def leading_row_sums(self, count: int) -> Array | None:
        """The sums of the first rows, where they are cheap to know, else None."""
        return None

    def absolute_row_sums(self) -> Array | None:
        """The sum of |a_ij| over j for each row, where the entries are at hand, else None."""
        return None

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """The sum over j of term(a_ij, x_j) for each row i, where the entries are stored, else None.

        With a product as the term this is `mv`; other terms give |A||x|, norms of rows, or sums in higher precision.

        Args:
            term: Elementwise; 0 where a_ij is 0. Of a tuple of terms comes a tuple of sums.
            x: Shape (n,).
        """
        return None

    @property
    def most_entries(self) -> tuple[int, int] | None:
        """At most so many entries are in a row, and in a column; None where they are not stored."""
        return None

    def untold(self) -> str:
        """Why the entries are not known, for people."""
        return f"the products of a {type(self).__name__} do not tell."
