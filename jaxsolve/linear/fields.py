"""Fields: which unknowns belong to which field."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced
from jaxsolve.core.tree import Packing


class IndexSet:
    """Positions of a flat unknown, static metadata of a recipe.

    Args:
        indices: Distinct integers of shape (k,), concrete; or a mask of truth values.

    Raises:
        StructureError: For anything else.

    >>> IndexSet([2, 3, 4]), IndexSet(np.array([True, False, True]))
    (IndexSet(3 unknowns, 2 to 4), IndexSet(2 unknowns, 0 to 2))
    """

    def __init__(self, indices: Any):
        if is_traced(indices):
            raise StructureError("FieldSplit: the indices of a field must be concrete; these are traced.")
        try:
            given = np.asarray(indices)
        except ValueError:
            given = np.empty((0, 0))
        given = np.flatnonzero(given) if given.dtype == bool and given.ndim == 1 else given
        whole = given.ndim == 1 and given.size and np.issubdtype(given.dtype, np.integer)
        if not whole or given.min() < 0 or len(np.unique(given)) < len(given):
            raise StructureError(
                f"FieldSplit: the indices of a field are distinct integers of at least 0, shape (k,); got {indices!r}."
            )
        self.indices = np.ascontiguousarray(given, np.int32)
        self._key = self.indices.tobytes()

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def run(self) -> slice | None:
        """The same as a slice, None where they do not follow one another."""
        first = int(self.indices[0])
        whole = np.array_equal(self.indices, np.arange(first, first + len(self), dtype=np.int32))
        return slice(first, first + len(self)) if whole else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IndexSet) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"IndexSet({len(self)} unknowns, {self.indices.min()} to {self.indices.max()})"


def named_sets(names: Sequence[tuple], unknown: Packing) -> tuple[IndexSet, ...]:
    """The positions of the leaves of these names, of each field.

    Args:
        names: Of top-level leaves, or positions in a tuple; a tuple of them for each field.
        unknown: How the leaves lie in the flat unknown.

    Raises:
        StructureError: If there is no such leaf, or the unknown is one array.
    """
    tree = jax.tree.unflatten(unknown.treedef, range(len(unknown.shapes)))
    ends = np.cumsum(unknown.lengths)
    spans: dict[Any, list[int]] = {}
    for path, k in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = _name(path[0]) if path else None
        spans.setdefault(name, []).extend(range(ends[k] - unknown.lengths[k], ends[k]))
    for name in (name for group in names for name in group):
        if None in spans:
            raise StructureError(
                f"FieldSplit is told of the leaf {name!r}, but the unknown is one array of shape {unknown.shapes[0]}; "
                "give index sets, FieldSplit([(indices, recipe), ...]), or an x0 or b that is a pytree of fields."
            )
        if name not in spans:
            raise StructureError(f"FieldSplit: the unknown has no leaf {name!r}; it has {list(spans)}.")
    return tuple(IndexSet([k for name in group for k in spans[name]]) for group in names)


def _name(key: Any) -> Any:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return str(key)


def require_partition(sets: Sequence[IndexSet], n: int) -> None:
    """Refuses fields that overlap, reach beyond the unknowns, or leave some out."""
    counts = np.zeros(n, int)
    for k, one in enumerate(sets):
        if one.indices.max() >= n:
            raise StructureError(f"FieldSplit: field {k} holds unknown {one.indices.max()} of {n}.")
        counts[one.indices] += 1
    for fault, at in (("are in two fields", counts > 1), ("are in no field", counts == 0)):
        if at.any():
            few = ", ".join(map(str, np.flatnonzero(at)[:5]))
            raise StructureError(
                f"FieldSplit: {at.sum()} of {n} unknowns {fault} ({few}, ...); each must be in one."
            )
