"""Strength and aggregates by functions of the user, with what they return looked at."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.operators.pattern import Pattern


def chosen_strength(strength: Callable[[Any], Any], pattern: Pattern, data: np.ndarray) -> np.ndarray:
    """For each entry whether it is strong; entries of the diagonal are not.

    Raises:
        StructureError: If the function returns something else.
    """
    strong = np.asarray(strength(pattern.to_scipy(data)))
    if strong.dtype != np.bool_ or strong.shape != (pattern.nnz,):
        raise StructureError(
            f"strength must return a bool for each of the {pattern.nnz} entries of the matrix, in the order of A.data; "
            f"got {strong.dtype} of shape {strong.shape}."
        )
    return strong & (pattern.rows != pattern.indices)


def chosen_aggregates(aggregation: Callable[[Any], Any], graph: Any) -> np.ndarray:
    """The aggregate of each point, -1 for points that are in none.

    Raises:
        StructureError: If the function returns something else.
    """
    label = np.asarray(aggregation(graph))
    n = graph.shape[0]
    if not np.issubdtype(label.dtype, np.integer) or label.shape != (n,):
        raise StructureError(
            f"aggregation must return an integer for each of the {n} points of the graph; got {label.dtype} of shape "
            f"{label.shape}."
        )
    numbers = np.unique(label[label >= 0])
    if label.min(initial=0) < -1 or not np.array_equal(numbers, np.arange(len(numbers))):
        raise StructureError(
            "aggregation must number the aggregates 0, 1, 2, ... without gaps, -1 for points in none; got "
            f"{np.unique(label)[:10].tolist()}."
        )
    return label.astype(np.int64)
