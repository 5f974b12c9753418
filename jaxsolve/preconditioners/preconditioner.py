"""AbstractPreconditioner: a recipe that turns a matrix into an operator close to its inverse; and sums of recipes."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.module import Module
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import Packing, inexact
from jaxsolve.operators.conversion import as_operator, is_operator
from jaxsolve.operators.on_mesh import OnMesh, Placement
from jaxsolve.operators.operator import LinearOperator, Wrapper
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.explicit_matrix import entries_of


class AbstractPreconditioner(Module):
    """A recipe for an operator that approximates the inverse of a matrix.

    `build` runs once for a matrix. The values may be traced (jit, vmap, gradients are stopped before); the
    positions of the entries are always known. The operator that it returns acts on vectors of shape (n,), has
    an exact transpose, and carries the traits that it inherits from A.
    """

    #: Name in `Solve(preconditioner=name)`.
    name: ClassVar[str]
    #: What the matrix must be, for people.
    needs: ClassVar[str] = "known entries"
    #: Set-up and application in products with A, for people.
    cost: ClassVar[str] = ""
    #: Whether the operator is symmetric (Hermitian) where A is.
    symmetric: ClassVar[bool] = True
    #: Whether `build` makes more of concrete values than of traced ones (a factorisation on the host, a hierarchy);
    #: it is then called outside of jit where it can be, and compiles its own parts.
    concrete: ClassVar[bool] = False
    #: Whether products with A and its diagonal are all that it takes.
    by_products: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self, A: Any) -> LinearOperator:
        """The operator of shape (n, n) that approximates the inverse of A.

        Args:
            A: Operator, array, or sparse matrix of JAX or SciPy.
        """

    def describe(self, A: LinearOperator) -> str | None:
        """How it is made of A and applied, for people; None where its name says so."""

    def from_spectrum(self) -> Callable[..., LinearOperator] | None:
        """What makes the operator of A, its diagonal D, the largest eigenvalue of D⁻¹A and traits; None: they don't."""

    @property
    def on_meshes(self) -> bool:
        """Whether it can be made of a matrix whose rows lie on the devices of a mesh."""
        return self.by_products or type(self).build_on_mesh is not AbstractPreconditioner.build_on_mesh

    def build_on_mesh(self, A: OnMesh) -> OnMesh:
        """The operator for a matrix whose rows lie on the devices of a mesh: what each makes of its own rows."""
        return PreconditionerOfParts(A, self)

    def suited(self, definite: bool) -> "AbstractPreconditioner":
        """The recipe for a method that needs (or does not need) a positive definite preconditioner."""
        return jax.tree.map(
            lambda part: part.suited(definite) if isinstance(part, AbstractPreconditioner) else part,
            self,
            is_leaf=self._is_part,
        )

    @property
    def eager(self) -> bool:
        """Whether it, or a recipe inside of it, is `concrete`."""
        parts = jax.tree.leaves(self, is_leaf=self._is_part)
        return self.concrete or any(isinstance(p, AbstractPreconditioner) and p.eager for p in parts)

    @property
    def varies(self) -> bool:
        """Whether what it builds is no linear map, or a recipe inside of it is so: only flexible methods bear that."""
        parts = jax.tree.leaves(self, is_leaf=self._is_part)
        return any(isinstance(p, AbstractPreconditioner) and p.varies for p in parts)

    def placed(self, unknown: Packing) -> "AbstractPreconditioner":
        """The recipe for an unknown of this structure, names of leaves in it found."""
        return jax.tree.map(
            lambda part: part.placed(unknown) if isinstance(part, AbstractPreconditioner) else part,
            self,
            is_leaf=self._is_part,
        )

    def _is_part(self, x: Any) -> bool:
        return x is not self and isinstance(x, AbstractPreconditioner)

    def __add__(self, other: "AbstractPreconditioner") -> "AbstractPreconditioner":
        """`Additive`: both see the same residual."""
        return Additive(self, other) if isinstance(other, AbstractPreconditioner) else NotImplemented

    def __matmul__(self, other: "AbstractPreconditioner") -> "AbstractPreconditioner":
        """`Multiplicative`: `other` first, as operators are applied, then this one on what it leaves."""
        return Multiplicative(other, self) if isinstance(other, AbstractPreconditioner) else NotImplemented


