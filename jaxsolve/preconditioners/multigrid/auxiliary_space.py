"""AuxiliarySpace: curl-curl and div-grad systems, preconditioned by multigrid on the nodes of the mesh."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import per_object
from jaxsolve.core.staging import index_array, is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.conversion import as_operator
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.multigrid.automatic import Multigrid
from jaxsolve.preconditioners.multigrid.sparse_products import ProductPlan, plan_product
from jaxsolve.preconditioners.polynomial import Chebyshev
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    Sequence,
    as_square,
    inherited,
    require_recipe,
    with_entries,
)

#: Entries of Gᵀ A G of less than so many rounding errors of those of A say that A maps gradients to zero.
VANISHED = 1000


class AuxiliarySpace(AbstractPreconditioner):
    """A smoother, and corrections on the nodes of the mesh for what the smoother leaves: gradients, smooth fields.

    For unknowns on the edges of a mesh (Nédélec elements of lowest order, Yee's grid) and A of a form
    (α curl u, curl v) + (β u, v). On gradients, which are the slow part where β is small, A is the Laplacian GᵀAG on
    the nodes; on smooth fields it is one Laplacian for each direction. (In two dimensions Raviart-Thomas elements are
    the same, turned: there G is the rotated gradient.) Where known values of A map gradients to zero (β = 0) there is
    no correction for them.

    Args:
        gradient: G of shape (n, nodes), the discrete gradient: -1 and 1 at the ends of each edge, up to its sign and
            length. Rows of edges and columns of nodes that are fixed are left out, as in A. A SciPy sparse matrix,
            BCOO, `js.SparseMatrix` or array.
        edges: Shape (n, d), the vector from one end of each edge to the other, in the direction of G; for the
            corrections on smooth fields, without which iterations grow as the mesh is refined. (It is G x with the
            coordinates x of all nodes, fixed ones included, where entries of G are -1 and 1.)
        nodal: What approximates the inverses on the nodes.
        smoother: What is applied first and last.

    Raises:
        StructureError: If G is no matrix with known entries, `edges` are traced or of a wrong shape, `nodal` or
            `smoother` no preconditioner; from `build`, if G does not fit A, or the entries of A are not known.

    Builds: an operator of shape (n, n) in the dtype of A, symmetric where A and both recipes are.
    Cost: set-up 1 + d products of sparse matrices and multigrid on the nodes for each, application 2 + 2 d products
        with A, 1 + 2 d cycles on the nodes and two smoothings; memory the matrices on the nodes.
    Source: Hiptmair and Xu (2007), Nodal auxiliary space preconditioning in H(curl) and H(div) spaces, section 7.1.

    >>> import numpy as np, jax.numpy as jnp, jaxsolve as js
    >>> G = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])  # three edges, two free nodes between fixed ones
    >>> A = G @ G.T + 1e-3 * np.eye(3)
    >>> M = js.AuxiliarySpace(gradient=G).build(A)
    >>> bool(jnp.linalg.cond(M.as_matrix() @ A) < jnp.linalg.cond(A))
    True
    """

    name: ClassVar[str] = "auxiliary-space"
    cost: ClassVar[str] = "set-up and application multigrid on the nodes, 2 + 2 d products"
    concrete: ClassVar[bool] = True

    gradient: SparseMatrix
    edges: Array | None
    nodal: AbstractPreconditioner
    smoother: AbstractPreconditioner

    def __init__(
        self,
        gradient: Any,
        edges: Any = None,
        nodal: AbstractPreconditioner | None = None,
        smoother: AbstractPreconditioner | None = None,
    ):
        G = as_operator(gradient, "AuxiliarySpace: gradient")
        entries = G.entries()
        if entries is None and G.dense_form is not None and not is_traced(G.dense_form.matrix):
            entries = SparseMatrix.from_dense(G.dense_form.matrix)
        if entries is None:
            raise StructureError(
                "AuxiliarySpace: the gradient is a matrix whose entries are known, such as a SciPy sparse matrix of -1 "
                f"and 1; got {gradient!r}."
            )
        self.gradient = entries
        if is_traced(edges):
            raise StructureError("AuxiliarySpace: edges are concrete vectors; these are traced.")
        if edges is not None and (np.ndim(edges) != 2 or len(edges) != entries.shape[0]):
            raise StructureError(
                f"AuxiliarySpace: edges are vectors, an array of shape ({entries.shape[0]}, d); got {np.shape(edges)}."
            )
        self.edges = None if edges is None else jnp.asarray(edges)
        self.nodal = Multigrid() if nodal is None else nodal
        self.smoother = Chebyshev(2) if smoother is None else smoother
        require_recipe("AuxiliarySpace", "nodal", self.nodal)
        require_recipe("AuxiliarySpace", "smoother", self.smoother)

    def build(self, A: Any) -> LinearOperator:
        """Smoother, smooth fields, gradients, and back."""
        A = as_square(A, self.name)
        matrix = with_entries(A, self.name)
        n, G = A.shape[0], self.gradient
        if G.shape[0] != n:
            raise StructureError(
                f"AuxiliarySpace: the gradient has a row for each of the {n} unknowns; got shape {G.shape}."
            )
        S = self.smoother.build(A)
        fields = [self._corrected(matrix, P) for P in self._interpolations()]
        middle = self._corrected(matrix, G)
        parts = [part for part in (*fields, middle, *fields[::-1]) if part is not None]
        facts, alike = inherited(A), self.smoother.symmetric and self.nodal.symmetric
        facts = Traits(symmetric=alike and facts.symmetric, hermitian=alike and facts.hermitian)
        return Sequence(A.layout(), (S, *parts, S), facts)

    def _interpolations(self) -> list[SparseMatrix]:
        """What nodal values of a field along each axis are on the edges: the mean of both ends, along the edge."""
        if self.edges is None:
            return []
        pattern = self.gradient.pattern
        rows = index_array(pattern.rows)
        return [SparseMatrix(0.5 * along[rows], pattern) for along in self.edges.T]

    def _corrected(self, A: SparseMatrix, P: SparseMatrix) -> LinearOperator | None:
        """P (PᵀAP)⁻¹ Pᵀ, None where PᵀAP is known to vanish."""
        P = SparseMatrix(P.data.astype(A.dtype), P.pattern)
        product, sandwich, turned = _plans(A.pattern, P.pattern)
        values = sandwich.multiply(P.data[index_array(turned)], product.multiply(A.data, P.data))
        if not is_traced(values):
            size = (
                float(jnp.max(jnp.abs(A.data), initial=0)) * float(jnp.max(jnp.abs(P.data), initial=0)) ** 2
            )
            if float(jnp.max(jnp.abs(values), initial=0)) <= VANISHED * jnp.finfo(values.dtype).eps * size:
                return None
        nodal = SparseMatrix(values, sandwich.pattern, inherited(A))
        return P.layout() @ self.nodal.build(nodal) @ P.T.layout()


@per_object
def _plans(A: Pattern, P: Pattern) -> tuple[ProductPlan, ProductPlan, np.ndarray]:
    """How A P and Pᵀ(A P) are formed, and the entries of Pᵀ among those of P."""
    product = plan_product(A, P)
    transposed, turned = P.transpose()
    return product, plan_product(transposed, product.pattern), turned
