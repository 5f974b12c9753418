"""Columns: right-hand sides of one matrix that a method solves for together, as lanes of a `vmap` that has a name.

The driver treats each as a system of its own: its units, its tolerance, its verdict. A block method alone looks over
the lanes: what it gathers belongs to all of them, and no lane has a copy.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

#: The name of the axis.
COLUMNS = "jaxsolve columns"


def are_together() -> bool:
    """Whether what is seen here is one column of several."""
    try:
        lax.axis_size(COLUMNS)
    except NameError:
        return False
    return True


def gathered(tree: Any) -> Any:
    """The values of all columns, stacked as rows."""
    return jax.tree.map(lambda v: lax.all_gather(v, COLUMNS), tree)


def own(rows: Array) -> Array:
    """The row of this column."""
    return lax.dynamic_index_in_dim(rows, lax.axis_index(COLUMNS), keepdims=False)


def any_of(flag: Array) -> Array:
    """Whether the flag is up in a column."""
    return jnp.any(gathered(flag))
