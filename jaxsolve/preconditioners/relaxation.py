"""Symmetric successive over-relaxation by colours, so that each half sweep is a few large steps."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import require_number
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.operators.dense_matrix import DenseMatrix
from jaxsolve.operators.operator import LinearOperator, Wrapper
from jaxsolve.preconditioners.blocks_on_mesh import BlocksOnMesh, blocks_on_mesh
from jaxsolve.preconditioners.colour_sweeps import colour_sweeps
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    as_square,
    inherited,
    is_self_transposed,
    reciprocal,
    with_entries,
)


class SSOR(AbstractPreconditioner):
    """Symmetric over-relaxation, ω(2 - ω) (D + ωU)⁻¹ D (D + ωL)⁻¹, rows ordered by the colours of the graph.

    Rows of one colour are not coupled and are relaxed at once; with ω = 1 this is symmetric Gauss-Seidel. A dense
    matrix keeps its order and is relaxed by triangular solves.

    Args:
        omega: Relaxation factor; above 1 loses with two colours.

    Raises:
        StructureError: If `omega` is not between 0 and 2; from `build`, if the entries of A are not known, or its
            graph needs too many colours.

    Builds: an operator of shape (n, n) in the dtype of A; positive definite where A is, for 0 < ω < 2.
    Cost: set-up a permutation of the entries, application 2 products.
    Source: Saad (2003), sections 4.1.2, 10.2.1 and 12.4.3.

    >>> A = jnp.array([[2.0, 1.0], [0.0, 4.0]])
    >>> jnp.allclose(SSOR().build(A).as_matrix() @ A, jnp.eye(2)).item()  # exact for a triangle
    True
    """

    name: ClassVar[str] = "ssor"
    cost: ClassVar[str] = "set-up a permutation of the entries, application 2 products"

    omega: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        require_number("SSOR", "omega", self.omega, 0, 2)
        if not 0 < self.omega < 2:
            raise StructureError(f"SSOR needs 0 < omega < 2; got {self.omega}.")

    def build_on_mesh(self, A: Any) -> BlocksOnMesh:
        """The sweeps over the rows and columns of each device of a mesh."""
        return blocks_on_mesh(A, self, self.build)

    def build(self, A: Any) -> LinearOperator:
        """The two half sweeps as an operator."""
        if (spread := getattr(A, "on_mesh", None)) is not None:
            return self.build_on_mesh(spread)
        A = as_square(A, self.name)
        array = A.dense_form
        if array is not None:
            return TriangularSweeps(array, self.omega, inherited(A))
        return colour_sweeps(with_entries(A, self.name), self.omega)


class TriangularSweeps(Wrapper):
    """The two half sweeps of a dense matrix in its own order."""

    operator: DenseMatrix
    omega: float = eqx.field(static=True)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    def mv(self, x: Array) -> Array:
        """Forward and backward substitution."""
        dtype = common(self.operator.matrix, x)
        A, x = self.operator.matrix.astype(dtype), x.astype(dtype)
        d = 1 / reciprocal(jnp.diagonal(A))
        D = jnp.diag(d)
        solve = jax.scipy.linalg.solve_triangular
        y = solve(D + self.omega * jnp.tril(A, -1), x, lower=True)
        z = solve(D + self.omega * jnp.triu(A, 1), d * y)
        return self.omega * (2 - self.omega) * z

    def transpose(self) -> LinearOperator:
        """The same sweeps with the transposed matrix."""
        if is_self_transposed(self):
            return self
        return TriangularSweeps(self.operator.transpose(), self.omega, self.facts.T)
