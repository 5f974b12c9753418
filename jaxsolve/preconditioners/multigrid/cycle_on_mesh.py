"""Multigrid on a mesh: levels whose rows lie on the devices, and a bottom that is gathered once a cycle."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.core.errors import StructureError
from jaxsolve.core.memo import by_identity
from jaxsolve.core.staging import is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.core.vector import applied
from jaxsolve.operators.distributed import DistributedMatrix
from jaxsolve.operators.distribution import assembled, rows_of_devices
from jaxsolve.operators.on_mesh import OnMesh, Placement, placed_on
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.partition import Partition
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.coarse_solve import host_inverse, require_room_for_inverse
from jaxsolve.preconditioners.multigrid.aggregation_in_blocks import AggregationInBlocks, BlockPlan
from jaxsolve.preconditioners.multigrid.cycle import Level, MultigridCycle
from jaxsolve.preconditioners.multigrid.hierarchy import conjugates, is_hermitian, shape_of
from jaxsolve.preconditioners.multigrid.representative import inner_dtype
from jaxsolve.preconditioners.multigrid.smoother_bounds import host_spectrum
from jaxsolve.preconditioners.multigrid.strength import host_diagonal
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner


class SpreadLevel(eqx.Module):
    """One level over the devices.

    Attributes:
        A: The matrix of the level.
        P: Interpolation from the next coarser level.
        R: Restriction to it.
        diagonal: That of A, shape (devices, width), without zeros.
        largest: The largest eigenvalue of D⁻¹A, the same for each device.
    """

    A: DistributedMatrix
    P: DistributedMatrix
    R: DistributedMatrix
    diagonal: Array
    largest: Array


class GatheredRows(LinearOperator):
    """Some rows of a dense matrix on each device, times the gathered vector; inside of `jax.shard_map`.

    Attributes:
        matrix: Shape (width, devices * width).
        axes: The axes of the mesh.
    """

    matrix: Array
    axes: tuple[str, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a device."""
        return (self.matrix.shape[0], self.matrix.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the entries."""
        return self.matrix.dtype

    def mv(self, x: Array) -> Array:
        """The rows of a device of the product."""
        return applied(self.matrix, lax.all_gather(x, self.axes, tiled=True))


class CycleOfDevice(MultigridCycle):
    """The part of a cycle that a device computes: its bottom is an operator."""

    def _corrected(self, b: Array) -> Array:
        return self.bottom.mv(b)  # pyright: ignore[reportAttributeAccessIssue]  # GatheredRows or its transpose


class CycleOnMesh(OnMesh):
    """One multigrid cycle from zero, between vectors whose blocks lie on the devices of a mesh.

    Attributes:
        levels: From fine to coarse.
        bottom: Rows of the dense (generalised) inverse below the last level, shape (devices, width, devices * width).
        place: How its vectors lie on the devices.
        smoother: Makes the smoother of a level.
        visits: Coarse corrections a level: 1 is a V-cycle, 2 a W-cycle.
        outer: The dtype outside, where levels are kept in another one.
        facts: What is known of it.
    """

    levels: tuple[SpreadLevel, ...]
    bottom: Array
    place: Placement
    smoother: AbstractPreconditioner = eqx.field(static=True)
    visits: int = eqx.field(static=True)
    outer: Any = eqx.field(static=True)
    facts: Traits = eqx.field(static=True)

    def placement(self) -> Placement:
        """How its vectors lie on the devices."""
        return self.place

    @property
    def dtype(self) -> Any:
        """The dtype of the results."""
        return jnp.dtype(self.outer)

    @property
    def traits(self) -> Traits:
        """The known facts."""
        return self.facts

    def own(self) -> MultigridCycle:
        """The part of a device, inside of `jax.shard_map` over `specs`."""
        levels = []
        for level in self.levels:
            A, make = level.A.own(), self.smoother.from_spectrum()
            assert make is not None
            M = make(A, level.diagonal[0], level.largest[0], self.facts)
            levels.append(Level(A, level.P.own(), level.R.own(), M, M))
        bottom: Any = GatheredRows(self.bottom[0], self.axes)
        return CycleOfDevice(tuple(levels), bottom, self.visits, self.outer, self.facts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Unknowns of each level."""
        return (*(level.A.shape[0] for level in self.levels), self.bottom.shape[-1])

    def __repr__(self) -> str:
        return f"CycleOnMesh: levels of {', '.join(map(str, self.sizes))} unknowns on {self.mesh.devices.size} devices"


def cycle_on_mesh(
    A: Any, smoother: AbstractPreconditioner, threshold: float, visits: int, bottom: int, dtype: Any
) -> CycleOnMesh:
    """A cycle of smoothed aggregation for a matrix on a mesh, made on the host once for each matrix.

    Args:
        A: The matrix.
        smoother: Makes smoothers by products.
        threshold: Couplings of more than this share of √|a_ii a_jj| are strong.
        visits: Corrections a level.
        bottom: A level of at most this size is inverted densely.
        dtype: Precision of the levels; None for that of A.

    Raises:
        StructureError: If the values of A are traced, or lie on devices of other processes too.
    """
    if smoother.from_spectrum() is None:
        raise StructureError(
            f"multigrid on a mesh smooths by products with A: js.Chebyshev() does, {smoother.name} does not."
        )
    if is_traced(A):
        raise StructureError(
            "multigrid on a mesh is made of concrete values, and those of A are traced. Make it outside of jit, "
            "M = js.SmoothedAggregation().build(A), and pass it on: js.Solve('CG', preconditioner=M)."
        )
    made, key = _cycles(A.values), (smoother, threshold, visits, bottom, dtype, A.facts, A.parts, A.mesh)
    if key not in made:
        with jax.ensure_compile_time_eval():
            made[key] = _made(A, smoother, threshold, visits, bottom, dtype)
    return dataclasses.replace(made[key], place=A.place)


@by_identity
def _cycles(values: Array) -> dict[Any, CycleOnMesh]:
    """The cycles that were made of these values."""
    return {}


def _made(
    A: DistributedMatrix,
    smoother: AbstractPreconditioner,
    threshold: float,
    visits: int,
    bottom: int,
    dtype: Any,
) -> CycleOnMesh:
    matrix, mesh = A.to_scipy(), A.mesh
    kind: Any = inner_dtype(A, dtype)
    hermitian = A.hermitian or A.facts.hermitian
    facts = Traits(hermitian and not jnp.iscomplexobj(A.values), hermitian)
    pattern = Pattern.of(matrix.indptr, matrix.indices, matrix.shape)
    how = AggregationInBlocks(threshold, A.parts[0])
    conjugate = conjugates(facts, matrix.dtype)
    shape = shape_of(pattern, matrix.data, how, conjugate, bottom, True)

    def over(where: Pattern, values: np.ndarray, parts: tuple[Partition, Partition]) -> DistributedMatrix:
        entries = np.arange(where.nnz)
        blocks = rows_of_devices(where.rows, where.indices, entries, parts[0], mesh)
        return assembled(blocks, values.astype(kind), parts, mesh)

    levels, part = [], A.parts[0]
    for k, (a, p) in enumerate(shape.numbers):
        plan = shape.interpolations[k]
        assert isinstance(plan, BlockPlan)
        where, coarse = shape.patterns[k], plan.part
        R, order = plan.pattern.transpose()
        level: Any = where.to_scipy(a)
        spectrum = host_spectrum(host_diagonal(where, a), level.__matmul__, abs(level) @ np.ones(part.size))
        diagonal = _in_blocks(spectrum.diagonal.astype(kind), part, 1)
        largest = np.asarray(spectrum.largest, jnp.finfo(kind).dtype)
        levels.append(
            SpreadLevel(
                over(where, a, (part, part)),
                over(plan.pattern, p, (part, coarse)),
                over(R, (p.conj() if conjugate else p)[order], (coarse, part)),
                placed_on(mesh, (part.width,), lambda s, d=diagonal: d[s]),
                placed_on(mesh, (), lambda s, v=largest: v),
            )
        )
        part = coarse
    require_room_for_inverse(shape.patterns[-1].shape[0], shape.bottom.dtype, "multigrid")
    dense = np.asarray(shape.patterns[-1].to_scipy(shape.bottom).todense())
    inverse = host_inverse(dense, is_hermitian(facts, kind)).astype(kind)
    # Rows and columns where the blocks have them, zeros besides.
    rows = _in_blocks(inverse, part, 0)
    both = _in_blocks(np.moveaxis(rows, -1, 0), part, 0).reshape(part.shards * part.width, part.shards, -1)
    both = np.moveaxis(both, 0, -1)
    return CycleOnMesh(
        tuple(levels),
        placed_on(mesh, both.shape[1:], lambda s: both[s]),
        Placement(None, mesh, A.parts),
        smoother,
        visits,
        A.dtype,
        facts,
    )


def _in_blocks(v: np.ndarray, part: Partition, fill: Any) -> np.ndarray:
    """An array of shape (n, ...) as (blocks, width, ...), filled up."""
    out = np.full((part.shards, part.width, *v.shape[1:]), fill, v.dtype)
    for s in range(part.shards):
        out[s, : part.counts[s]] = v[part.starts[s] : part.starts[s + 1]]
    return out
