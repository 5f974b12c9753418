"""Rigid body motions: the displacements that an elastic body does not resist, from the places of its nodes."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import as_arrays, inexact

#: A rotation that moves the nodes by less than this share of the others has none to speak of.
STILL = 1e-10


def rigid_body_modes(coordinates: Any) -> Array:
    """The translations and rotations of nodes, as columns: near-null vectors for multigrid, and a null space.

    For `js.SmoothedAggregation(B=modes, block=d)` and, of a body that nothing holds, `js.Solve(null_space=modes)`.
    Displacements are numbered node by node: row d i + j is component j of node i. (Where all x components come first,
    `modes.reshape(nodes, d, -1).swapaxes(0, 1).reshape(d * nodes, -1)`.) Rotations are about the principal axes through
    the centre of the nodes, so that the columns are orthogonal; all have length √nodes. Of rows that are fixed, set the
    modes to zero or leave them out, as the matrix does.

    Args:
        coordinates: Concrete, shape (nodes, d) with d = 1, 2 or 3; for d = 2 nodes that are not all in one point, for
            d = 3 not all on one line.

    Returns:
        An array of shape (d nodes, k), k = 1, 3 or 6 for d = 1, 2 or 3: d translations, then the rotations.

    Raises:
        StructureError: If `coordinates` has another shape, is traced or not finite, or the nodes lie so that a rotation
            does not move them; a ValueError.
        TypeError: If it is no array of real numbers.

    Cost: some operations a node; k vectors.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> js.rigid_body_modes(
    ...     jnp.array([[0.0, 0.0], [2.0, 0.0]])
    ... ).tolist()  # the rotation: (-y, x) about (1, 0)
    [[1.0, 0.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    """
    if is_traced(coordinates):
        raise StructureError(
            "rigid_body_modes needs concrete coordinates, since hierarchies are built on its modes; these are traced."
        )
    given = as_arrays("coordinates", coordinates)
    x: Any = np.asarray(given) if hasattr(given, "shape") else np.zeros(0)
    if x.ndim != 2 or x.shape[1] not in (1, 2, 3) or not len(x):
        raise StructureError(
            f"rigid_body_modes takes coordinates of shape (nodes, d) with d = 1, 2 or 3; got {x.shape}."
        )
    if np.iscomplexobj(x):
        raise TypeError(f"rigid_body_modes takes real coordinates; got {x.dtype}.")
    dtype = inexact(x.dtype)
    x = x.astype(float)
    if not np.isfinite(x).all():
        raise StructureError("rigid_body_modes: a coordinate is not finite.")
    nodes, d = x.shape
    x = x - x.mean(axis=0)
    x = x / (np.abs(x).max() or 1)
    columns = [np.tile(unit, nodes) for unit in np.eye(d)]
    if d == 2:
        columns.append(np.stack([0 - x[:, 1], x[:, 0]], axis=1).reshape(-1))
    if d == 3:
        # Rotations about principal axes are orthogonal to each other: a thin body at any angle has good ones.
        axes = np.linalg.svd(x.T @ x)[0].T
        columns += [np.cross(axis, x).reshape(-1) for axis in axes]
    lengths = np.array([np.linalg.norm(column) for column in columns])
    if (lengths < STILL * lengths[0]).any():
        raise StructureError(
            f"rigid_body_modes: {nodes} nodes in {d} dimensions that lie {'on one line' if d == 3 else 'in one point'} "
            "have a rotation that does not move them. Give the coordinates in fewer dimensions, or build the modes "
            "yourself."
        )
    return jnp.asarray(np.stack(columns, axis=1) * (np.sqrt(nodes) / lengths), dtype)
