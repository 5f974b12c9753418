"""Halo: what a device needs of the vectors of others for its rows, planned on the host from the pattern.

The elements that a device needs from others, its ghosts, follow its own ones. They are sent by one `ppermute` for each
distance between devices, or, where there are many distances, by one `all_to_all`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsolve.operators.ell import gather
from jaxsolve.operators.partition import Partition

#: From so many distances on, one exchange of all with all costs less than a message a distance.
MOST_ROUNDS = 6

#: Of what the devices of this process hold, what those of all processes do.
Share = Callable[[Mapping[int, np.ndarray]], Mapping[int, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Halo:
    """How ghosts are sent. Static under jit.

    Attributes:
        axes: The axes of the mesh over which vectors lie.
        pairs: For each distance who sends to whom; None where all send to all.
        reach: Whether what is sent are so many elements at the ends of a block, to its neighbours: then no positions
            are needed, and ghosts lie on both sides. None for ghosts by positions.
    """

    axes: tuple[str, ...]
    pairs: tuple[tuple[tuple[int, int], ...], ...] | None
    reach: int | None = None

    def extended(self, x: Array, sends: tuple[Array, ...]) -> Array:
        """The elements of a device with its ghosts, inside `jax.shard_map`.

        Args:
            x: Its elements, shape (width,).
            sends: The positions of what it sends, shape (count,) for each distance or (shards, count) for all.
        """
        if self.reach is not None:
            right, left = self.pairs or ((), ())
            before = lax.ppermute(x[x.shape[0] - self.reach :], self.axes, right)
            after = lax.ppermute(x[: self.reach], self.axes, left)
            return jnp.concatenate([before, x, after]) if self.reach else x
        if self.pairs is None:
            found = lax.all_to_all(gather(x, sends[0]), self.axes, 0, 0)
            return jnp.concatenate([x, found.reshape(-1)])
        parts = [lax.ppermute(gather(x, s), self.axes, p) for s, p in zip(sends, self.pairs, strict=True)]
        return jnp.concatenate([x, *parts]) if parts else x


def neighbours(axes: tuple[str, ...], shards: int, reach: int) -> Halo:
    """The halo of a matrix of diagonals that reach so far."""
    right = tuple((s, s + 1) for s in range(shards - 1))
    return Halo(axes, (right, tuple((t, s) for s, t in right)) if reach else None, reach)


def plan_halo(
    columns: Mapping[int, np.ndarray], part: Partition, axes: tuple[str, ...], share: Share
) -> tuple[Halo, dict[int, np.ndarray], dict[int, tuple[np.ndarray, ...]]]:
    """The halo of rows with these columns, those as positions among own elements and ghosts, and what is sent.

    Args:
        columns: Of each device of this process, the columns of its entries.
        part: The partition of the vector.
        axes: The axes of the mesh.
        share: Makes what all processes know of what this one does.
    """
    shards, width = part.shards, part.width
    starts = np.asarray(part.starts)
    needed = {s: _ghosts(c, part, s) for s, c in columns.items()}
    everyone = share(needed)
    owners = {s: part.owner(g) for s, g in everyone.items()}
    counts = np.zeros((shards, shards), int)  # [receiver, sender]
    for s, owner in owners.items():
        counts[s] = np.bincount(owner, minlength=shards)
    distances = sorted({int((s - o) % shards) for s, o in zip(*np.nonzero(counts), strict=True)})
    if len(distances) <= MOST_ROUNDS:
        widths = [max(counts[s, (s - d) % shards] for s in range(shards)) for d in distances]
        base = dict(zip(distances, np.cumsum([0, *widths[:-1]]), strict=True)) if distances else {}
        pairs = tuple(
            tuple((o, (o + d) % shards) for o in range(shards) if counts[(o + d) % shards, o])
            for d in distances
        )
    else:
        widths, base, pairs = [int(counts.max())], {}, None

    local, sends = {}, {}
    for s, c in columns.items():
        ghosts, owner = needed[s], owners[s]
        first = np.concatenate([[0], np.cumsum(counts[s])])[owner]
        rank = np.arange(len(ghosts)) - first
        if pairs is None:
            place = width + owner * widths[0] + rank
        else:
            place = width + np.array([base[int(d)] for d in (s - owner) % shards], int) + rank
        own = part.owner(c) == s
        positions = np.where(own, c - starts[s], 0)
        if len(ghosts):
            positions[~own] = place[np.searchsorted(ghosts, c[~own])]
        local[s] = positions
        asked = [
            everyone[t][owners[t] == s] - starts[s] for t in range(shards)
        ]  # by each receiver, of this device
        if pairs is None:
            sends[s] = (np.stack([_filled(a, widths[0]) for a in asked]),)
        else:
            sends[s] = tuple(
                _filled(asked[(s + d) % shards], w) for d, w in zip(distances, widths, strict=True)
            )
    return Halo(axes, pairs), local, sends


def _ghosts(columns: np.ndarray, part: Partition, s: int) -> np.ndarray:
    inside = (columns >= part.starts[s]) & (columns < part.starts[s + 1])
    return np.unique(columns[~inside])


def _filled(positions: Any, count: int) -> np.ndarray:
    """The positions, filled up with those of the first element."""
    out = np.zeros(count, np.int32)
    out[: len(positions)] = positions
    return out
