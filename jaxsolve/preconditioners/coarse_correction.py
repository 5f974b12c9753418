"""Coarse corrections: the slow part of the error, solved on a few hundred piecewise-constant vectors."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import per_object
from jaxsolve.core.options import require_count, require_flag
from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import applied
from jaxsolve.operators.ell import gather, gather_or_zero
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.aggregation import partition
from jaxsolve.preconditioners.coarse_solve import generalised_inverse, require_room_for_inverse
from jaxsolve.preconditioners.graph import neighbours
from jaxsolve.preconditioners.grid import boxes
from jaxsolve.preconditioners.grid_search import grid_of
from jaxsolve.preconditioners.jacobi import Jacobi
from jaxsolve.preconditioners.preconditioner import (
    AbstractPreconditioner,
    Sequence,
    as_square,
    inherited,
    is_self_transposed,
    require_recipe,
    with_entries,
)


def as_labels(labels: Any) -> tuple[int, ...] | None:
    """Labels as a tuple of integers, which compares and hashes; None of None.

    >>> as_labels(np.array([0, 0, 1]))
    (0, 0, 1)
    """
    if labels is None:
        return None
    given = np.asarray(labels)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise StructureError(f"labels are integers, one for each row; got {labels!r}.")
    return tuple(given.tolist())


class Cluster(AbstractPreconditioner):
    """A smoother and a coarse correction that is constant on clusters of rows.

    Clusters are boxes of a grid where the pattern is a stencil, otherwise connected parts of its graph. The coarse
    matrix of the clusters is inverted densely, generalised where it is singular, so that systems with a null space
    of constants keep it.

    Args:
        count: About how many clusters; the inverse holds their square.
        multiplicative: Smoother, correction, smoother one after another (two products more an application, fewer
            iterations); otherwise the sum of smoother and correction.
        smoother: What is combined with the correction.
        labels: The cluster of each row, integers 0, 1, ...; found from the pattern where None.

    Raises:
        StructureError: If `count` is less than 1, `smoother` no preconditioner, or `labels` are no integers; from
            `build`, if the entries of A are not known or `labels` do not fit its rows.

    Builds: an operator of shape (n, n) in the dtype of A; symmetric where A is, and positive definite if the
        smoother converges or `multiplicative` is off.
    Cost: set-up about clusters³ flops and a sum over the entries, application 1 to 4 products and 2 clusters²
        flops; memory clusters².
    Source: Nicolaides, Deflation of conjugate gradients (1987); Toselli, Widlund (2005), section 3.

    >>> import jaxsolve as js
    >>> A = 2 * jnp.eye(8) - jnp.eye(8, k=1) - jnp.eye(8, k=-1)
    >>> M = js.Cluster(labels=[0, 0, 1, 1, 2, 2, 3, 3]).build(js.SparseMatrix.from_dense(A))
    >>> eigenvalues = jnp.linalg.eigvals(M.as_matrix() @ A).real
    >>> bool(eigenvalues.max() / eigenvalues.min() < jnp.linalg.cond(A) / 2)
    True
    """

    name: ClassVar[str] = "cluster"
    cost: ClassVar[str] = "set-up clusters^3, application 1 to 4 products"

    count: int = eqx.field(static=True, default=256)
    multiplicative: bool = eqx.field(static=True, default=False)
    smoother: AbstractPreconditioner = eqx.field(default_factory=Jacobi)
    labels: tuple[int, ...] | None = eqx.field(static=True, default=None, converter=as_labels)

    def __check_init__(self) -> None:
        require_count("Cluster", "count", self.count)
        require_flag("Cluster", "multiplicative", self.multiplicative)
        require_recipe("Cluster", "smoother", self.smoother)

    def build(self, A: Any) -> LinearOperator:
        """The combination of smoother and correction."""
        A = as_square(A, self.name)
        matrix = with_entries(A, self.name)
        smoother = self.smoother.build(A)
        correction = coarse_correction(matrix, clusters_of(matrix.pattern, self.count, self.labels))
        if not self.multiplicative:
            return smoother + correction
        facts = inherited(A)
        facts = Traits(symmetric=facts.symmetric, hermitian=facts.hermitian)
        # The correction stands in the middle, so that the combination is as symmetric as its parts.
        return Sequence(A.layout(), (smoother, correction, smoother), facts)


class Deflation(AbstractPreconditioner):
    """A preconditioner for what a space of a few vectors leaves over, and the inverse of A on that space.

    The balanced form: correction, inner preconditioner, correction. CG runs on it from any start. With vectors that
    are constant on subdomains of equal coefficient it is immune to jumps between them.

    Args:
        basis: Shape (n, k) with k vectors, or None for the indicator vectors of clusters.
        count: About how many clusters where no basis is given.
        inner: The preconditioner for the rest.
        labels: The cluster of each row, as in `Cluster`; found from the pattern where None.

    Raises:
        StructureError: If `count` is less than 1, `inner` no preconditioner, or `basis` or `labels` of a wrong
            shape; from `build`, if they do not fit A, or, without a basis, the entries of A are not known.

    Builds: an operator of shape (n, n) in the dtype of A; symmetric positive definite where A and the inner
        preconditioner are.
    Cost: set-up k products and about k³ flops, application 2 products and, with a basis, 4 n k multiplications;
        memory k vectors with a basis, k² without.
    Source: Tang, Nabben, Vuik, Erlangga, Comparison of two-level preconditioners (2009), BNN in table 1.

    >>> import jaxsolve as js
    >>> A, v = jnp.diag(jnp.array([1e-3, 1.0, 2.0])), jnp.array([1.0, 1.0, 0.0])
    >>> M = js.Deflation(basis=v[:, None]).build(A)
    >>> jnp.allclose(M @ (A @ v), v, atol=1e-3).item()  # M is the inverse of A on the space
    True
    """

    name: ClassVar[str] = "deflation"
    cost: ClassVar[str] = "set-up k products and k^3, application 2 products and 4 n k with a basis"

    basis: Array | None = None
    count: int = eqx.field(static=True, default=256)
    inner: AbstractPreconditioner = eqx.field(default_factory=Jacobi)
    labels: tuple[int, ...] | None = eqx.field(static=True, default=None, converter=as_labels)

    def __check_init__(self) -> None:
        require_count("Deflation", "count", self.count)
        require_recipe("Deflation", "inner", self.inner)
        if self.basis is not None and getattr(self.basis, "ndim", None) != 2:
            shape = getattr(self.basis, "shape", repr(self.basis))
            raise StructureError(
                f"Deflation expects a basis of shape (n, k), a vector in each column; got {shape}."
            )

    def build(self, A: Any) -> LinearOperator:
        """Correction, inner preconditioner, correction."""
        A = as_square(A, self.name)
        n = A.shape[0]
        if self.basis is None:
            matrix = with_entries(A, self.name)
            correction = coarse_correction(matrix, clusters_of(matrix.pattern, self.count, self.labels))
        else:
            if self.basis.shape[0] != n:
                raise StructureError(
                    f"Deflation expects a basis of shape ({n}, k), a vector in each column; "
                    f"got {self.basis.shape}."
                )
            Z = self.basis.astype(common(self.basis, A.dtype))
            AZ = jax.vmap(A.layout().mv, in_axes=1, out_axes=1)(Z)
            correction = BasisCorrection(Z, generalised_inverse(jnp.conj(Z.T) @ AZ), inherited(A))
        return Sequence(A.layout(), (correction, self.inner.build(A), correction), inherited(A))


class Clusters:
    """Rows in clusters: which cluster each row is in, and which rows each cluster has.

    Attributes:
        labels: Shape (n,).
        members: Shape (largest cluster, count), n where a cluster has fewer rows.
    """

    def __init__(self, labels: np.ndarray):
        self.labels = labels.astype(np.int32)
        self.count = int(labels.max(initial=-1)) + 1
        sizes = np.bincount(labels, minlength=self.count)
        order = np.argsort(labels, kind="stable")
        rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self.members = np.full((int(sizes.max(initial=0)), self.count), len(labels), np.int32)
        self.members[rank, labels[order]] = order

    @per_object
    def slots(self, pattern: Pattern) -> np.ndarray:
        """The entry of the coarse matrix, row by row, to which each entry of a pattern contributes."""
        rows, cols = self.labels[pattern.rows], self.labels[pattern.indices]
        return rows.astype(np.int32) * self.count + cols


def clusters_of(pattern: Pattern, count: int, labels: tuple[int, ...] | None = None) -> Clusters:
    """About `count` clusters of the rows of a pattern, found once and remembered; or those that are given."""
    if labels is not None:
        given = np.asarray(labels)
        if given.shape != (pattern.shape[0],) or given.min(initial=0) < 0:
            raise StructureError(
                f"labels are one integer of at least 0 for each of {pattern.shape[0]} rows; "
                f"got {given.shape[0]}, the smallest {given.min(initial=0)}."
            )
        return Clusters(np.unique(given, return_inverse=True)[1])
    return _clusters(pattern, count)


@per_object
def _clusters(pattern: Pattern, count: int) -> Clusters:
    grid = grid_of(pattern)
    return Clusters(partition(neighbours(pattern), count) if grid is None else boxes(grid, count))


def coarse_correction(A: SparseMatrix, clusters: Clusters) -> "ClusterCorrection":
    """The inverse of A on the vectors that are constant on clusters."""
    k = clusters.count
    require_room_for_inverse(k, A.dtype, "a coarse correction")
    sums = jax.ops.segment_sum(A.data, index_array(clusters.slots(A.pattern)), k * k)
    inverse = generalised_inverse(sums.reshape(k, k))
    return ClusterCorrection(
        inverse, index_array(clusters.members), index_array(clusters.labels), inherited(A)
    )


class ClusterCorrection(LinearOperator):
    """Sums over clusters, a dense product, and the result spread over the clusters."""

    inverse: Array
    members: Array
    labels: Array
    facts: Traits = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.labels.shape[0], self.labels.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the coarse inverse."""
        return self.inverse.dtype

    @property
    def traits(self) -> Traits:
        """Symmetry alone: the operator has the rank of the coarse space."""
        return Traits(symmetric=self.facts.symmetric, hermitian=self.facts.hermitian)

    def mv(self, x: Array) -> Array:
        """The correction for the residual x."""
        sums = jnp.sum(gather_or_zero(x, self.members), axis=0)
        return gather(applied(self.inverse, sums), self.labels)

    def transpose(self) -> LinearOperator:
        """The same with the transposed inverse."""
        if is_self_transposed(self):
            return self
        return ClusterCorrection(self.inverse.T, self.members, self.labels, self.facts.T)


class BasisCorrection(LinearOperator):
    """Z E⁺ Zᴴ for a basis Z of shape (n, k)."""

    basis: Array
    inverse: Array
    facts: Traits = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return (self.basis.shape[0], self.basis.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the basis."""
        return self.basis.dtype

    @property
    def traits(self) -> Traits:
        """Symmetry alone: the operator has the rank of the basis."""
        real = not jnp.issubdtype(self.dtype, jnp.complexfloating)
        return Traits(symmetric=real and self.facts.symmetric, hermitian=self.facts.hermitian)

    def mv(self, x: Array) -> Array:
        """The correction for the residual x."""
        return applied(self.basis, applied(self.inverse, applied(jnp.conj(self.basis.T), x)))

    def transpose(self) -> LinearOperator:
        """The same with the transposed inverse and the conjugate basis."""
        if is_self_transposed(self):
            return self
        return BasisCorrection(jnp.conj(self.basis), self.inverse.T, self.facts.T)
