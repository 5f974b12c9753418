"""Hierarchies on grids: axes made coarser one after another, numbers that are a few array operations a level."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsolve.core.memo import compiled
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.coarse_solve import (
    generalised_inverse,
    host_inverse,
    require_room_for_inverse,
    without_constants,
)
from jaxsolve.preconditioners.grid_search import grid_of
from jaxsolve.preconditioners.multigrid.cycle import Level, MultigridCycle
from jaxsolve.preconditioners.multigrid.grid.halving import galerkin_along, interpolation_along
from jaxsolve.preconditioners.multigrid.grid.tripling import galerkin_by_thirds, smoothed_along
from jaxsolve.preconditioners.multigrid.hierarchy import is_hermitian
from jaxsolve.preconditioners.multigrid.representative import Representative, is_concrete, values_for
from jaxsolve.preconditioners.multigrid.smoother_bounds import HostSpectrum, host_spectrum
from jaxsolve.preconditioners.multigrid.strength import turned
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner, inherited, is_self_transposed
from jaxsolve.preconditioners.stencil import StencilOperator, host_stencil, stencil_of

#: Larger grids that can't be made coarser any more are refused.
LARGEST_BOTTOM = 2048
#: An axis is made coarser while its couplings are at least this share of the strongest axis'.
COMPARABLE = 0.25
#: Grids of this many points keep two threads busy: coarsening and spectra of 512² points take 55 ms instead of 63, of
#: 64³ points 92 instead of 115; of 256² 23 instead of 20.
THREADED = 200_000
#: Rounding units of |a_ij| that the sum of a row of a stencil leaves where it is zero.
INSULATED = 16
#: About so many couplings tell whether all are of one size.
SAMPLE = 20_000

Plan = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class AxisCoarsening:
    """How a grid is made coarser along an axis.

    Attributes:
        factor: Fine points for a coarse one.
        interpolation: The interpolation P along an axis of a stencil.
        galerkin: The stencil of Rᵀ A P, from R, A and P.
    """

    factor: int
    interpolation: Callable[[StencilOperator, int], Any]
    galerkin: Callable[[Any, StencilOperator, Any], StencilOperator]


#: Every second point stays.
HALVES = AxisCoarsening(2, interpolation_along, galerkin_along)
#: Blocks of three points.
THIRDS = AxisCoarsening(3, smoothed_along, galerkin_by_thirds)


class Axes:
    """How the entries of a matrix couple points along the axes of its grid.

    Attributes:
        grid: The grid, None where the pattern is no stencil.
        couplings: For each axis the fields of the entries for neighbours along it alone, against the sign of the
            diagonal, 0 where there is none; None where values are unknown.
    """

    def __init__(self, A: SparseMatrix, like: Representative | None):
        self.grid = grid_of(A.pattern)
        self.couplings: list[list[np.ndarray]] | None = None
        if self.grid is not None and (like is not None or is_concrete(A)):
            data: Any = A.data if like is None else values_for(A, like, "multigrid")
            self.couplings = _along_axes(host_stencil(SparseMatrix(data, A.pattern, A.facts), self.grid)[0])

    @property
    def even(self) -> bool:
        """Whether couplings are nearly equal along each axis; where values are unknown they are taken to be so."""
        for couplings in self.couplings or []:
            if any(field.min(initial=0) < 0 for field in couplings):
                return False
            rarely = max(1, sum(field.size for field in couplings) // SAMPLE)
            some = np.concatenate([field.reshape(-1)[::rarely] for field in couplings] or [np.zeros(0)])
            present = some[some != 0]
            if len(present) and np.quantile(present, 0.02) < 0.1 * np.median(present):
                return False
        return self.grid is not None

    def plan(self, by: AxisCoarsening, bottom: int, strict: bool = False) -> Plan | None:
        """Which axes each level makes coarser; None where there is no grid or it can't be made small.

        Args:
            by: How axes are made coarser; periodic ones only where the factor divides their length.
            bottom: A grid of at most this many points is the last one.
            strict: Whether None is also the answer where a strong axis has to stay as it is.
        """
        grid = self.grid
        if grid is None:
            return None
        strengths = [1.0] * len(grid.shape)
        if self.couplings is not None:
            strengths = [_mean_of_present(couplings) for couplings in self.couplings]
        levels = []
        while grid.size > bottom:
            long = [a for a, k in enumerate(grid.shape) if k > 2]
            able = [a for a in long if not (grid.periodic[a] and grid.shape[a] % by.factor)]
            top = max([strengths[a] for a in (long if strict else able)], default=0.0)
            axes = tuple(a for a in able if strengths[a] >= COMPARABLE * top)
            if top <= 0 or not axes:
                break
            if strict and any(strengths[a] >= COMPARABLE * top for a in set(long) - set(able)):
                return None
            levels.append(axes)
            for axis in axes:
                strengths[axis] /= by.factor**2
                grid = grid.coarser(axis, by.factor)
        return tuple(levels) if grid.size <= (2 * bottom if strict else LARGEST_BOTTOM) else None


def _along_axes(A: StencilOperator) -> list[list[np.ndarray]]:
    turn = turned(np.asarray(A.diagonal()).reshape(A.grid.shape))
    found = []
    for axis in range(len(A.grid.shape)):
        alone = [k for k, step in enumerate(A.steps) if step[axis] and not any(np.delete(step, axis))]
        found.append([(A.values[k] * turn).real for k in alone])
    return found


def _mean_of_present(fields: list[np.ndarray]) -> float:
    return sum(float(f.sum()) for f in fields) / max(sum(np.count_nonzero(f) for f in fields), 1)


def grid_cycle(
    A: SparseMatrix, kind: Any, plan: Plan, by: AxisCoarsening, smoother: AbstractPreconditioner, visits: int
) -> MultigridCycle:
    """The cycle for a matrix whose pattern is a stencil; its numbers are made once where values are concrete.

    Args:
        A: The matrix.
        kind: The dtype of the levels.
        plan: The axes that each level makes coarser.
        by: How.
        smoother: Any preconditioner that needs products and the diagonal alone.
        visits: 1 for V-cycles, 2 for W-cycles.
    """
    grid = grid_of(A.pattern)
    assert grid is not None
    make = smoother.from_spectrum()
    if is_concrete(A) and make is not None and _on_cpu(A.data):
        with jax.ensure_compile_time_eval():
            stencil, finest = host_stencil(A, grid)
            return _on_host(make, stencil, finest if kind == A.dtype else None, kind, plan, by, visits)
    with jax.ensure_compile_time_eval() if is_concrete(A) else contextlib.nullcontext():
        stencil = stencil_of(A, grid)
        stencil = StencilOperator(stencil.values.astype(kind), stencil.steps, grid, A.traits)
        return _on_device(plan, by, visits, smoother, stencil)


def _on_cpu(data: Any) -> bool:
    return isinstance(data, np.ndarray) or all(device.platform == "cpu" for device in data.devices())


@functools.partial(compiled, static=3)
def _on_device(
    plan: Plan, by: AxisCoarsening, visits: int, smoother: AbstractPreconditioner, A: StencilOperator
) -> MultigridCycle:
    facts = inherited(A)
    insulated = _is_insulated(A.mv(jnp.ones(A.shape[0], A.dtype)), A.absolute_row_sums())
    levels = []
    for axes in plan:
        P, R, below = _coarsened(A, axes, by)
        M = smoother.build(A)
        levels.append(Level(A, _product(P), _product([r.T for r in R[::-1]]), M, M))
        A = below
    require_room_for_inverse(A.shape[0], A.dtype, "multigrid")
    hermitian, E = is_hermitian(facts, A.dtype), A.as_matrix()
    bottom = generalised_inverse(jnp.where(insulated, without_constants(E, hermitian), E), hermitian)
    return MultigridCycle(tuple(levels), bottom, visits, None, facts)


def _on_host(
    make: Callable[..., LinearOperator],
    A: StencilOperator,
    finest: LinearOperator | None,
    kind: Any,
    plan: Plan,
    by: AxisCoarsening,
    visits: int,
) -> MultigridCycle:
    """The same with NumPy, as fast on a CPU without compiling; numbers get the dtype `kind` on their way to the device.

    The spectrum of a large level is found on another thread while the next level is made. `finest` is A on the device,
    where it is there.
    """

    def put(numbers: Any) -> Any:
        return jax.device_put(jax.tree.map(lambda x: np.asarray(x).astype(kind, copy=False), numbers))

    facts = inherited(A)
    sums = A.host_product()(np.ones(A.shape[0], A.dtype))
    insulated = bool(_is_insulated(sums, np.asarray(A.absolute_row_sums())))
    levels: list[tuple[LinearOperator, Any, Any, Callable[[], HostSpectrum]]] = []
    with ThreadPoolExecutor(1) as beside:
        for axes in plan:
            large = A.grid.size >= THREADED
            spectrum = beside.submit(_spectrum, A).result if large else functools.partial(_spectrum, A)
            P, R, below = _coarsened(A, axes, by)
            fine = put(A) if finest is None or levels else finest
            interpolations = put(P)
            restrictions = interpolations if R is P else put(R)
            transfers = _product(interpolations), _product([r.T for r in restrictions[::-1]])
            levels.append((fine, *transfers, spectrum))
            A = below
        require_room_for_inverse(A.shape[0], A.dtype, "multigrid")
        hermitian, E = is_hermitian(facts, A.dtype), A.host_matrix()
        bottom = host_inverse(without_constants(E, hermitian) if insulated else E, hermitian)
    made = []
    for fine, P, R, spectrum in levels:
        M = spectrum().smoother(make, fine)
        made.append(Level(fine, P, R, M, M))
    return MultigridCycle(tuple(made), put(bottom), visits, None, facts)


def _is_insulated(sums: Any, sizes: Any) -> Any:
    """Whether A maps constants to zero: then all interpolations map them to constants, and all coarse matrices to zero.

    Args:
        sums: A 1.
        sizes: |A| 1.
    """
    return (abs(sums) <= INSULATED * jnp.finfo(sums.dtype).eps * sizes).all()


def _spectrum(A: StencilOperator) -> HostSpectrum:
    return host_spectrum(np.asarray(A.diagonal()), A.host_product(), np.asarray(A.absolute_row_sums()))


def _coarsened(
    A: StencilOperator, axes: tuple[int, ...], by: AxisCoarsening
) -> tuple[list[Any], list[Any], StencilOperator]:
    """The interpolations along some axes, those whose transposes restrict, and the coarse stencil."""
    same = is_self_transposed(A)
    P, R = [], []
    for axis in axes:
        p = by.interpolation(A, axis)
        r = p if same else by.interpolation(A.transpose(), axis)
        A = by.galerkin(r, A, p)
        P.append(p)
        R.append(r)
    return P, P if same else R, A


def _product(parts: list[Any]) -> Any:
    return functools.reduce(lambda left, right: left @ right, parts)
