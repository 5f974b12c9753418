"""Recycled: the directions that a solve hands to the next one."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.array_likes import told
from jaxsolve.core.errors import StructureError
from jaxsolve.core.options import is_count
from jaxsolve.core.tree import Packing, as_arrays


class Recycled(eqx.Module):
    """Directions in which a Krylov method is slow: a pytree with one array, which passes through jit, scan and vmap.

    Derivatives do not reach it: what it holds changes the iterations of a solve and not its solution.

    Attributes:
        directions: Shape (..., count, n), each of norm 1 or zero, for flat vectors of n unknowns; None in a request
            that has none yet.
        count: How many are kept.
    """

    directions: Array | None
    count: int = eqx.field(static=True)

    def over(self, n: int, dtype: Any, batch: tuple[int, ...]) -> Array:
        """The directions for systems of n unknowns: shape (count, n), or one such array for each system of a batch.

        Raises:
            StructureError: If they are of vectors of another length or of another batch.
            TypeError: If they are of another dtype.
        """
        shape = (self.count, n)
        given = jnp.zeros(shape, dtype) if self.directions is None else self.directions
        if given.shape[-1] != n or given.shape[:-2] not in ((), batch):
            raise StructureError(
                f"the recycled directions have shape {given.shape}; this system needs {(*batch, *shape)}. Use "
                "info.recycled of such a system, or an empty one: js.recycled(x_like, count) with x_like of one system."
            )
        if given.dtype != dtype:
            raise TypeError(
                f"the recycled directions are {given.dtype.name}, and this system is solved in {jnp.dtype(dtype).name}."
                " Use info.recycled of such a system, or js.recycled(x_like, count) with x_like of that dtype."
            )
        lanes = jnp.broadcast_to(given, (*batch, *shape))
        return lanes.reshape(-1, *shape) if batch else lanes

    def __repr__(self) -> str:
        if self.directions is None:
            return f"Recycled({self.count} directions to keep)"
        *batch, _, n = self.directions.shape
        several = f", for a batch of shape {tuple(batch)}" if batch else ""
        return f"Recycled({self.count} directions of {n} unknowns, {self.directions.dtype.name}{several})"


def recycled(x_like: Any, count: int) -> Recycled:
    """Directions that hold nothing yet, of the structure of `info.recycled`: what a scan over solves starts with.

    `js.Solve("CG", recycle=state)` solves with the directions of a state and keeps as many; `info.recycled` is the
    next state. With the one made here it takes the iterations of a fresh solve.

    Args:
        x_like: Arrays, or shapes with dtypes, in the structure of the x of one system.
        count: How many directions are kept, at least 1.

    Returns:
        A `Recycled`: a pytree with one array of shape (count, n) in the common dtype of x, n its number of unknowns.

    Raises:
        ValueError: If count is no whole number of at least 1.
        TypeError: If x_like holds no arrays.

    Cost: count vectors.
    Source: Parks, de Sturler, Mackey, Johnson and Maiti (2006); Saad, Yeung, Erhel and Guyomarc'h (2000).

    >>> import jax, jax.numpy as jnp, jaxsolve as js
    >>> A, bs = jnp.diag(jnp.arange(1.0, 7.0)), jnp.ones((3, 6))
    >>> def step(state, b):
    ...     info = js.solve_linear_info(A, b, js.Solve("CG", recycle=state))
    ...     return info.recycled, info.iterations
    >>> jax.lax.scan(step, js.recycled(bs[0], 6), bs)[1].tolist()
    [6, 0, 0]
    """
    _check_count(count)
    leaves = jax.tree.leaves(x_like)
    if not leaves or not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        x_like = as_arrays("x_like", x_like)
    packing = Packing.of(x_like)
    return Recycled(jnp.zeros((count, packing.size), packing.dtype), int(count))


def recycle_request(recycle: Any, method: Any, name: str) -> Recycled | None:
    """What is to be recycled by a method of this name.

    Raises:
        ValueError: If the method cannot, or for a count below 1.
        TypeError: If it is neither a count nor a `Recycled`.
    """
    if recycle is None:
        return None
    if not getattr(method, "recycles", False):
        raise ValueError(
            f"recycle= goes with the methods 'CG' and 'GMres', which keep directions from solve to solve; got '{name}'."
            " Name one of them, or leave recycle out."
        )
    if isinstance(recycle, Recycled):
        return recycle
    _check_count(recycle)
    return Recycled(None, int(recycle))


def _check_count(count: Any) -> None:
    if not is_count(count):
        raise (ValueError if isinstance(count, int | float) else TypeError)(
            "recycle expects the number of directions to keep, at least 1, or a state: info.recycled or "
            f"js.recycled(x_like, count); got {told(count)}."
        )
