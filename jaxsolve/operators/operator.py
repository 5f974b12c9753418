"""LinearOperator: the base of everything that can be solved or applied."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul
from jaxsolve.operators.host_products import HostOperator, Products, combined
from jaxsolve.operators.operands import check_scalar, column, declaration, on_parts, row, transposed_product
from jaxsolve.operators.protocol import AbstractOperator


class LinearOperator(AbstractOperator):
    """A linear map from vectors of shape (n,) to vectors of shape (m,).

    Subclass it with `shape`, `dtype` and `mv`; all else follows: the transpose by reverse mode, and entries, where a
    method or a preconditioner needs them, by reading `mv` as functions are read. What a subclass says itself is
    believed: `entries()`, a `SparseMatrix`; `diagonal()`; `transpose()`; `traits`; `magnitude()`, the largest entry;
    `batch_shape`, the leading axes that all its arrays have; `astype(dtype)`; `on_host()`, the SciPy operator;
    `layout()`, what is applied instead. With entries it is chosen for as a sparse matrix is, and applied by its `mv`.
    The subclass is an Equinox module: its array fields are differentiated, batched and traced like any pytree.

    Raises:
        StructureError: From a product with a vector of another shape than (n,).

    Cost: that of `mv` a product, and of the transpose about as much; n products for `diagonal` and `as_matrix`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> class Shift(js.LinearOperator):
    ...     n: int
    ...     shape = property(lambda self: (self.n, self.n))
    ...     dtype = property(lambda self: jnp.zeros(()).dtype)
    ...
    ...     def mv(self, x):
    ...         return 3 * x - jnp.roll(x, 1)
    >>> A = Shift(4)
    >>> x = js.solve_linear(A, jnp.ones(4))
    >>> bool(jnp.allclose(A @ x, 1, atol=1e-4))
    True
    """

    #: NumPy's arrays and numbers leave `v @ A` and `v * A` to the operator.
    __array_ufunc__ = None

    def declare(self, **traits: bool) -> "LinearOperator":
        """The same operator with declared traits: `symmetric`, `hermitian`, `positive_definite`, `lower`, ..."""
        return Declared(self, declaration(self, traits))

    def transpose(self) -> "LinearOperator":
        """The transpose (without conjugation)."""
        return Transposed(self)

    def adjoint(self) -> "LinearOperator":
        """The conjugate transpose."""
        return self.transpose().conj()

    def conj(self) -> "LinearOperator":
        """The entrywise complex conjugate."""
        if not jnp.issubdtype(self.dtype, jnp.complexfloating):
            return self
        return Conjugated(self)

    @property
    def T(self) -> "LinearOperator":
        """The transpose."""
        return self.transpose()

    @property
    def H(self) -> "LinearOperator":
        """The conjugate transpose."""
        return self.adjoint()

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, LinearOperator):
            return Product(self, other)
        return self.mv(column(self, other))

    def __rmatmul__(self, other: Any) -> Array:
        return self.transpose().mv(row(self, other))

    def __add__(self, other: "LinearOperator") -> "LinearOperator":
        return Sum(self, _summand(self, other))

    def __sub__(self, other: "LinearOperator") -> "LinearOperator":
        return Sum(self, Scaled(_summand(self, other), -1))

    def __mul__(self, factor: Any) -> "LinearOperator":
        return Scaled(self, factor)

    def __rmul__(self, factor: Any) -> "LinearOperator":
        return Scaled(self, factor)

    def __truediv__(self, divisor: Any) -> "LinearOperator":
        return Scaled(self, 1 / divisor)

    def __neg__(self) -> "LinearOperator":
        return Scaled(self, -1)


def _summand(A: LinearOperator, other: Any) -> LinearOperator:
    """What is added to an operator, which is one."""
    if not isinstance(other, LinearOperator):
        raise TypeError(
            f"an operator of shape {A.shape} and a {type(other).__name__} do not add; make it an operator: "
            "js.DenseMatrix(M), js.SparseMatrix.from_scipy(M), c * js.Identity(n)."
        )
    return other


class Wrapper(LinearOperator):
    """An operator that changes something about another one."""

    operator: eqx.AbstractVar[LinearOperator]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.operator.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.operator.dtype


class Declared(Wrapper):
    """An operator with declared traits."""

    operator: LinearOperator
    declared: Traits = eqx.field(static=True)

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.declared

    def entries(self) -> Any:
        told = self.operator.entries()
        return None if told is None else type(told)(told.data, told.pattern, self.declared)

    @property
    def dense_form(self) -> Any:
        found = self.operator.dense_form
        return None if found is None else type(found)(found.matrix, self.declared)

    def stored_entries(self) -> Any:
        return self.operator.stored_entries()

    @property
    def known_bandwidth(self) -> tuple[int, int] | None:
        return self.operator.known_bandwidth

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.operator.batch_shape

    def on_host(self) -> HostOperator:
        return self.operator.on_host()

    def untold(self) -> str:
        return self.operator.untold()

    def mv(self, x: Array) -> Array:
        """The product A x."""
        return self.operator.mv(x)

    def transpose(self) -> LinearOperator:
        """The transpose; a symmetric operator is its own."""
        return self if self.declared.symmetric else Declared(self.operator.T, self.declared.T)

    def conj(self) -> LinearOperator:
        """The entrywise complex conjugate."""
        return Declared(self.operator.conj(), self.declared)

    def diagonal(self) -> Array:
        """The diagonal."""
        return self.operator.diagonal()

    def known_diagonal(self) -> Array | None:
        return self.operator.known_diagonal()

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return self.operator.as_matrix()

    def layout(self) -> LinearOperator:
        """The fast form, with the same traits."""
        return Declared(self.operator.layout(), self.declared)

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know."""
        return self.operator.magnitude()

    def leading_row_sums(self, count: int) -> Array | None:
        """The sums of the first rows, where they are cheap to know."""
        return self.operator.leading_row_sums(count)

    def row_sums(self, term: Callable[[Array, Array], Any], x: Array) -> Any:
        """Sums over the entries of each row, where they are stored."""
        return self.operator.row_sums(term, x)

    @property
    def most_entries(self) -> tuple[int, int] | None:
        """At most so many entries are in a row, and in a column."""
        return self.operator.most_entries


