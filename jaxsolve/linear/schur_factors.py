"""What a FieldSplit with a Schur complement applies: the factors of a block LDU."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.results import Frozen
from jaxsolve.core.tree import common
from jaxsolve.front.request import Solve
from jaxsolve.linear.field_blocks import joined, taken
from jaxsolve.linear.field_sweeps import AbstractFields
from jaxsolve.linear.fields import IndexSet
from jaxsolve.linear.linear_solve import linear_answer
from jaxsolve.operators.operator import LinearOperator, Wrapper

#: The transposes of the forms of block factors.
TURNED = {"diagonal": "diagonal", "lower": "upper", "upper": "lower", "full": "full"}


class SchurFactors(AbstractFields):
    """The inverse of L D U, of D, L D or D U, with D = (A00, S) and the Schur complement S = A11 - A10 A00⁻¹ A01.

    Args:
        coupling: A01 and A10, None where there is no entry.
        inverses: Of A00 and of S.
        sets: The unknowns of both fields.
        form: "diagonal", "lower", "upper" or "full".
        kind: The dtype.
    """

    coupling: tuple[LinearOperator | None, LinearOperator | None]
    inverses: tuple[LinearOperator, ...]
    sets: tuple[IndexSet, ...] = eqx.field(static=True)
    form: str = eqx.field(static=True)
    kind: Any = eqx.field(static=True)

    def mv(self, x: Array) -> Array:
        """The solution with the factors for the right-hand side x."""
        (M, S), (upper, lower) = self.inverses, self.coupling
        f, g = (taken(x, one) for one in self.sets)
        y = None
        if self.form in ("lower", "full"):
            y = M.mv(f)
            g = g if lower is None else g - lower.mv(y)
        p = S.mv(g)
        if self.form in ("upper", "full"):
            f = f if upper is None else f - upper.mv(p)
            y = M.mv(f)
        return joined([M.mv(f) if y is None else y, p], self.sets)

    def transpose(self) -> "SchurFactors":
        """The transposes of the factors in reverse order."""
        upper, lower = (None if A is None else A.T for A in self.coupling)
        inverses = tuple(M.T for M in self.inverses)
        return SchurFactors(
            coupling=(lower, upper), inverses=inverses, sets=self.sets, form=TURNED[self.form], kind=self.kind
        )


class SchurComplement(Wrapper):
    """A11 - A10 M A01 by its products, with an approximate inverse M of A00.

    Args:
        operator: A11.
        lower: A10.
        inverse: M.
        upper: A01.
    """

    operator: LinearOperator
    lower: LinearOperator
    inverse: LinearOperator
    upper: LinearOperator

    def mv(self, x: Array) -> Array:
        """The product S x."""
        return self.operator.mv(x) - self.lower.mv(self.inverse.mv(self.upper.mv(x)))

    def transpose(self) -> "SchurComplement":
        """The same of the transposed blocks."""
        return SchurComplement(self.operator.T, self.upper.T, self.inverse.T, self.lower.T)


class InnerSolve(Wrapper):
    """A⁻¹ by an iteration, as far as its request goes: no linear map.

    Args:
        operator: A.
        numbers: Those of the request.
        request: Its other parts.
    """

    operator: LinearOperator
    numbers: list[Any]
    request: Frozen = eqx.field(static=True)

    @classmethod
    def of(cls, A: LinearOperator, solve: Solve) -> "InnerSolve":
        """The inverse by a request."""
        request = Frozen(solve.with_arrays())
        return cls(A, request.split(solve.with_arrays()), request)

    def mv(self, x: Array) -> Array:
        """What the iteration ends with for the right-hand side x."""
        x = x.astype(common(self.dtype, x))
        return linear_answer(self.operator, x, self.request.join(self.numbers), throw=False).x

    def transpose(self) -> "InnerSolve":
        """The same of the transposed operator."""
        return InnerSolve(self.operator.T, self.numbers, self.request)


class Negated(Wrapper):
    """±M: the sign is a number of the program."""

    operator: LinearOperator
    sign: Array

    def mv(self, x: Array) -> Array:
        """The product ±M x."""
        y = self.operator.mv(x)
        return jnp.where(self.sign < 0, -y, y)

    def transpose(self) -> "Negated":
        """±Mᵀ."""
        return Negated(self.operator.T, self.sign)
