"""Modes: near-null vectors as part of a recipe."""

import hashlib
from typing import Any

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced


class Modes:
    """Vectors on the host, compared by their digest so that they are static metadata of a recipe.

    Args:
        B: Shape (n,) or (n, k), concrete.
    """

    def __init__(self, B: Any):
        if is_traced(B):
            raise StructureError(
                "`B` needs concrete values, since the hierarchy is built on them; these are traced."
            )
        values = np.array(B)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or not 0 < values.shape[1] <= values.shape[0]:
            raise StructureError(f"`B` holds near-null vectors as columns, shape (n, k); got {np.shape(B)}.")
        if not np.isfinite(values).all():
            raise StructureError("`B` holds a number that is not finite.")
        self.values = values if np.issubdtype(values.dtype, np.inexact) else values.astype(float)
        key = f"{self.values.dtype}{self.values.shape}".encode()
        self._digest = hashlib.blake2b(key + np.ascontiguousarray(self.values).tobytes()).hexdigest()

    def like(self, dtype: Any) -> np.ndarray:
        """The vectors in the precision of a dtype."""
        return self.values.astype(held(self.values, dtype))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Modes) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Modes({self.values.shape}, {self._digest[:16]})"


def held(values: np.ndarray, dtype: Any) -> Any:
    """A dtype, or the complex one of its precision where values are complex."""
    return np.result_type(dtype, np.complex64) if np.iscomplexobj(values) else dtype


def as_modes(B: Any) -> Modes | None:
    """The modes in the columns of an array, None of None."""
    return B if B is None or isinstance(B, Modes) else Modes(B)
