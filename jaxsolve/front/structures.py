"""Structures: how the flat vectors of a problem look to the user."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxsolve.core.tree import Packing


@dataclasses.dataclass(frozen=True)
class Structures:
    """The vectors of a problem, solved over flat ones of one dtype. Static under jit.

    Attributes:
        unknown: The structure of x (of one system).
        rhs: The structure of b, or of what vanishes at the solution (of one system).
        dtype: The dtype of the flat vectors.
        batch: The leading axes of a batch; () for one system.
        shown: The structure of b where the problem has more rows than the user knows of, which come last; else None.
    """

    unknown: Packing
    rhs: Packing
    dtype: Any
    batch: tuple[int, ...] = ()
    shown: Packing | None = None

    @classmethod
    def flat(cls, shape: tuple[int, int], dtype: Any) -> "Structures":
        """Those of one system of this shape between flat vectors."""
        m, n = shape
        return cls(Packing.vector(n, dtype), Packing.vector(m, dtype), dtype)

    def solution(self, x: Array) -> Any:
        """x (or one a lane) in the structure of the user, batch axes first."""
        return self._unflatten(self.unknown, x)

    def residual(self, r: Array) -> Any:
        """r (or one a lane) in the structure of the user, batch axes first."""
        if self.shown is None:
            return self._unflatten(self.rhs, r)
        return self._unflatten(self.shown, r[..., : self.shown.size])

    def lanes_first(self, tree: Any) -> Any:
        """A tree of arrays with one axis of lanes, or none, with the axes of the batch in its place."""
        if not self.batch:
            return tree
        shape, axes = self.batch, len(self.batch)
        return jax.tree.map(lambda v: v if v.shape[:axes] == shape else v.reshape(*shape, *v.shape[1:]), tree)

    def _unflatten(self, packing: Packing, v: Array) -> Any:
        lead = (*self.batch, v.shape[-1])
        return packing.unpack(v if v.shape == lead else v.reshape(lead))


def unpacked(packing: Packing, values: np.ndarray, batch: tuple[int, ...]) -> Any:
    """The tree of a (batch of) flat NumPy vectors; no JAX, since this runs inside callbacks."""
    leaves = packing.parts(values)
    leaves = [v.reshape((*batch, *shape)) for v, shape in zip(leaves, packing.shapes, strict=True)]
    return jax.tree.unflatten(packing.treedef, leaves)
