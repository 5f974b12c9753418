"""Combinations of preconditioners: sums, one after another, and there and back."""

from typing import ClassVar

import equinox as eqx
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.traits import Traits
from jaxsolve.operators.base import LinearOperator, Wrapper
from jaxsolve.preconditioners.base import AbstractPreconditioner, inherited, is_self_transposed, square


class Additive(AbstractPreconditioner):
    """The sum of preconditioners: each sees the same residual.

    Args:
        parts: Preconditioners, at least one.
    """

    name: ClassVar[str] = "additive"
    cost: ClassVar[str] = "the sum of its parts"

    parts: tuple[AbstractPreconditioner, ...]

    def __init__(self, *parts: AbstractPreconditioner):
        self.parts = _some(parts, "Additive")

    def build(self, A: LinearOperator) -> LinearOperator:
        """The sum of the operators."""
        square(A, self.name)
        total = self.parts[0].build(A)
        for part in self.parts[1:]:
            total = total + part.build(A)
        return total


class Multiplicative(AbstractPreconditioner):
    """One preconditioner after another, each on the residual that the ones before have left.

    Not symmetric in general: for CG use `Symmetrized`, or pass the parts there and back.

    Args:
        parts: Preconditioners in the order of their application.
    """

    name: ClassVar[str] = "multiplicative"
    cost: ClassVar[str] = "the sum of its parts and a product between two"
    symmetric: ClassVar[bool] = False

    parts: tuple[AbstractPreconditioner, ...]

    def __init__(self, *parts: AbstractPreconditioner):
        self.parts = _some(parts, "Multiplicative")

    def build(self, A: LinearOperator) -> LinearOperator:
        """The operators in sequence."""
        square(A, self.name)
        return Sequence(A.layout(), tuple(part.build(A) for part in self.parts), Traits())


class Symmetrized(AbstractPreconditioner):
    """Preconditioners there and back: first, ..., last, ..., first. Symmetric where its parts are.

    Args:
        parts: Preconditioners in the order of their application, the last one applied once.
    """

    name: ClassVar[str] = "symmetrized"
    cost: ClassVar[str] = "all parts but the last twice and a product between two"

    parts: tuple[AbstractPreconditioner, ...]

    def __init__(self, *parts: AbstractPreconditioner):
        self.parts = _some(parts, "Symmetrized")

    def build(self, A: LinearOperator) -> LinearOperator:
        """The operators in sequence."""
        square(A, self.name)
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