class Transposed(Wrapper):
    """The transpose of an operator, by JAX's transposition of its product."""

    operator: LinearOperator

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows."""
        m, n = self.operator.shape
        return n, m

    @property
    def traits(self) -> Traits:
        """The facts about the transpose."""
        return self.operator.traits.T

    def mv(self, x: Array) -> Array:
        """The product Aᵀ x."""
        if jnp.iscomplexobj(x) and not jnp.issubdtype(self.operator.dtype, jnp.complexfloating):
            return on_parts(self._pulled, x)
        return self._pulled(x)

    def _pulled(self, x: Array) -> Array:
        zeros = jnp.zeros(self.operator.shape[1], common(self.operator.dtype, x.dtype))
        return transposed_product(self.operator.mv, zeros, x)

    def transpose(self) -> LinearOperator:
        """The operator itself."""
        return self.operator

    def diagonal(self) -> Array:
        """The diagonal."""
        return self.operator.diagonal()

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return self.operator.as_matrix().T

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know."""
        return self.operator.magnitude()

    def entries(self) -> Any:
        told = self.operator.entries()
        return None if told is None else told.T

    def on_host(self) -> HostOperator:
        return self.operator.on_host().T


class Conjugated(Wrapper):
    """The entrywise conjugate of an operator."""

    operator: LinearOperator

    @property
    def traits(self) -> Traits:
        """The facts of the operator."""
        return self.operator.traits

    def mv(self, x: Array) -> Array:
        """The product conj(A) x."""
        return jnp.conj(self.operator.mv(jnp.conj(x)))

    def transpose(self) -> LinearOperator:
        """The conjugate of the transpose."""
        return Conjugated(self.operator.T)

    def conj(self) -> LinearOperator:
        """The operator itself."""
        return self.operator

    def diagonal(self) -> Array:
        """The diagonal."""
        return jnp.conj(self.operator.diagonal())

    def magnitude(self) -> Array | None:
        """The largest absolute entry where it is cheap to know."""
        return self.operator.magnitude()

    def entries(self) -> Any:
        told = self.operator.entries()
        return None if told is None else told.conj()

    def on_host(self) -> HostOperator:
        return self.operator.on_host().T.H


