"""StaticFactors: the inverse of a sparse matrix by an elimination that is part of the program."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.memo import compiled, recent
from jaxsolve.core.staging import detached, evaluated, index_array, is_traced, staged
from jaxsolve.core.status import Status
from jaxsolve.core.traits import Traits
from jaxsolve.core.tree import common
from jaxsolve.core.vector import mul
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.solvers.direct.sparse.matching import matched_rows
from jaxsolve.solvers.direct.sparse.ordering import parity
from jaxsolve.solvers.direct.sparse.sweep import Lists, Substitution, eliminated, read, scales, substituted
from jaxsolve.solvers.direct.sparse.triples import Triples, triples

#: Sets of values that are worked on at once on a CPU, and the bytes that their factors take at most.
SETS, BYTES = 64, 2**26
#: The bytes elsewhere, where a step takes as long for one set as for thousands.
FAR_BYTES = 2**32


@dataclasses.dataclass(frozen=True)
class Structure:
    """What a plan depends on.

    Attributes:
        pattern: Of the matrix.
        rows: The row that stands at each column, as bytes; None where none is moved.
        symmetric: Whether U follows from L.
    """

    pattern: Pattern
    rows: bytes | None
    symmetric: bool


class StaticFactors(LinearOperator):
    """The inverse of R⁻¹ L D U C⁻¹ by substitution, for values that JAX carries.

    No callback, no host: it passes through jit, vmap, scan and export as a pytree.

    Args:
        lower: L below its diagonal of ones, column by column, and a zero.
        upper: U above its diagonal of ones, row by row, and a zero.
        pivots: D.
        left: The diagonal of R.
        right: The diagonal of C.
        status: `breakdown` where a pivot vanished and was replaced, else `converged`.
        substitution: The steps of a substitution.
        places: The row of A at each place of the order, and the place of each row; the same for columns.
        levels: Levels of the elimination tree.
        structure: What the steps and places are made for; factors on other structures are other kinds of pytrees.
        transposed: Whether this is the inverse of the transpose.
        facts: What is known of the inverse.
    """

    lower: Array
    upper: Array
    pivots: Array
    left: Array
    right: Array
    status: Array
    substitution: Substitution
    places: tuple[tuple[Array, Array], tuple[Array, Array]]
    levels: int = eqx.field(static=True)
    structure: Structure = eqx.field(static=True)
    transposed: bool = eqx.field(static=True, default=False)
    facts: Traits = eqx.field(static=True, default=Traits())

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        n = self.pivots.shape[-1]
        return (n, n)

    @property
    def dtype(self) -> Any:
        """The dtype of the factors."""
        return self.pivots.dtype

    @property
    def traits(self) -> Traits:
        """The declared facts."""
        return self.facts

    @property
    def description(self) -> str:
        """What was factorised and how."""
        beside = 2 * (self.lower.shape[-1] - 1)
        return (
            f"elimination without exchanges, minimum degree: {beside} entries beside D, {self.levels} levels"
        )

    def mv(self, x: Array) -> Array:
        """The solution for the right-hand side x."""
        (at_rows, _), (_, column_places) = self.places
        y = mul(self.left[at_rows], x[at_rows])
        factors = (self.upper, self.lower) if self.transposed else (self.lower, self.upper)
        y = _substitute(self.substitution, *(v[None] for v in (*factors, self.pivots, y)))[0]
        return mul(self.right, y[column_places]).astype(common(self.dtype, x))

    def log_determinant(self) -> tuple[Array, Array]:
        """Sign (complex: unit phase) and log|det| of A by its pivots; NaN where one vanished and was replaced."""
        plan = _plan(self.structure)
        exchanged = parity(plan.rows[0]) * parity(plan.columns[0])
        lost = jnp.where(self.status == Status.converged, 1, jnp.nan)
        sign = exchanged * jnp.prod(jnp.sign(self.pivots)) * lost.astype(self.dtype)
        scale = jnp.sum(jnp.log(self.left)) + jnp.sum(jnp.log(self.right))
        size = jnp.sum(jnp.log(jnp.abs(self.pivots))) - scale
        return sign, size * lost.astype(size.dtype)

    def transpose(self) -> "StaticFactors":
        """The inverse of the transpose, by the same factors: (L D U)ᵀ = Uᵀ D Lᵀ."""
        rows, columns = self.places
        return StaticFactors(
            self.lower, self.upper, self.pivots, self.right, self.left, self.status, self.substitution,
            (columns, rows), self.levels, self.structure, not self.transposed, self.facts.T,
        )  # fmt: skip

    def conj(self) -> "StaticFactors":
        """The conjugate."""
        lower, upper, pivots = (jnp.conj(v) for v in (self.lower, self.upper, self.pivots))
        return eqx.tree_at(lambda s: (s.lower, s.upper, s.pivots), self, (lower, upper, pivots))


def static_factors(A: SparseMatrix) -> StaticFactors:
    """The inverse of a sparse matrix by factors on a structure that depends on its pattern alone.

    Args:
        A: Square; its values may be traced.

    Raises:
        StructureError: If its positions leave it singular, or the elimination is too large.
    """
    values = None if is_traced(A.data) else np.asarray(A.data)
    if values is not None and not np.isfinite(values).all():
        values = None
    rows = matched_rows(A.pattern, values)
    facts = _symmetry(A, values)
    symmetric = rows is None and (facts.symmetric or facts.hermitian)
    hermitian = symmetric and facts.hermitian and np.issubdtype(A.dtype, np.complexfloating)
    structure = Structure(A.pattern, None if rows is None else rows.astype(np.int64).tobytes(), symmetric)
    plan = _plan(structure)
    data = detached(A.data)
    with evaluated(data):
        positions = tuple(map(_array, (A.pattern.rows, A.pattern.indices)))
        return _factorised(hermitian, facts, structure, Lists.of(plan, _array), positions, data)


def _factored(
    hermitian: bool,
    facts: Traits,
    structure: Structure,
    lists: Lists,
    positions: tuple[Array, Array],
    data: Array,
) -> StaticFactors:
    lower, upper, pivots, left, right, vanished = _elimination(hermitian)(lists, positions, data[None])
    status = jnp.where(vanished[0], int(Status.breakdown), int(Status.converged)).astype(jnp.int32)
    return StaticFactors(
        lower[0], upper[0], pivots[0], left[0], right[0], status, lists.substitution,
        (lists.rows, lists.columns), lists.levels, structure, False, facts,
    )  # fmt: skip


_factorised = compiled(_factored, static=3)


def _array(host: np.ndarray) -> Array:
    """An index array; a literal while a program is traced, which then needs no callback."""
    return jnp.asarray(host) if staged() else index_array(host)


@functools.cache
def _elimination(hermitian: bool) -> Any:
    """(lists, positions, values (sets, nnz)) -> factors with the sets first; under vmap one larger set of sets."""

    @jax.custom_batching.custom_vmap
    def run(lists: Lists, positions: tuple[Array, Array], data: Array) -> tuple[Array, ...]:
        def some(values: Array) -> tuple[Array, ...]:
            left, right = scales(lists, positions, values)
            rows, columns = positions
            scaled = mul(read(right, columns), mul(read(left, rows), values))
            lower, upper, pivots, vanished = eliminated(lists, scaled, hermitian)
            return lower, upper, pivots, left, right, vanished[None]

        bytes_a_set = (2 * len(lists.lower) + len(lists.diagonal)) * data.dtype.itemsize
        *factors, vanished = _in_chunks(some, (data,), bytes_a_set)
        return (*factors, vanished[:, 0])

    @run.def_vmap
    def _(size: int, batched: Any, lists: Lists, positions: Any, data: Array) -> tuple[Any, Any]:
        lists, positions = _same_for_all((lists, positions), batched[:2])
        data = data if batched[2] else jnp.broadcast_to(data, (size, *data.shape))
        out = run(lists, positions, data.reshape(-1, data.shape[-1]))
        out = tuple(v.reshape(size, -1, *v.shape[1:]) for v in out)
        return out, tuple(True for _ in out)

    return run


@jax.custom_batching.custom_vmap
def _substitute(steps: Substitution, lower: Array, upper: Array, pivots: Array, y: Array) -> Array:
    """x of L D U x = y, all with the sets first; factors that are the same for all sets are not copied."""
    if len(pivots) == 1:
        return substituted(steps, (lower.T, upper.T, pivots.T), y.T).T

    def some(lower: Array, upper: Array, pivots: Array, y: Array) -> Array:
        return substituted(steps, (lower, upper, pivots), y)

    bytes_a_set = (2 * lower.shape[1] + pivots.shape[1]) * y.dtype.itemsize
    return _in_chunks(some, (lower, upper, pivots, y), bytes_a_set)


@_substitute.def_vmap
def _(size: int, batched: Any, steps: Substitution, *parts: Array) -> tuple[Array, bool]:
    (steps,) = _same_for_all((steps,), batched[:1])
    *factors, y = parts
    *own, _ = batched[1:]
    y = y if batched[-1] else jnp.broadcast_to(y, (size, *y.shape))
    inner = y.shape[1]
    if any(own) or len(factors[-1]) > 1:
        factors = [
            jnp.broadcast_to(v if there else v[None], (size, inner, v.shape[-1])).reshape(size * inner, -1)
            for v, there in zip(factors, own, strict=True)
        ]
    x = _substitute(steps, *factors, y.reshape(size * inner, -1))
    return x.reshape(size, inner, -1), True


def _same_for_all(trees: Any, batched: Any) -> Any:
    """Index lists of one of the lanes: the structure is static, so lanes that carry their own carry the same."""
    return jax.tree.map(lambda v, there: v[0] if there else v, trees, tuple(batched))


def _in_chunks(f: Any, parts: tuple[Array, ...], bytes_a_set: int) -> Any:
    """f(*parts) by some sets at a time; parts and what comes out have the sets first, f has them last.

    Arrays are turned outside of the loop: what one loop turns back then meets what another turned, and both vanish.
    """
    sets = len(parts[0])
    local = jax.default_backend() == "cpu"
    most = min(SETS, BYTES // max(bytes_a_set, 1)) if local else FAR_BYTES // max(bytes_a_set, 1)
    chunks = -(-sets // max(1, most))
    if chunks <= 1:
        return jax.tree.map(jnp.transpose, f(*(v.T for v in parts)))
    at_once = -(-sets // chunks)
    spare = chunks * at_once - sets
    # The last chunk is filled with its last set.
    padded = [jnp.concatenate([v, jnp.repeat(v[-1:], spare, axis=0)]) if spare else v for v in parts]
    turned = tuple(v.reshape(chunks, at_once, -1).swapaxes(1, 2) for v in padded)
    out = lax.map(lambda own: f(*own), turned)
    return jax.tree.map(lambda v: v.swapaxes(1, 2).reshape(chunks * at_once, -1)[:sets], out)


@recent(most=16, each=0)
def _plan(structure: Structure) -> Triples:
    rows = None if structure.rows is None else np.frombuffer(structure.rows, np.int64)
    return triples(structure.pattern, rows, structure.symmetric)


def _symmetry(A: SparseMatrix, values: np.ndarray | None) -> Traits:
    """Whether A is symmetric or Hermitian: as declared, or as known values show."""
    symmetric, hermitian = A.traits.symmetric, A.traits.hermitian
    if values is not None and not (symmetric or hermitian) and A.pattern.is_symmetric:
        other = values[A.pattern.transpose()[1]]
        symmetric, hermitian = bool((other == values).all()), bool((other.conj() == values).all())
    return Traits(symmetric=symmetric, hermitian=hermitian)
