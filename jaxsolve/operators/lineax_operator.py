"""LineaxOperator: an operator of lineax on flat vectors, with what its tags say. lineax is never imported for it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.optional import require
from jaxsolve.core.traits import Traits, traits_for
from jaxsolve.core.tree import Packing, inexact, typed
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operands import on_parts
from jaxsolve.operators.operator import LinearOperator


def is_lineax(A: Any) -> bool:
    """Whether A is an operator of lineax, told without importing it."""
    return any(
        c.__module__.startswith("lineax.") and c.__name__ == "AbstractLinearOperator" for c in type(A).__mro__
    )


class LineaxOperator(LinearOperator):
    """Products with an operator of lineax, each leaf of a vector raveled in C order.

    Args:
        op: The operator, linearised.
        facts: What its tags say.
    """

    op: Any
    facts: Traits = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns over raveled vectors."""
        return self.op.out_size(), self.op.in_size()

    @property
    def dtype(self) -> Any:
        """The common dtype of what goes in and what comes out."""
        return _dtype(self.op)

    @property
    def traits(self) -> Traits:
        """What the tags say."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """The product A x."""
        if jnp.iscomplexobj(x) and not jnp.issubdtype(self.dtype, jnp.complexfloating):
            return on_parts(self.mv, x)
        y = self.op.mv(Packing.of(self.op.in_structure()).unpack(typed(x, self.dtype)))
        return Packing.of(self.op.out_structure()).pack(y, self.dtype)

    def transpose(self) -> LinearOperator:
        """The operator's own transpose."""
        return LineaxOperator(self.op.transpose(), self.facts.T)

    def conj(self) -> LinearOperator:
        """The operator's own conjugate."""
        return LineaxOperator(_lineax().conj(self.op), self.facts)


def from_lineax(op: Any) -> LinearOperator:
    """An operator of lineax as ours: those that hold a dense matrix as that, others by their products."""
    facts = _facts(op)
    if _holds_matrix(op):
        return DenseMatrix(op.as_matrix().astype(_dtype(op)), facts)
    return LineaxOperator(_lineax().linearise(op), facts)


def structures_of(op: Any) -> tuple[Packing, Packing]:
    """How x and b of an operator of lineax are packed."""
    return Packing.of(op.in_structure()), Packing.of(op.out_structure())


def _lineax() -> Any:
    return require("lineax", "lineax", "an operator of lineax")


def _dtype(op: Any) -> Any:
    return inexact(*(leaf.dtype for leaf in jax.tree.leaves((op.in_structure(), op.out_structure()))))


def _facts(op: Any) -> Traits:
    lx, complex_ = _lineax(), jnp.issubdtype(_dtype(op), jnp.complexfloating)
    if op.in_size() != op.out_size():
        return Traits()
    return traits_for(
        bool(complex_),
        # Semidefinite is the most that there is a tag for: the factors of a singular one say so.
        positive_definite=lx.is_positive_semidefinite(op),
        symmetric=lx.is_symmetric(op),
        lower=lx.is_lower_triangular(op),
        upper=lx.is_upper_triangular(op),
        diagonal=lx.is_diagonal(op),
    )


def _holds_matrix(op: Any) -> bool:
    """Whether an operator is made of others of which one holds a dense matrix."""
    lx = _lineax()
    if isinstance(op, lx.MatrixLinearOperator | lx.PyTreeLinearOperator):
        return True
    parts = [getattr(op, name, None) for name in ("operator", "operator1", "operator2")]
    return any(_holds_matrix(part) for part in parts if is_lineax(part))