class Scaled(Wrapper):
    """A number times an operator."""

    operator: LinearOperator
    factor: Any

    def __check_init__(self) -> None:
        check_scalar(self.factor)

    @property
    def dtype(self) -> Any:
        """The dtype of the product of number and operator."""
        return common(self.operator.dtype, self.factor)

    @property
    def traits(self) -> Traits:
        """The facts that survive scaling by an unknown number."""
        return self.operator.traits.scaled()

    def mv(self, x: Array) -> Array:
        """The product factor * A x."""
        return mul(self.factor, self.operator.mv(x))

    def transpose(self) -> LinearOperator:
        """The scaled transpose."""
        return Scaled(self.operator.T, self.factor)

    def diagonal(self) -> Array:
        """The diagonal."""
        return mul(self.factor, self.operator.diagonal())

    def layout(self) -> LinearOperator:
        """The scaled fast form."""
        return Scaled(self.operator.layout(), self.factor)

    def stored_entries(self) -> Any:
        found = self.operator.stored_entries()
        return None if found is None else (mul(self.factor, found[0]), found[1])

    def on_host(self) -> HostOperator:
        inner, factor = self.operator.on_host(), np.asarray(self.factor)[()]
        return Products(
            self.shape,
            np.result_type(inner.dtype, factor),
            lambda x: factor * inner.matvec(x),
            lambda x: np.conj(factor) * inner.rmatvec(x),
        )


class Sum(LinearOperator):
    """The sum of two operators."""

    left: LinearOperator
    right: LinearOperator

    def __check_init__(self) -> None:
        if self.left.shape != self.right.shape:
            raise StructureError(
                f"cannot add operators of shapes {self.left.shape} and {self.right.shape}; the shapes must be equal."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.left.shape

    @property
    def dtype(self) -> Any:
        """The common dtype of the terms."""
        return common(self.left.dtype, self.right.dtype)

    @property
    def traits(self) -> Traits:
        """The facts that both terms share."""
        return self.left.traits + self.right.traits

    def mv(self, x: Array) -> Array:
        """The product A x + B x."""
        return self.left.mv(x) + self.right.mv(x)

    def transpose(self) -> LinearOperator:
        """The sum of the transposes."""
        return Sum(self.left.T, self.right.T)

    def diagonal(self) -> Array:
        """The diagonal."""
        return self.left.diagonal() + self.right.diagonal()

    def as_matrix(self) -> Array:
        """The dense matrix."""
        return self.left.as_matrix() + self.right.as_matrix()

    def layout(self) -> LinearOperator:
        """The sum of the fast forms."""
        return Sum(self.left.layout(), self.right.layout())

    def on_host(self) -> HostOperator:
        return combined(self.left.on_host() + self.right.on_host())


class Product(LinearOperator):
    """The composition of two operators: first `right`, then `left`."""

    left: LinearOperator
    right: LinearOperator

    def __check_init__(self) -> None:
        if self.left.shape[1] != self.right.shape[0]:
            raise StructureError(
                f"cannot multiply operators of shapes {self.left.shape} and {self.right.shape}: "
                f"{self.left.shape[1]} columns meet {self.right.shape[0]} rows."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of the left and columns of the right factor."""
        return (self.left.shape[0], self.right.shape[1])

    @property
    def dtype(self) -> Any:
        """The common dtype of the factors."""
        return common(self.left.dtype, self.right.dtype)

    @property
    def traits(self) -> Traits:
        """The facts that a product keeps."""
        return self.left.traits @ self.right.traits

    def mv(self, x: Array) -> Array:
        """The product A B x."""
        return self.left.mv(self.right.mv(x))

    def transpose(self) -> LinearOperator:
        """The product of the transposes in reverse order."""
        return Product(self.right.T, self.left.T)

    def adjoint(self) -> LinearOperator:
        """The product of the adjoints in reverse order."""
        return Product(self.right.H, self.left.H)

    def layout(self) -> LinearOperator:
        """The product of the fast forms."""
        return Product(self.left.layout(), self.right.layout())

    def on_host(self) -> HostOperator:
        return combined(self.left.on_host() @ self.right.on_host())