class PreconditionerOfParts(OnMesh):
    """A preconditioner by products, which each device makes of its part of a matrix.

    Attributes:
        matrix: The matrix.
        recipe: What is made of it.
    """

    matrix: OnMesh
    recipe: AbstractPreconditioner = eqx.field(static=True)

    def placement(self) -> Placement:
        """That of the matrix."""
        return self.matrix.placement()

    @property
    def dtype(self) -> Any:
        """That of the matrix."""
        return self.matrix.dtype

    def own(self) -> LinearOperator:
        """The part of a device."""
        return self.recipe.build(self.matrix.own())


def require_recipe(owner: str, option: str, value: Any) -> None:
    """Refuses what is no recipe.

    Raises:
        StructureError: With what to write instead.
    """
    if not isinstance(value, AbstractPreconditioner):
        raise StructureError(
            f"{owner}: {option} must be a preconditioner such as js.Jacobi() or js.Chebyshev(2); got {value!r}."
        )


def inherited(A: LinearOperator) -> Traits:
    """What an approximate inverse inherits from A: symmetry and definiteness."""
    facts = A.traits
    return Traits(
        symmetric=facts.symmetric, hermitian=facts.hermitian, positive_definite=facts.positive_definite
    )


def is_self_transposed(A: LinearOperator) -> bool:
    """Whether A is known to equal its transpose."""
    real = not jnp.issubdtype(A.dtype, jnp.complexfloating)
    return A.traits.symmetric or (real and A.traits.hermitian)


def as_square(A: Any, name: str) -> LinearOperator:
    """What `build` is handed, as a square operator; integers become numbers that can be inverted.

    Raises:
        TypeError: If A is no matrix.
        StructureError: If A is not square, or a batch.
    """
    if not is_operator(A):
        A = _operator(A, name)
    m, n = A.shape
    if m != n:
        raise StructureError(
            f"preconditioner {name!r} needs a square matrix; got shape {A.shape}. "
            "Rectangular systems are solved by `lsqr` and `lsmr` without preconditioner."
        )
    if A.batch_shape:
        raise StructureError(
            f"preconditioner {name!r} is built of one matrix; got a batch of shape {A.batch_shape}. Use jax.vmap."
        )
    return A if jnp.issubdtype(A.dtype, jnp.inexact) else A.astype(inexact(A.dtype))


def _operator(A: Any, name: str) -> LinearOperator:
    try:
        return as_operator(A)
    except TypeError as error:
        raise TypeError(
            f"preconditioner {name!r} is built of an array, a BCOO, BCSR or SciPy sparse matrix, or a "
            f"js.LinearOperator; got {type(A).__name__}. For a function: `js.matrix_from_function(f, x)[0]`."
        ) from error


def with_entries(A: Any, name: str) -> SparseMatrix:
    """A as a matrix whose positions are known; a dense matrix has all of them.

    Raises:
        TypeError: If A is no matrix.
        StructureError: If A is not square, or its entries or their positions are unknown.
    """
    A = as_square(A, name)
    found = entries_of(A)
    if found is not None:
        return found
    raise StructureError(
        f"preconditioner {name!r} needs to know where the entries of the matrix are; {A.untold()} "
        "Pass an array or a sparse matrix (of a function: `js.matrix_from_function(f, x)[0]`, or trace "
        "it with `js.jit_compile_linear`), or use `preconditioner='chebyshev'`, which only multiplies by A."
    )


def reciprocal(d: Array) -> Array:
    """1 / d, and where d is 0 the reciprocal of the largest |d| (1 where all are 0)."""
    largest = jnp.max(jnp.abs(d), axis=-1, keepdims=True, initial=0)
    instead = jnp.where(largest > 0, largest, 1).astype(d.dtype)
    return 1 / jnp.where(d == 0, instead, d)


class Additive(AbstractPreconditioner):
    """The sum of preconditioners: each sees the same residual. Also written `one + other`.

    Args:
        parts: Preconditioners, at least one.

    Raises:
        StructureError: If a part is no preconditioner, or there is none.

    Builds: an operator of shape (n, n) in the dtype of A; Hermitian positive definite where all its parts are.
    Cost: the sum of its parts.
    Source: Saad (2003), section 14.3.3 (additive Schwarz).

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> (js.Jacobi() + js.Jacobi()).build(jnp.diag(jnp.array([2.0, 4.0]))).as_matrix().tolist()
    [[1.0, 0.0], [0.0, 0.5]]
    """

    name: ClassVar[str] = "additive"
    cost: ClassVar[str] = "the sum of its parts"

    parts: tuple[AbstractPreconditioner, ...]

    def __init__(self, *parts: AbstractPreconditioner):
        self.parts = _some(parts, "Additive")

    def build(self, A: Any) -> LinearOperator:
        """The sum of the operators."""
        A = as_square(A, self.name)
        total = self.parts[0].build(A)
        for part in self.parts[1:]:
            total = total + part.build(A)
        return total


