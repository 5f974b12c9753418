"""Splittings: which points stay on the coarse level."""

import numpy as np

from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.colouring import few_colours
from jaxsolve.preconditioners.graph import priorities


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
    influence = np.bincount(pattern.indices[strong], minlength=n)
    colours = few_colours(pattern)
    weight = influence + (colours + priorities(n) / (n + 1)) / (colours.max(initial=0) + 1)
    undecided = influence > 0
    coarse = np.zeros(n, bool)
    rows, cols = pattern.rows[strong], pattern.indices[strong]
    while undecided.any():
        # Only couplings among the undecided matter any more.
        active = undecided[rows] & undecided[cols]
        rows, cols = rows[active], cols[active]
        rival = np.zeros(n)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        if len(starts):
            rival[rows[starts]] = np.maximum.reduceat(weight[cols], starts)
        np.maximum.at(rival, cols, weight[rows])
        new = undecided & (weight > rival)
        coarse |= new
        undecided &= ~new
        undecided[rows[new[cols]]] = False
    return coarse
