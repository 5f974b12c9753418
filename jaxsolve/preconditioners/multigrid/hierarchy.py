"""Hierarchies on any pattern: their shape found on the host, their numbers on the host or as JAX expressions."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.staging import index_array
from jaxsolve.core.traits import Traits
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.ell import RowsOperator, plan_rows
from jaxsolve.operators.layout import diagonal_slots, is_banded
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.coarse_solve import generalised_inverse, host_inverse, require_room_for_inverse
from jaxsolve.preconditioners.multigrid.cycle import Level, MultigridCycle
from jaxsolve.preconditioners.multigrid.smoother_bounds import host_spectrum
from jaxsolve.preconditioners.multigrid.sparse_products import (
    ProductPlan,
    find,
    host_product,
    plan_product,
    product_pattern,
)
from jaxsolve.preconditioners.multigrid.strength import host_diagonal
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner

#: A hierarchy ends here, however slowly it coarsens.
MOST_LEVELS = 25


class Interpolation(Protocol):
    """The plan of an interpolation: its pattern, and its entries for the entries of the matrix."""

    @property
    def pattern(self) -> Pattern:
        """Where P has entries."""
        ...

    def values(self, a: Array) -> Array:
        """The entries of P in CSR order."""
        ...


#: An interpolation, and its entries for the representative values.
Planned = tuple[Interpolation, np.ndarray]


#: The pattern and the values of a matrix.
Entries = tuple[Pattern, np.ndarray]


class Coarsening(Protocol):
    """How a level is coarsened."""

    def interpolation(
        self, pattern: Pattern, data: np.ndarray, above: Sequence[Interpolation]
    ) -> Planned | None:
        """The plan from representative values, below those `above`; None where the level cannot be coarsened."""
        ...


@dataclasses.dataclass
class Shape:
    """What is known of a hierarchy before its numbers.

    Attributes:
        patterns: The matrix of each level, the bottom's included.
        interpolations: From each level but the bottom to the next.
        numbers: Entries of the matrices and interpolations for the representative values.
        bottom: Entries of the last matrix.
    """

    patterns: list[Pattern]
    interpolations: list[Interpolation]
    numbers: list[tuple[np.ndarray, np.ndarray]]
    bottom: np.ndarray
    _products: dict[int, tuple[ProductPlan, ProductPlan]] = dataclasses.field(default_factory=dict)
    _cycles: dict[Any, MultigridCycle] = dataclasses.field(default_factory=dict)

    def products(self, level: int) -> tuple[ProductPlan, ProductPlan]:
        """How A P and then R (A P) are formed on a level; planned when first asked for."""
        if level not in self._products:
            P = self.interpolations[level].pattern
            right = plan_product(self.patterns[level], P)
            self._products[level] = (right, plan_product(P.transpose()[0], right.pattern))
        return self._products[level]

    def cycle(
        self, smoother: AbstractPreconditioner, facts: Traits, kind: Any, visits: int
    ) -> MultigridCycle:
        """The cycle with the representative values; made when first asked for, unless the smoother holds arrays."""
        if jax.tree.leaves(smoother):
            return from_host(self, smoother, facts, kind, visits)
        key = (smoother, facts, jnp.dtype(kind), visits)
        if key not in self._cycles:
            self._cycles[key] = from_host(self, *key)
        return self._cycles[key]


#: Shapes remembered for one pattern: a time step or two of changing coefficients.
REMEMBERED = 4


def shape_of(
    pattern: Pattern, data: np.ndarray, coarsening: Coarsening, conjugate: bool, bottom: int, exact: bool
) -> Shape:
    """The shape of the hierarchy for representative values; found once for the same values and remembered.

    Args:
        pattern: Of the finest level.
        data: The representative values.
        coarsening: How levels are coarsened.
        conjugate: Whether R is Pᴴ.
        bottom: A level of at most this size is the last one.
        exact: Whether the shape serves these values alone, so that what cancels in products needs no place.
    """
    values = hashlib.blake2b(np.ascontiguousarray(data).data).digest()
    key = (values, repr(coarsening), getattr(coarsening, "functions", ()), conjugate, bottom, exact)
    # Kept on the pattern itself: shapes refer to it, so that a weak table of them would hold it for ever.
    known: dict[Any, Shape] = vars(pattern).setdefault("_shapes", {})
    if key not in known:
        while len(known) >= REMEMBERED:
            known.pop(next(iter(known)))
        known[key] = _find_shape(pattern, data, coarsening, conjugate, bottom, exact)
    return known[key]


def _find_shape(
    pattern: Pattern, data: np.ndarray, coarsening: Coarsening, conjugate: bool, bottom: int, exact: bool
) -> Shape:
    shape = Shape([pattern], [], [], data)
    while shape.patterns[-1].shape[0] > bottom and len(shape.interpolations) < MOST_LEVELS - 1:
        pattern = shape.patterns[-1]
        planned = coarsening.interpolation(pattern, data, shape.interpolations)
        if planned is None or not 0 < planned[0].pattern.shape[1] < 0.9 * pattern.shape[0]:
            break
        plan, p = planned
        R, order = plan.pattern.transpose()
        r = (p.conj() if conjugate else p)[order]
        coarse = host_product(R.to_scipy(r), host_product(pattern.to_scipy(data), plan.pattern.to_scipy(p)))
        coarse.sort_indices()
        shape.interpolations.append(plan)
        shape.numbers.append((data, p))
        if exact:
            below, data = Pattern.of(coarse.indptr, coarse.indices, coarse.shape), coarse.data
        else:
            below = product_pattern(R, product_pattern(pattern, plan.pattern))
            data = _with_zeros(coarse, below)
        shape.patterns.append(below)
    shape.bottom = data
    return shape


def _with_zeros(matrix: Any, pattern: Pattern) -> np.ndarray:
    """The values of a SciPy product on the pattern of the product: SciPy drops entries that cancel, patterns do not."""
    if matrix.nnz == pattern.nnz:
        return matrix.data
    data = np.zeros(pattern.nnz, matrix.dtype)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    data[find(pattern, rows, matrix.indices)] = matrix.data
    return data


def from_host(
    shape: Shape, smoother: AbstractPreconditioner, facts: Traits, kind: Any, visits: int
) -> MultigridCycle:
    """The cycle with the numbers that were found with the shape; nothing is compiled."""
    conjugate = conjugates(facts, shape.bottom.dtype)
    levels = []
    for k, (a, p) in enumerate(shape.numbers):
        P = shape.interpolations[k].pattern
        R, order = P.transpose()
        levels.append(((shape.patterns[k], a), (P, p), (R, (p.conj() if conjugate else p)[order])))
    require_room_for_inverse(shape.patterns[-1].shape[0], shape.bottom.dtype, "multigrid")
    dense = np.asarray(shape.patterns[-1].to_scipy(shape.bottom).todense())
    return host_cycle(levels, dense, smoother, facts, kind, visits)


def host_cycle(
    levels: Sequence[tuple[Entries, ...]],
    bottom: np.ndarray,
    smoother: AbstractPreconditioner,
    facts: Traits,
    kind: Any,
    visits: int,
) -> MultigridCycle:
    """The cycle with given matrices A, P and R of each level and a dense last one; nothing is compiled."""
    made = []
    for (pattern, a), *transfers in levels:
        A = host_layout(pattern, a.astype(kind), facts)
        P, R = (host_layout(where, values.astype(kind), Traits()) for where, values in transfers)
        M = _host_smoother(smoother, pattern, a, kind, facts, A)
        made.append(Level(A, P, R, M, M))
    inverse = jax.device_put(host_inverse(bottom, is_hermitian(facts, kind)).astype(kind))
    return MultigridCycle(tuple(made), inverse, visits, None, facts)


def from_values(
    shape: Shape, A: SparseMatrix, smoother: AbstractPreconditioner, facts: Traits, kind: Any, visits: int
) -> MultigridCycle:
    """The cycle whose numbers are JAX expressions of the entries of A."""
    conjugate = conjugates(facts, A.dtype)
    levels = []
    data = A.data.astype(kind)
    for k, plan in enumerate(shape.interpolations):
        p = plan.values(data)
        matrix = SparseMatrix(data, shape.patterns[k], facts)
        P = SparseMatrix(p, plan.pattern)
        R = (P.conj() if conjugate else P).transpose()
        M = smoother.build(matrix)
        levels.append(Level(matrix.layout(), P.layout(), R.layout(), M, M))
        right, left = shape.products(k)
        data = left.multiply(R.data, right.multiply(data, p))
    require_room_for_inverse(shape.patterns[-1].shape[0], kind, "multigrid")
    bottom = generalised_inverse(
        SparseMatrix(data, shape.patterns[-1]).as_matrix(), is_hermitian(facts, kind)
    )
    return MultigridCycle(tuple(levels), bottom, visits, None, facts)


def is_hermitian(facts: Traits, kind: Any) -> bool:
    """Whether matrices with these facts and this dtype are Hermitian."""
    return facts.hermitian or (facts.symmetric and not jnp.issubdtype(kind, jnp.complexfloating))


def conjugates(facts: Traits, kind: Any) -> bool:
    """Whether R is Pᴴ: always but for matrices known to be complex symmetric."""
    return bool(jnp.issubdtype(kind, jnp.complexfloating)) and not (facts.symmetric and not facts.hermitian)


def host_layout(pattern: Pattern, data: np.ndarray, facts: Traits) -> LinearOperator:
    """The fast operator with host values, without compiling anything."""
    padded = np.append(data, np.zeros(1, data.dtype))
    if is_banded(pattern):
        values = jax.device_put(padded[diagonal_slots(pattern)])
        return DiagonalsOperator(values, tuple(int(d) for d in pattern.offsets), pattern.shape, facts)
    plan = plan_rows(pattern)
    entries, rows, columns = plan.tail
    tail = (jax.device_put(padded[entries]), index_array(rows), index_array(columns))
    head = jax.device_put(padded[plan.positions])
    return RowsOperator(head, index_array(plan.columns), tail, pattern, facts)


def _host_smoother(
    smoother: AbstractPreconditioner,
    pattern: Pattern,
    a: np.ndarray,
    kind: Any,
    facts: Traits,
    A: LinearOperator,
) -> LinearOperator:
    make = smoother.from_spectrum()
    if make is None:
        return smoother.build(SparseMatrix(jnp.asarray(a.astype(kind)), pattern, facts))
    matrix = pattern.to_scipy(a)
    row_sums = abs(matrix) @ np.ones(pattern.shape[1])
    spectrum = host_spectrum(host_diagonal(pattern, a), matrix.__matmul__, row_sums)
    return spectrum.smoother(make, A)
