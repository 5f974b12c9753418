"""Coordinates of entries as users give them, checked: concrete integers inside the matrix."""

import operator
from typing import Any

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.staging import is_traced


def matrix_shape(shape: Any) -> tuple[int, int]:
    """Rows and columns.

    Raises:
        StructureError: If these are not two integers of at least 0.

    >>> matrix_shape([2, 3])
    (2, 3)
    """
    try:
        m, n = map(operator.index, shape)
    except (TypeError, ValueError):
        m = n = -1
    if min(m, n) < 0:
        raise StructureError(f"the shape of a matrix is two integers (rows, columns); got {shape!r:.80}.")
    return m, n


def entry_positions(rows: Any, columns: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of entries as NumPy integers of shape (nnz,).

    Raises:
        StructureError: If they are traced, of other shapes, or outside the matrix.
        TypeError: If they are no integers.
    """
    found = [
        _integers(name, given, size)
        for name, given, size in zip(("rows", "columns"), (rows, columns), shape, strict=True)
    ]
    if len(found[0]) != len(found[1]):
        raise StructureError(
            f"rows and columns are pairs; got {len(found[0])} rows and {len(found[1])} columns."
        )
    return found[0], found[1]


def _integers(name: str, given: Any, size: int) -> np.ndarray:
    if is_traced(given):
        raise StructureError(
            f"{name} are traced, but a pattern is static: hand over NumPy integers from outside of the function that "
            "is compiled (values may be traced). A BCOO takes traced positions, for methods that need products alone."
        )
    try:
        host = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be integers of shape (nnz,); got a {type(given).__name__}: {error}"
        ) from None
    if host.ndim != 1:
        raise StructureError(f"{name} must be integers of shape (nnz,); got shape {host.shape}.")
    if host.size and host.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers of shape (nnz,); got {host.dtype.name}.")
    outside = np.flatnonzero((host < 0) | (host >= size))
    if outside.size:
        k = outside[0]
        raise StructureError(
            f"{name}[{k}] = {host[k]} lies outside: {name} of this matrix are 0 to {size - 1}."
        )
    return host.astype(np.int64)
