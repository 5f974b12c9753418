"""Damping: min ‖b - A x‖² + λ²‖x‖² (Tikhonov) as the least-squares problem of [A; λ I] and [b; 0].

So the damped solution is differentiated as any other one is, in λ too, and the verdict on it is that on least squares.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxsolve.core.tree import Packing
from jaxsolve.front.request import Solve, preconditioner_name
from jaxsolve.linear.auto import Choice
from jaxsolve.linear.problem import Problem
from jaxsolve.operators.conversion import is_operator
from jaxsolve.operators.damped import Damped


def damped(problem: Problem, solve: Solve, choice: Choice) -> tuple[Problem, Choice]:
    """The problem and the method without the damping that the method asks for, which is in the matrix then.

    Raises:
        ValueError: If a null space is declared, the request for gradients has a damping of its own, or a preconditioner
            would have to be made of the matrix.
    """
    other = solve.gradient_solve
    if other is not None and _of(other.method) is not None:
        raise ValueError(
            "gradient_solve is for the same damped problem; give damp to the method of the Solve itself, and none to "
            "that of its gradient_solve."
        )
    damp = _of(choice.method)
    if damp is None:
        return problem, choice
    if solve.null_space is not None or solve.rank_deficiency:
        raise ValueError(
            "a damped problem has one solution, and no null space to keep out of it; leave out null_space and "
            "rank_deficiency, or damp."
        )
    recipe = choice.preconditioner
    if not (recipe is None or is_operator(recipe) or hasattr(recipe, "shape")):
        raise ValueError(
            f"a damped problem takes a preconditioner as a matrix or an operator of shape {(problem.A.shape[1],) * 2}, "
            f"applied from the right; got {preconditioner_name(recipe)}."
        )
    A, (m, n), structures = problem.A, problem.A.shape, problem.structures
    damp = jnp.asarray(damp).astype(jnp.finfo(structures.dtype).dtype)
    if problem.matrices:
        damp = jnp.broadcast_to(damp, problem.b.shape[:1])
    zeros = jnp.zeros((*problem.b.shape[:-1], n), problem.b.dtype)
    joined = dataclasses.replace(
        structures, rhs=Packing.vector(m + n, structures.dtype), shown=structures.rhs
    )
    problem = dataclasses.replace(
        problem, A=Damped(A, damp), b=jnp.concatenate([problem.b, zeros], axis=-1), structures=joined
    )
    if recipe is None and m <= n:
        # Columns are scaled in tall problems alone; where λ is 0 the shortest x is that in these units.
        recipe = (None, None)
    method: Any = dataclasses.replace(choice.method, damp=None)
    return problem, choice._replace(method=method, preconditioner=recipe)


def _of(method: Any) -> Any:
    return getattr(method, "damp", None)
