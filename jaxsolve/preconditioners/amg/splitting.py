"""Splittings: which points stay on the coarse level."""

import numpy as np
import scipy.sparse

from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.graph import colours_of, largest_around, priorities


def coarse_points(pattern: Pattern, strong: np.ndarray) -> np.ndarray:
    """Marks an independent set of points on which most others depend strongly.

    In rounds, points on which more undecided neighbours depend than on any of theirs become coarse, and those that
    depend strongly on a new coarse one become fine. Ties are broken by the colours of the graph, so that regular
    grids get every second point, then at random.

    Args:
        pattern: Square.
        strong: For each entry whether its row depends strongly on its column.

    Source: De Sterck, Yang, Heys, Reducing complexity in parallel algebraic multigrid preconditioners (2006), PMIS;
    the colours are those of Alber, Olson, Parallel coarse-grid selection (2007).
    """
    n = pattern.shape[0]
    depends = scipy.sparse.csr_matrix(
        (np.ones(strong.sum(), np.int8), (pattern.rows[strong], pattern.indices[strong])), shape=(n, n)
    )
    joined = (depends + depends.T).tocsr()
    influence = np.bincount(pattern.indices[strong], minlength=n)
    colours = colours_of(pattern)
    weight = influence + (colours + priorities(n) / (n + 1)) / (colours.max(initial=0) + 1)
    undecided = influence > 0
    coarse = np.zeros(n, bool)
    while undecided.any():
        value = np.where(undecided, weight, -1.0)
        new = undecided & (value > largest_around(joined, value))
        coarse |= new
        undecided &= ~new & (largest_around(depends, new.astype(np.int8)) <= 0)
    return coarse
