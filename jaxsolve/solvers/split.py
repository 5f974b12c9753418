"""Split: a left and a right preconditioner for any method."""

import equinox as eqx

from jaxsolve.operators.operator import LinearOperator


class Split(eqx.Module):
    """The pair (L, R) that turns A x = b into (L A R) y = L b with x = R y; None stands for the identity."""

    left: LinearOperator | None
    right: LinearOperator | None

    def transpose(self) -> "Split":
        """The pair for the transposed system: Rᵀ Aᵀ Lᵀ."""
        left = None if self.right is None else self.right.transpose()
        return Split(left, None if self.left is None else self.left.transpose())
