"""InnerPrecision: mixed-precision refinement, the passes of the driver in a lower precision than its residuals.

A pass solves A d = r for a residual of the precision of b, and the true residual of x + d decides what follows. So it
is refined whatever the pass computes with: a method in a lower precision, on A rounded to it, with factors or a
preconditioner of the same, gains all the digits of b as long as each pass gains some (Carson and Higham 2018).
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.status import Status
from jaxsolve.core.vector import exponent
from jaxsolve.operators.narrowing import narrow, narrowed
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.solvers.split import Split
from jaxsolve.solvers.units import rescaled, unit_of

#: A pass ends at a residual of so many rounding errors of its precision: 7.6e-6 of the one that it began with in
#: float32, so that one pass is enough for the default tolerance, and rounding in it has not yet taken over.
ROUNDINGS = 64
#: What rounding to a lower precision may cause, and says nothing of A.
UNSURE = (Status.singular, Status.not_positive_definite)


class InnerPrecision(eqx.Module):
    """An approximate inverse for passes in a lower precision, in the place of one in that of b.

    Attributes:
        inverse: That of A divided by `unit`, an operator or a `Split`; None for none.
        unit: A power of two, the size of A's entries when it was made.
        low: A divided by `unit` in that precision; None where the program of a solve is to make it.
        real: The precision of the passes.
    """

    inverse: Any
    unit: Array
    low: LinearOperator | None
    real: Any = eqx.field(static=True)

    def transpose(self) -> "InnerPrecision":
        """That of the transposed matrix."""
        parts = (None if part is None else part.transpose() for part in (self.inverse, self.low))
        inverse, low = parts
        return InnerPrecision(inverse, self.unit, low, self.real)

    def without_matrix(self) -> "InnerPrecision":
        """The same for another matrix, near to that which it was made of."""
        return InnerPrecision(self.inverse, self.unit, None, self.real)

    def unit_of(self, A: LinearOperator, b: Array) -> tuple[Array, int]:
        """The unit of A and the products spent to learn it, as `units.unit_of` tells them."""
        if self.low is None:
            return unit_of(A, b)
        return self.unit.astype(jnp.finfo(b.dtype).dtype), 0

    def matrix(self, A: LinearOperator, of_A: Array) -> LinearOperator:
        """2^-of_A A in the precision of the passes."""
        return narrowed(A, -of_A, self.real) if self.low is None else self.low

    def scaled(self, of_A: Array) -> LinearOperator | Split | None:
        """The inverse of 2^-of_A A."""
        if self.inverse is None:
            return None
        if isinstance(self.inverse, Split):
            parts = self.inverse.left, self.inverse.right
            return Split(*(None if part is None else self._own(part) for part in parts))
        return rescaled(self._own(self.inverse), of_A - exponent(self.unit), self.real)

    def _own(self, M: LinearOperator) -> LinearOperator:
        """An operator for vectors of the passes: a user's recipe may build another one."""
        if M.dtype == narrow(M.dtype, self.real):
            return M
        return narrowed(M, jnp.zeros((), jnp.int32), self.real)

    def nulls(self, nulls: NullSpace) -> NullSpace:
        """The null space in the precision of the passes."""
        if nulls.basis is None:
            return nulls
        return NullSpace(nulls.basis.astype(narrow(nulls.basis.dtype, self.real)), exact=nulls.exact)

    def entering(self, v: Array) -> Array:
        """A vector as a pass gets it."""
        return v.astype(narrow(v.dtype, self.real))

    def resolution(self) -> float:
        """The share of its first residual to which a pass goes."""
        return ROUNDINGS * float(jnp.finfo(self.real).eps)


def believed(status: Array) -> Array:
    """The reason why a pass in a lower precision ended, as far as it is one in that of b."""
    unsure = (status == int(UNSURE[0])) | (status == int(UNSURE[1]))
    return jnp.where(unsure, int(Status.stagnation), status)
