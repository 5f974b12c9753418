"""A solve over the devices of a mesh: the driver inside `jax.shard_map`, each device with its part of all vectors."""

from typing import Any

import jax
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from jaxsolve.core.errors import StructureError
from jaxsolve.core.shards import Joined, one_vector_over
from jaxsolve.core.staging import is_traced
from jaxsolve.operators.on_mesh import OnMesh
from jaxsolve.solvers.driver import Control, Outcome, iterate
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace
from jaxsolve.telemetry.trajectory import Trajectory
from jaxsolve.telemetry.watch import Watch


def iterated_over_devices(
    method: AbstractMethod,
    A: OnMesh,
    M: OnMesh | None,
    b: Array,
    x0: Array | None,
    control: Control,
    nulls: NullSpace,
    watch: Watch,
) -> Outcome:
    """How a solve ended, with x and the residual as whole vectors that lie on the devices; see `iterate`.

    Args:
        method: What to run.
        A: The matrix.
        M: Its preconditioner.
        b: The right-hand side.
        x0: First guess, None for zero.
        control: Tolerances and limit.
        nulls: The null space.
        watch: What observes the loop.
    """
    part = A.parts[0]
    joined = Joined(A.axes, None if part.shards * part.width == part.size else part.counts)

    def of_device(A: OnMesh, M: OnMesh | None, vectors: Any, bases: Any, control: Control) -> Any:
        (b, x0), (basis, constants) = vectors, jax.tree.map(lambda v: v.T, bases)
        own = NullSpace(basis, nulls.detect, None, constants)
        with one_vector_over(joined):
            M_own = None if M is None else M.own()
            outcome = iterate(method, A.own(), M_own, b, x0, control, own, watch)
        told = outcome.trajectory or Trajectory(None, None)
        return outcome._replace(trajectory=None), (told.iterations, told.residual_norm), told.x

    rows, columns, everywhere = A.specs, PartitionSpec(None, A.axes), PartitionSpec()
    places: list[Any] = [rows, rows, *[everywhere] * (len(Outcome._fields) - 2)]
    run = jax.shard_map(
        of_device,
        mesh=A.mesh,
        in_specs=(rows, rows, rows, columns, everywhere),
        out_specs=(Outcome(*places), everywhere, columns),
    )
    vectors = jax.tree.map(A.spread, (b, x0))
    bases = jax.tree.map(lambda v: A.spread(v.T), (nulls.basis, nulls.constants))
    matrices = A.unordered(), None if M is None else M.unordered()
    ended, (steps, norms), iterates = run(*matrices, vectors, bases, control)
    told = None
    if steps is not None:
        told = Trajectory(steps, norms, None if iterates is None else A.gathered(iterates))
    return ended._replace(x=A.gathered(ended.x), residual=A.gathered(ended.residual), trajectory=told)


def placed_vectors(A: OnMesh, tree: Any) -> Any:
    """Concrete vectors on the devices of A: a part on each where the length allows that, else a copy.

    Raises:
        StructureError: If they lie on several other devices.
    """
    devices = A.mesh.devices.size

    def place(v: Any) -> Any:
        if is_traced(v):
            return v
        if len(v.sharding.device_set) > 1 and v.sharding.device_set != set(A.mesh.devices.flat):
            raise StructureError(
                f"b lies on {len(v.sharding.device_set)} devices which are not the {devices} of the mesh of A: put it "
                "there, jax.device_put(b, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))."
            )
        spread = A.axes if v.shape[-1] % devices == 0 else None
        return jax.device_put(v, NamedSharding(A.mesh, PartitionSpec(*[None] * (v.ndim - 1), spread)))

    return jax.tree.map(place, tree)
