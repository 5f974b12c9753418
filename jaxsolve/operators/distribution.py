"""distribute: the rows of a sparse matrix over the devices of a mesh."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jax import Array
from jax.sharding import AxisType, Mesh
from scipy.sparse.csgraph import reverse_cuthill_mckee

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import index_array, is_traced
from jaxsolve.core.traits import Traits
from jaxsolve.operators.conversion import as_operator, is_function
from jaxsolve.operators.distributed import DistributedMatrix
from jaxsolve.operators.ell import gather_or_zero
from jaxsolve.operators.halo import neighbours, plan_halo
from jaxsolve.operators.layout import FILL, MOST_DIAGONALS
from jaxsolve.operators.on_mesh import Placement, placed_on
from jaxsolve.operators.partition import Partition, integers, partition_of, shown
from jaxsolve.operators.processes import agreed, shared
from jaxsolve.operators.sparse import SparseMatrix

#: Rows are filled up to the longest while that stores at most so many times the entries.
MOST_FILLING = 3
#: The order of rows by which their columns lie close to the diagonal.
NARROW = "narrow"


def distribute(A: Any, mesh: Mesh, rows: Any = None) -> DistributedMatrix:
    """A sparse matrix with its rows on the devices of a mesh; `js.solve_linear` then solves there.

    Products exchange what neighbouring rows need and nothing else, vectors keep the sharding that they have, and the
    other sums of a solve are over all devices.

    Args:
        A: SciPy sparse matrix, BCOO, BCSR, `js.SparseMatrix`, or a dense array of shape (n, n). Its values may be
            traced where its pattern is known.
        mesh: The devices, in the order of its axes, over all of which the rows lie.
        rows: None for blocks of equal length; the first row of each block with n at the end, shape (devices + 1,); the
            device of each row, shape (n,); or "narrow" for equal blocks after the reverse Cuthill-McKee order, with
            which a device needs few rows of others.

    Returns:
        An operator of shape (n, n). By diagonals where these are few and reach no further than the next device, else
        by rows.

    Raises:
        StructureError: If A is not square, a batch, or of unknown pattern, or rows are no partition.
        TypeError: If A is a function, or mesh no mesh.

    Cost: that of sorting the entries, on the host; each process puts the rows of its own devices there.

    Source: the split of rows and of ghosts is that of PETSc's parallel matrices (Balay et al., PETSc/TAO users manual).

    >>> import jax, jax.numpy as jnp, jaxsolve as js, scipy.sparse as sp
    >>> mesh = jax.make_mesh((1,), ("rows",))
    >>> A = js.distribute(sp.diags_array([-1.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(6, 6)), mesh)
    >>> x = js.solve_linear(A, jnp.ones(6), js.Solve("CG"))
    >>> bool(jnp.allclose(A @ x, 1, atol=1e-4))
    True
    """
    mesh = _automatic(mesh)
    matrix = _matrix(A)
    n, shards = matrix.shape[0], mesh.devices.size
    if isinstance(rows, str):
        if rows != NARROW:
            raise StructureError(f"rows={rows!r} is unknown; the one order by name is {NARROW!r}.")
        part = Partition.even(n, shards)
        order: np.ndarray | None = reverse_cuthill_mckee(matrix.pattern.to_scipy(np.ones(matrix.nnz)), False)
    else:
        part, order = partition_of(rows, n, shards)
    places = np.arange(n) if order is None else np.argsort(order)
    row, column = places[matrix.pattern.rows], places[matrix.pattern.indices]
    sorting = np.arange(matrix.nnz) if order is None else np.lexsort((column, row))
    blocks = rows_of_devices(row[sorting], column[sorting], sorting, part, mesh)
    made = assembled(blocks, matrix.data, (part, part), mesh)
    if order is not None:
        made = dataclasses.replace(made, place=Placement(_positions(order, part, mesh), mesh, made.parts))
    return dataclasses.replace(made, facts=_kept(matrix.facts), hermitian=_is_hermitian(matrix))


def distribute_local(rows: Any, mesh: Mesh, starts: Any) -> DistributedMatrix:
    """A sparse matrix of which each process holds the rows of its own devices, and no process ever holds all.

    To be called by all processes. They exchange what ghosts each device needs, once.

    Args:
        rows: SciPy sparse matrix of shape (own rows, n): the rows of the devices of this process, in their order.
        mesh: The devices.
        starts: The first row of each device with n at the end, shape (devices + 1,); or of each process, shape
            (processes + 1,), whose rows are then cut evenly. The same in all processes.

    Returns:
        An operator of shape (n, n), as `js.distribute` makes it. Declare it symmetric if it is:
        `A.declare(symmetric=True)`.

    Raises:
        StructureError: In all processes, if in one of them rows, starts and mesh do not fit, or if starts, n or dtype
            differ between them.
        TypeError: If rows is no SciPy sparse matrix, or mesh no mesh.

    Cost: that of sorting the own entries; one exchange of the numbers of ghosts.

    Source: as `js.distribute`.

    >>> import jax, jax.numpy as jnp, jaxsolve as js, scipy.sparse as sp
    >>> own = sp.diags_array([-1.0, 3.0, -1.0], offsets=[-1, 0, 1], shape=(6, 6)).tocsr()
    >>> js.distribute_local(own, jax.make_mesh((1,), ("rows",)), [0, 6])
    DistributedMatrix(6x6, float64, 1 device, by diagonals)
    """
    mesh = _automatic(mesh)
    own = _own(mesh)
    problem, part, csr = _checked(rows, mesh, starts, own)
    dtype = None if csr is None else csr.dtype
    agreed(problem, repr((None if part is None else part.starts, str(dtype))))
    assert part is not None
    assert csr is not None
    blocks, base = {}, 0
    for s in own:
        count = part.counts[s]
        low, high = csr.indptr[base], csr.indptr[base + count]
        lengths = np.diff(csr.indptr[base : base + count + 1])
        blocks[s] = Rows(np.repeat(np.arange(count), lengths), csr.indices[low:high], np.arange(low, high))
        base += count
    return assembled(blocks, csr.data, (part, part), mesh)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The entries of the rows of one device, sorted.

    Attributes:
        row: The row of each among those of the device.
        column: Its column in the whole matrix.
        entry: Its number among the values.
    """

    row: np.ndarray
    column: np.ndarray
    entry: np.ndarray

    def diagonals(self, start: int) -> np.ndarray:
        """The diagonals that hold entries, of a device whose first row is this; of many some."""
        return np.unique(self.column - self.row - start)[: MOST_DIAGONALS + 1]

    def rank(self) -> np.ndarray:
        """The number of each entry in its row."""
        return np.arange(len(self.row)) - np.searchsorted(self.row, self.row)


def rows_of_devices(
    row: np.ndarray, column: np.ndarray, entry: np.ndarray, part: Partition, mesh: Mesh
) -> dict[int, Rows]:
    """The entries that each device of this process has of a whole matrix, sorted by rows."""
    first = np.searchsorted(row, part.starts)
    return {
        s: Rows(row[k] - part.starts[s], column[k], entry[k])
        for s in _own(mesh)
        for k in [slice(first[s], first[s + 1])]
    }


def assembled(
    blocks: Mapping[int, Rows], data: Any, parts: tuple[Partition, Partition], mesh: Mesh
) -> DistributedMatrix:
    """The matrix of these blocks, in the layout that suits it.

    Args:
        blocks: The entries of each device of this process.
        data: The values that they number.
        parts: The partitions of rows and of columns.
        mesh: The devices.
    """
    axes, (part, across) = tuple(mesh.axis_names), parts
    width, starts = part.width, part.starts
    columns = {s: rows.column for s, rows in blocks.items()}
    in_column = max((int(np.bincount(c).max(initial=0)) for c in columns.values()), default=0)
    sizes = shared(
        {s: np.array([r.rank().max(initial=-1) + 1, len(r.row), in_column]) for s, r in blocks.items()},
        part.shards,
    )
    longest = max(int(v[0]) for v in sizes.values())
    total, most = sum(int(v[1]) for v in sizes.values()), max(int(v[1]) for v in sizes.values())
    # Of a column each device holds some entries.
    counts = (longest, min(part.size, sum(int(v[2]) for v in sizes.values())))
    told = shared({s: r.diagonals(starts[s]) for s, r in blocks.items()}, part.shards)
    offsets = np.unique(np.concatenate([*told.values(), np.zeros(0, int)]).astype(int))
    reach = int(np.abs(offsets).max(initial=0))
    slots = part.shards * width
    if (
        part.ordinary
        and len(offsets) <= MOST_DIAGONALS
        and reach <= width
        and total >= FILL * len(offsets) * slots
    ):
        halo, local, sends = neighbours(axes, part.shards, reach), None, dict.fromkeys(blocks, ())
        shape = (len(offsets), width)
        place = {
            s: np.searchsorted(offsets, r.column - r.row - starts[s]) * width + r.row
            for s, r in blocks.items()
        }
    else:
        halo, local, sends = plan_halo(columns, across, axes, lambda v: shared(v, part.shards))
        offsets = None
        if longest * slots <= MOST_FILLING * max(total, slots):
            shape = (longest, width)
            place = {s: r.rank() * width + r.row for s, r in blocks.items()}
        else:
            shape = (most,)
            place = {s: np.arange(len(r.row)) for s, r in blocks.items()}

    def over(values: Mapping[int, np.ndarray], fill: Any, dtype: Any) -> Array:
        def made(s: int) -> np.ndarray:
            out = np.full(int(np.prod(shape)), fill, dtype)
            out[place[s]] = values[s]
            return out.reshape(shape)

        return placed_on(mesh, shape, made)

    if is_traced(data):
        count = np.shape(data)[0]
        entries = np.full((part.shards, int(np.prod(shape))), count, np.int32)
        for s, r in blocks.items():
            entries[s, place[s]] = r.entry
        values = gather_or_zero(data, index_array(entries.reshape(part.shards, *shape)))
    else:
        host = np.asarray(data)
        values = over(
            {s: host[r.entry] for s, r in blocks.items()}, 0, jax.dtypes.canonicalize_dtype(host.dtype)
        )
    rows = None
    if len(shape) == 1:
        rows = over({s: r.row for s, r in blocks.items()}, width - 1, np.int32)
    return DistributedMatrix(
        values=values,
        columns=None if local is None else over(local, 0, np.int32),
        rows=rows,
        sends=tuple(
            placed_on(mesh, v.shape, lambda s, k=k: sends[s][k])
            for k, v in enumerate(next(iter(sends.values()), ()))
        ),
        place=Placement(None, mesh, parts),
        halo=halo,
        offsets=None if offsets is None else tuple(int(d) for d in offsets),
        most=counts,
    )


def _automatic(mesh: Any) -> Mesh:
    """The mesh with axes of which types say nothing."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            "mesh expects a jax.sharding.Mesh, such as jax.make_mesh((jax.device_count(),), ('rows',)); got "
            f"{told(mesh)}."
        )
    names = tuple(mesh.axis_names)
    return Mesh(mesh.devices, names, axis_types=(AxisType.Auto,) * len(names))


def _own(mesh: Mesh) -> list[int]:
    """The devices of a mesh that are of this process."""
    mine = jax.process_index()
    return [s for s, device in enumerate(mesh.devices.flat) if device.process_index == mine]


def _matrix(A: Any) -> SparseMatrix:
    if is_function(A):
        raise TypeError(
            "js.distribute takes a matrix, and a function does not tell the shape of its vectors. Read it first: "
            "js.distribute(js.matrix_from_function(f, x_like)[0], mesh)."
        )
    A = as_operator(A)
    found = A.entries()
    if found is None and A.dense_form is not None:
        found = SparseMatrix.from_dense(A.dense_form.matrix)
    if found is None:
        raise StructureError(
            f"js.distribute needs the entries of A: {A.untold()} Pass a SciPy matrix, a BCOO or a js.SparseMatrix."
        )
    if found.batch_shape or found.shape[0] != found.shape[1]:
        raise StructureError(
            f"js.distribute takes one square matrix; got shape {(*found.batch_shape, *found.shape)}."
        )
    return found


def _kept(facts: Traits) -> Traits:
    """The facts that any order of the rows leaves."""
    return Traits(facts.symmetric, facts.hermitian, facts.positive_definite)


def _is_hermitian(matrix: SparseMatrix) -> bool:
    if is_traced(matrix.data):
        return matrix.facts.hermitian
    host = matrix.to_scipy()
    difference = abs(host - host.conj().T)
    tiny = 100 * np.finfo(host.dtype).eps if host.dtype.kind in "fc" else 0
    return bool(difference.max() <= tiny * abs(host).max()) if host.nnz else True


def _positions(order: np.ndarray, part: Partition, mesh: Mesh) -> Array:
    """The element in each place of the blocks; different numbers from n on where there is none."""

    def of_device(s: int) -> np.ndarray:
        out = part.size + s * part.width + np.arange(part.width)
        out[: part.counts[s]] = order[part.starts[s] : part.starts[s + 1]]
        return out.astype(np.int32)

    return placed_on(mesh, (part.width,), of_device)


def _checked(rows: Any, mesh: Mesh, starts: Any, own: list[int]) -> tuple[str, Partition | None, Any]:
    """What is wrong with the rows of this process, "" for nothing; their partition and their CSR form."""
    if not scipy.sparse.issparse(rows):
        return (
            f"rows expects a SciPy sparse matrix of the rows of this process; got {told(rows)}.",
            None,
            None,
        )
    csr: Any = scipy.sparse.csr_matrix(rows)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    n, shards, processes = csr.shape[1], mesh.devices.size, jax.process_count()
    given = integers(starts)
    if given is not None and given.shape == (processes + 1,) and processes != shards:
        given = _cut(given, mesh)
    if (
        given is None
        or given.shape != (shards + 1,)
        or given[0] != 0
        or given[-1] != n
        or (np.diff(given) < 0).any()
    ):
        return (
            (
                f"starts expects the first row of each of {shards} devices and n = {n} at the end, increasing from 0; "
                f"got {shown(starts)}."
            ),
            None,
            csr,
        )
    part = Partition(tuple(int(v) for v in given))
    expected = sum(part.counts[s] for s in own)
    if csr.shape[0] != expected:
        return (
            (
                f"by starts the devices of process {jax.process_index()} have {expected} rows; rows has shape "
                f"{csr.shape}."
            ),
            part,
            csr,
        )
    return "", part, csr


def _cut(starts: np.ndarray, mesh: Mesh) -> np.ndarray:
    """The first rows of devices, from those of the processes that hold consecutive ones."""
    owners = [device.process_index for device in mesh.devices.flat]
    cut = [0]
    for process in sorted(set(owners)):
        even = Partition.even(int(starts[process + 1] - starts[process]), owners.count(process))
        cut += [int(starts[process]) + s for s in even.starts[1:]]
    return np.asarray(cut)
