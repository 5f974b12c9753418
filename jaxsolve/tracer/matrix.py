"""TracedMatrix: a sparse matrix that also carries its diagonals, as they came out of the function."""

import equinox as eqx
from jax import Array

from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.operands import declaration
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix


class TracedMatrix(SparseMatrix):
    """A `SparseMatrix` that is applied by diagonals computed without any index array.

    Entries and diagonals are two views of the same values, each computed from the parameters; in a compiled program
    only those in use remain. Not handed to users: a derivative with respect to the matrix itself would reach the
    view that was used. `SparseMatrix` methods that make a new matrix use the entries.

    Args:
        data: As in `SparseMatrix`.
        pattern: As in `SparseMatrix`.
        facts: As in `SparseMatrix`.
        bands: The diagonals.
    """

    bands: DiagonalsOperator | None = eqx.field(default=None, kw_only=True)

    def layout(self) -> LinearOperator:
        """The matrix by diagonals."""
        if self.bands is None:
            return super().layout()
        return DiagonalsOperator(self.bands.values, self.bands.offsets, self.bands.size, self.facts)

    def declare(self, **traits: bool) -> "TracedMatrix":
        """The same matrix with declared traits."""
        return TracedMatrix(self.data, self.pattern, declaration(self, traits), bands=self.bands)

    def plain(self) -> SparseMatrix:
        """The matrix by its entries alone."""
        return SparseMatrix(self.data, self.pattern, self.facts)

    def diagonal(self) -> Array:
        """The main diagonal."""
        return self.layout().diagonal() if self.bands is not None else super().diagonal()
