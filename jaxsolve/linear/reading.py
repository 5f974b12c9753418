"""Reading: a system without its right-hand side, as the user gave it, as an operator."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.errors import StructureError
from jaxsolve.core.tree import Packing, as_arrays, inexact
from jaxsolve.front.request import Solve
from jaxsolve.front.structures import Structures
from jaxsolve.linear.problem import Problem, pose
from jaxsolve.operators.conversion import ACCEPTED, as_operator, is_function, told_entries
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.operators.pattern import Pattern


class Reading(NamedTuple):
    """What is known of a system without its right-hand side.

    Attributes:
        problem: The system with a right-hand side of zeros, minus what a function adds.
        operator: The operator in the form that runs; a batch of matrices as it was given.
        offset: What a function adds, a flat vector; None for a matrix.
        structures: Those of a function of pytrees, else None.
        pattern: The positions of the entries, None where they are not known.
    """

    problem: Problem
    operator: LinearOperator
    offset: Array | None
    structures: Structures | None
    pattern: Pattern | None


def read_system(A: Any, solve: Solve, args: tuple, kwargs: dict, x_like: Any) -> Reading:
    """The system of a matrix or of a function.

    Args:
        A: What `solve_linear` takes.
        solve: The request.
        args: Further arguments of a function A.
        kwargs: The same by name.
        x_like: Arrays like x, for a function; None for the first guess of the request.

    Raises:
        TypeError: If A is of the wrong kind, or if nothing is known of the vectors of a function.
        StructureError: If `preprocess` is asked for a batch.
    """
    if is_function(A):
        problem = _of_function(A, solve, args, kwargs, x_like)
        held, offset = problem.A, -problem.b
    else:
        operator = as_operator(A, accepted=ACCEPTED)
        if args or kwargs:
            raise TypeError(
                f"further arguments are passed on to A, so A must be a function; got {type(A).__name__}."
            )
        stack, dtype = operator.batch_shape, inexact(operator.dtype)
        held, offset = operator.astype(dtype), None
        zeros = jnp.zeros((*stack, operator.shape[0]), dtype)
        problem = pose(held, zeros, _without_guess(solve), (), {}, True)
    if solve.preprocess is not None:
        if problem.matrices:
            raise StructureError("preprocess is for one matrix: set up each of a batch by jax.vmap.")
        processed = as_operator(solve.preprocess(problem.A), "what preprocess returns")
        problem = dataclasses.replace(problem, A=processed)
    if not problem.matrices:
        held = problem.A.layout()
    told = told_entries(problem.A)
    flat = offset is None or _is_flat(problem.structures)
    pattern = None if told is None else told.pattern
    return Reading(problem, held, offset, None if flat else problem.structures, pattern)


def _of_function(f: Any, solve: Solve, args: tuple, kwargs: dict, x_like: Any) -> Problem:
    given = solve.x0 if x_like is None else x_like
    if given is None:
        raise TypeError(
            "js.setup needs to know which vectors a function is applied to: js.setup(f, solve, ..., x_like=x) with "
            "arrays like x, or a first guess, js.Solve(x0=x); got neither."
        )
    x = jax.tree.map(jnp.zeros_like, as_arrays("x_like", given))
    out = jax.eval_shape(lambda x: f(x, *args, **kwargs), x)
    b = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), out)
    asked = eqx.tree_at(lambda s: s.x0, solve, x, is_leaf=lambda v: v is None)
    return pose(f, b, asked, args, kwargs, True)


def _without_guess(solve: Solve) -> Solve:
    return eqx.tree_at(lambda s: s.x0, solve, None, is_leaf=lambda v: v is None)


def _is_flat(structures: Structures) -> bool:
    """Whether the vectors of the user are flat ones."""
    packings = structures.unknown, structures.rhs
    return all(p == Packing.vector(p.size, p.dtypes[0] if p.dtypes else p.dtype) for p in packings)
