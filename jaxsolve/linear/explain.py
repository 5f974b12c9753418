"""explain: what would be done with a system and why, or what went wrong in a solve."""

import dataclasses
from typing import Any

from jaxsolve.core.results import SolveInfo, describe
from jaxsolve.core.staging import is_traced
from jaxsolve.linear.prepare import chosen_method
from jaxsolve.linear.problem import pose
from jaxsolve.linear.request import Solve, method_name, needs_entries, preconditioner_name
from jaxsolve.linear.select import choose, choose_preconditioner, known_traits
from jaxsolve.operators.base import LinearOperator
from jaxsolve.operators.dia import DiagonalsOperator
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.tracer.compiled import LinearFunction


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A choice, its reason and the facts it rests on; prints as a few lines.

    Attributes:
        method: Name of the method.
        preconditioner: Name of the preconditioner, "None" for none.
        reasons: Why these.
        facts: What is known of the system.
    """

    method: str
    preconditioner: str
    reasons: tuple[str, ...]
    facts: dict[str, Any]

    def __str__(self) -> str:
        lines = [f"method: {self.method}", f"preconditioner: {self.preconditioner}"]
        lines += [f"because {reason}" for reason in self.reasons]
        return "\n".join([*lines, *(f"{name}: {value}" for name, value in self.facts.items())])


def explain(
    A: Any, b: Any = None, solve: Solve | None = None, *f_args: Any, **f_kwargs: Any
) -> Explanation | str:
    """What `solve_linear(A, b, solve)` would do and why; or, for a `SolveInfo`, how that solve went and what follows.

    Args:
        A: What `solve_linear` takes, or a `SolveInfo`.
        b: The right-hand side; not needed for a `SolveInfo`.
        solve: The request.
        *f_args: Further arguments of a function A.
        **f_kwargs: The same by name.

    >>> import jax.numpy as jnp
    >>> print(explain(jnp.eye(3), jnp.ones(3)))
    method: LU
    preconditioner: None
    because A is dense and small (3)
    shape: (3, 3)
    dtype: ...
    traits: none declared
    execution: DenseMatrix
    values: constant
    """
    if isinstance(A, SolveInfo):
        return describe(A)
    solve = Solve() if solve is None else solve
    problem = pose(A, b, solve, f_args, f_kwargs, True)
    method = chosen_method(solve, problem.A)
    reasons = [
        choose(problem.A, solve.preconditioner is not None)[1]
        if isinstance(solve.method, str)
        else "you asked for it"
    ]
    recipe = solve.preconditioner
    if isinstance(recipe, str):
        recipe, reason = choose_preconditioner(problem.A)
        reasons.append(reason)
    if callable(A) and not isinstance(A, LinearOperator):
        reasons.append(_reading(A, solve))
    return Explanation(method_name(method), preconditioner_name(recipe), tuple(reasons), _facts(problem.A))


def _reading(f: Any, solve: Solve) -> str:
    """Whether a function is read as a sparse matrix, and why."""
    if isinstance(f, LinearFunction):
        return "the function is read as a sparse matrix: it is decorated with jit_compile_linear"
    if needs_entries(solve):
        return "the function is read as a sparse matrix: the method or the preconditioner needs its entries"
    return "the function stays matrix-free: only products are needed (decorate it with jit_compile_linear to read it)"


def _facts(A: LinearOperator) -> dict[str, Any]:
    traits, source = known_traits(A)
    facts: dict[str, Any] = {
        "shape": A.shape,
        "dtype": A.dtype.name,
        "traits": f"{', '.join(traits.names()) or 'none'} {source}",
        "execution": type(A.layout()).__name__,
        "values": "traced" if is_traced(A) else "constant",
    }
    if isinstance(A, SparseMatrix):
        layout = A.layout()
        facts["entries"] = A.nnz
        facts["bandwidth"] = A.pattern.bandwidth
        facts["symmetric pattern"] = A.pattern.is_symmetric
        if isinstance(layout, DiagonalsOperator):
            facts["diagonals"] = len(layout.offsets)
    return facts
