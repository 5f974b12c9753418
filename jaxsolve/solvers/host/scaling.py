"""Scaling: diagonals of powers of two that bring the entries of a matrix near 1, and its form by columns."""

from typing import Any

import numpy as np
import scipy.sparse

from jaxsolve.operators.pattern import Pattern

#: Rounding units by which entries may differ from those of the adjoint, as for traits.
_ROUNDING = 64


def widened(data: np.ndarray) -> np.ndarray:
    """Values in double precision: single precision loses what refinement would have to recover."""
    return data.astype(np.result_type(data.dtype, np.float64), copy=False)


def has_symmetric_structure(pattern: Pattern, data: np.ndarray) -> bool:
    """Whether (i, j) is an entry whenever (j, i) is, and no diagonal entry is missing or zero."""
    if not pattern.is_symmetric or (pattern.diagonal_positions >= pattern.nnz).any():
        return False
    return bool((data[pattern.diagonal_positions] != 0).all())


def is_hermitian(pattern: Pattern, data: np.ndarray) -> bool:
    """Whether a matrix is Hermitian up to rounding in the units of its unknowns, with a full real diagonal."""
    places = pattern.diagonal_positions
    if not pattern.is_symmetric or (places >= pattern.nnz).any():
        return False
    diagonal = data[places]
    size = np.sqrt(np.abs(diagonal))
    _, order = pattern.transpose()
    apart = np.abs(data - data[order].conj())
    eps = np.finfo(data.dtype).eps
    return bool((apart <= _ROUNDING * eps * size[pattern.rows] * size[pattern.indices]).all())


def equilibrated(pattern: Pattern, data: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """R A C as CSC with largest entries of rows and columns near 1, and the diagonals of R and C."""
    left, right = scaling(pattern, data)
    columns, order = pattern.transpose()
    values = scaled(data[order], columns.indptr, columns.indices, right, left)
    return (
        scipy.sparse.csc_matrix((values, columns.indices, columns.indptr), shape=pattern.shape),
        left,
        right,
    )


def scaling(pattern: Pattern, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The diagonals R and C of R A C.

    Powers of two round nothing. A matrix of symmetric pattern is scaled symmetrically, but for its unit, which stands
    in R alone: under a square root it would round to a power for some rows and not for others.
    """
    magnitudes = np.abs(data)
    other, order = pattern.transpose()
    left = largest(pattern.indptr, magnitudes)
    if pattern.is_symmetric:
        sizes = np.maximum(left, largest(other.indptr, magnitudes[order]))
        unit = inverse_power(sizes.max(initial=np.finfo(sizes.dtype).tiny, keepdims=True))
        right = inverse_power(np.sqrt(sizes * unit))
        return right * unit, right
    left = inverse_power(left)
    magnitudes *= np.repeat(left, np.diff(pattern.indptr))
    return left, inverse_power(largest(other.indptr, magnitudes[order]))


def scaled(
    values: np.ndarray, indptr: np.ndarray, indices: np.ndarray, major: np.ndarray, minor: np.ndarray
) -> np.ndarray:
    """Compressed values times the diagonals along `indptr` and along `indices`."""
    result = values * np.repeat(major, np.diff(indptr))
    # In range by construction; "clip" spares a buffered check, which is half of the time.
    result *= np.take(minor, indices, mode="clip")
    return result


def largest(indptr: np.ndarray, magnitudes: np.ndarray) -> np.ndarray:
    """The largest of each segment of magnitudes; 0 for an empty one."""
    filled = np.diff(indptr) > 0
    if len(filled) and filled.all():
        return np.maximum.reduceat(magnitudes, indptr[:-1])
    result = np.zeros(len(filled), magnitudes.dtype)
    if filled.any():
        result[filled] = np.maximum.reduceat(magnitudes, indptr[:-1][filled])
    return result


def inverse_power(magnitudes: np.ndarray) -> np.ndarray:
    """The power of two nearest above 1 / magnitude; 1 for zero."""
    _, exponents = np.frexp(magnitudes)
    powers = np.ldexp(magnitudes.dtype.type(1), 1 - exponents)
    powers[magnitudes == 0] = 1
    return powers


def to_csc(pattern: Pattern, data: np.ndarray) -> Any:
    """The SciPy CSC matrix of values in CSR order; the permutation is found once a pattern."""
    columns, order = pattern.transpose()
    return scipy.sparse.csc_matrix((data[order], columns.indices, columns.indptr), shape=pattern.shape)
