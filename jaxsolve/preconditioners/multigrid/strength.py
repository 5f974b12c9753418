"""Strength of connection: which couplings carry the slow error."""

import numpy as np

from jaxsolve.operators.pattern import Pattern


def classical_strength(pattern: Pattern, data: np.ndarray, threshold: float) -> np.ndarray:
    """For each entry whether its row depends strongly on its column.

    Strong are the couplings against the sign of the diagonal of at least `threshold` times the row's largest one.

    Args:
        pattern: Square.
        data: Shape (nnz,), representative values.
        threshold: 0.25 is usual.

    Source: Ruge, Stüben, Algebraic multigrid (1987), section 4.6.1.
    """
    against = opposition(pattern, data)
    against[pattern.diagonal_positions[pattern.diagonal_positions < pattern.nnz]] = 0
    largest = np.zeros(pattern.shape[0])
    some = np.flatnonzero(np.diff(pattern.indptr))
    if len(some):
        largest[some] = np.maximum.reduceat(against, pattern.indptr[some])
    return (against > 0) & (against >= (threshold * largest)[pattern.rows])


def symmetric_strength(pattern: Pattern, data: np.ndarray, threshold: float) -> np.ndarray:
    """For each entry whether |a_ij| exceeds `threshold` times √|a_ii a_jj|; a symmetric relation.

    Source: Vaněk, Mandel, Brezina, Algebraic multigrid by smoothed aggregation (1996), equation 3.
    """
    d = np.sqrt(np.abs(host_diagonal(pattern, data)))
    off = pattern.rows != pattern.indices
    return off & (np.abs(data) > threshold * d[pattern.rows] * d[pattern.indices])


def opposition(pattern: Pattern, data: np.ndarray) -> np.ndarray:
    """The part of each entry against the sign (complex: the phase) of its row's diagonal, positive where opposite."""
    return np.real(data * turned(host_diagonal(pattern, data))[pattern.rows])


def turned(d: np.ndarray) -> np.ndarray:
    """Minus the sign (complex: the conjugate phase) of diagonal entries, that of 1 for 0."""
    if not np.iscomplexobj(d):
        return np.where(d < 0, 1, -1).astype(d.dtype)
    return -np.conj(np.where(d == 0, 1, d / np.where(d == 0, 1, np.abs(d))))


def host_diagonal(pattern: Pattern, data: np.ndarray) -> np.ndarray:
    """The diagonal of host values, zero where there is no entry."""
    return np.append(data, np.zeros(1, data.dtype))[pattern.diagonal_positions]


def representative_values(pattern: Pattern) -> np.ndarray:
    """Values of a Laplacian on the graph of a pattern, for matrices whose values are unknown while planning."""
    off = pattern.rows != pattern.indices
    degree = np.bincount(pattern.rows[off], minlength=pattern.shape[0])
    return np.where(off, -1.0, degree[pattern.rows] + 1e-3)