class Multiplicative(AbstractPreconditioner):
    """One preconditioner after another, each on the residual that the ones before have left.

    Not symmetric in general: for CG use `Symmetrized`, or pass the parts there and back. Also written `last @
    first`, as the product of the operators' error propagations I - M A is.

    Args:
        parts: Preconditioners in the order of their application.

    Raises:
        StructureError: If a part is no preconditioner, or there is none.

    Builds: an operator of shape (n, n) in the dtype of A.
    Cost: the sum of its parts and a product with A between two.
    Source: Saad (2003), section 14.3.2 (multiplicative Schwarz).

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = jnp.array([[2.0, 1.0], [1.0, 2.0]])
    >>> M = js.Multiplicative(js.Jacobi(), js.Jacobi()).build(A)
    >>> (jnp.eye(2) - M.as_matrix() @ A).tolist()  # (I - D⁻¹A)²
    [[0.25, 0.0], [0.0, 0.25]]
    """

    name: ClassVar[str] = "multiplicative"
    cost: ClassVar[str] = "the sum of its parts and a product between two"
    symmetric: ClassVar[bool] = False

    parts: tuple[AbstractPreconditioner, ...]

    def __init__(self, *parts: AbstractPreconditioner):
        self.parts = _some(parts, "Multiplicative")

    def build(self, A: Any) -> LinearOperator:
        """The operators in sequence."""
        A = as_square(A, self.name)
        return Sequence(A.layout(), tuple(part.build(A) for part in self.parts), Traits())


class Symmetrized(AbstractPreconditioner):
    """Preconditioners there and back: first, ..., last, ..., first. Symmetric where its parts are.

    Args:
        parts: Preconditioners in the order of their application, the last one applied once.

    Raises:
        StructureError: If a part is no preconditioner, or there is none.

    Builds: an operator of shape (n, n) in the dtype of A, Hermitian where A and its parts are.
    Cost: all parts but the last twice and a product with A between two.
    Source: Saad (2003), section 14.3.2.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A = jnp.array([[2.0, 1.0], [1.0, 2.0]])
    >>> M = js.Symmetrized(js.Jacobi(), js.Jacobi()).build(A)
    >>> (jnp.eye(2) - M.as_matrix() @ A).tolist()  # (I - D⁻¹A)³
    [[0.0, -0.125], [-0.125, 0.0]]
    """

    name: ClassVar[str] = "symmetrized"
    cost: ClassVar[str] = "all parts but the last twice and a product between two"

    parts: tuple[AbstractPreconditioner, ...]

    def __init__(self, *parts: AbstractPreconditioner):
        self.parts = _some(parts, "Symmetrized")

    def build(self, A: Any) -> LinearOperator:
        """The operators in sequence."""
        A = as_square(A, self.name)
        built = tuple(part.build(A) for part in self.parts)
        facts = inherited(A)
        # Definite only if each part alone converges, which nobody has declared.
        facts = Traits(symmetric=facts.symmetric, hermitian=facts.hermitian)
        return Sequence(A.layout(), built + built[-2::-1], facts)


def _some(parts: tuple[AbstractPreconditioner, ...], name: str) -> tuple[AbstractPreconditioner, ...]:
    if not parts or not all(isinstance(part, AbstractPreconditioner) for part in parts):
        raise StructureError(
            f"{name} expects preconditioners, for example {name}(Jacobi(), Cluster()); got {parts}."
        )
    return parts


class Sequence(Wrapper):
    """Corrections by several approximate inverses, one after another; costs a product between two."""

    operator: LinearOperator
    parts: tuple[LinearOperator, ...]
    facts: Traits = eqx.field(static=True)

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The sum of the corrections for the right-hand side x."""
        y = self.parts[0].mv(x)
        for part in self.parts[1:]:
            y = y + part.mv(x - self.operator.mv(y))
        return y

    def transpose(self) -> LinearOperator:
        """The transposed parts in reverse order, on the transposed matrix."""
        if is_self_transposed(self):
            return self
        return Sequence(self.operator.T, tuple(part.T for part in self.parts[::-1]), self.facts.T)
