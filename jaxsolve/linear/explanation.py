"""explain: what would be done with a system and why, or what went wrong in a solve."""

import dataclasses
from typing import Any, overload

import numpy as np

from jaxsolve.core.errors import StructureError
from jaxsolve.core.html import facts_table
from jaxsolve.core.precision import in_full
from jaxsolve.core.results import SolveInfo
from jaxsolve.core.staging import is_traced
from jaxsolve.front.request import AUTO, Solve, method_name, needs_entries, preconditioner_name
from jaxsolve.linear.auto import TINY, Choice, alternatives
from jaxsolve.linear.diagnosis import Diagnosis, diagnose
from jaxsolve.linear.knowledge import Knowledge
from jaxsolve.linear.preparation import chosen, described
from jaxsolve.linear.problem import pose
from jaxsolve.operators.conversion import as_operator, is_function
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.tracer.compiled import LinearFunction

#: Rules that hold too are listed up to here.
MOST_ALTERNATIVES = 3


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """A choice, its reasons, the facts it rests on and the alternatives; its `str` is a few lines.

    Attributes:
        method: Name of the method.
        preconditioner: Name of the preconditioner, "None" for none.
        reasons: Why these.
        facts: What is known of the system: shape, dtype, traits, entries, ...
        alternatives: What would suit too, and why.

    >>> import contextlib, io, jax.numpy as jnp, jaxsolve as js
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     choice = js.explain(jnp.eye(3), jnp.ones(3))
    >>> choice.method, choice.facts["shape"]
    ('LU', (3, 3))
    """

    method: str
    preconditioner: str
    reasons: tuple[str, ...]
    facts: dict[str, Any]
    alternatives: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"method: {self.method}", f"preconditioner: {self.preconditioner}"]
        lines += [f"because {reason}" for reason in self.reasons]
        lines += [f"{name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, *(f"or {other}" for other in self.alternatives)])

    def _repr_html_(self) -> str:
        told = [("method", self.method), ("preconditioner", self.preconditioner)]
        told += [("because", reason) for reason in self.reasons]
        told += [(name, str(value)) for name, value in self.facts.items()]
        return facts_table("Explanation", told + [("or", other) for other in self.alternatives])

    def __repr__(self) -> str:
        return f"Explanation({self.method}, preconditioner={self.preconditioner})"


@overload
def explain(A: SolveInfo, b: Any = None) -> Diagnosis: ...
@overload
def explain(
    A: Any, b: Any = None, solve: Solve | None = None, *f_args: Any, **f_kwargs: Any
) -> Explanation: ...
@in_full
def explain(
    A: Any, b: Any = None, solve: Solve | None = None, *f_args: Any, **f_kwargs: Any
) -> Explanation | Diagnosis:
    """Prints and returns what `solve_linear(A, b, solve)` would do and why; or how a solve went and what follows.

    Args:
        A: What `solve_linear` takes, or a `SolveInfo` (of a failure: `exception.result`).
        b: The right-hand side. With a `SolveInfo`, the matrix it was solved with, for one that came out of jit; the
            result of an eager solve knows its own.
        solve: The request.
        *f_args: Further arguments of a function A.
        **f_kwargs: The same by name.

    Returns:
        An `Explanation`: method, preconditioner, reasons, facts, alternatives. An incomplete factorisation is made
        for it, to tell what came of it and how it is applied; a solve that follows uses the same factors.
        For a `SolveInfo` a `Diagnosis`:
        estimates of condition number and eigenvalues by some dozens of products (exact up to 256 unknowns), what they
        say of the method that was used, and advice.

    Raises:
        StructureError: If shapes or structures do not fit; a ValueError.
        TypeError: If an argument is of the wrong kind.

    Cost: for a system some dozens of products and an ordering (0.3 s for 90 000 unknowns, once a pattern; nothing is
        eliminated), the reading of a function and an incomplete factorisation apart; for a `SolveInfo` some dozens of
        products.

    >>> import jax.numpy as jnp
    >>> choice = explain(jnp.eye(3), jnp.ones(3))
    method: LU
    preconditioner: None
    because A is dense, n <= 8192: factors of a dense matrix are exact and cost what a few hundred iterations do
    shape: (3, 3)
    dtype: ...
    traits: none known
    execution: DenseMatrix
    values: constant
    or IDR(s) + jacobi: the diagonal of A is known, nothing of its symmetry
    or IDR(s): nothing is known of the symmetry of A
    """
    if isinstance(A, SolveInfo):
        found = diagnose(A, None if b is None else as_operator(b))
    else:
        found = _choice(A, b, Solve() if solve is None else solve, f_args, f_kwargs)
    print(found)  # noqa: T201  (that is what it is for)
    return found


def _choice(A: Any, b: Any, solve: Solve, f_args: tuple, f_kwargs: dict) -> Explanation:
    problem = pose(A, b, solve, f_args, f_kwargs, True)
    choice, reasons = chosen(solve, problem.A, problem.structures.dtype), ()
    if is_function(A):
        reasons = (_reading(A, solve, Knowledge.of(problem.A).sparse),)
    others = () if choice.rule is None else alternatives(problem.A, solve, choice.rule)
    return Explanation(
        method_name(choice.method),
        preconditioner_name(choice.preconditioner),
        (*choice.reasons, *reasons),
        {
            **_facts(Knowledge.of(problem.A)),
            **_narrowed(A, problem.A),
            **({} if problem.matrices else _factors(choice, problem.A)),
        },
        tuple(f"{rule.pair}: {rule.when}" for rule in others[:MOST_ALTERNATIVES]),
    )


def _narrowed(given: Any, A: LinearOperator) -> dict[str, str]:
    """That a matrix of NumPy or SciPy lost digits on its way into JAX, which holds float32 by default."""
    before = getattr(given, "dtype", None)
    if before is None or not isinstance(before, np.dtype) or before.kind not in "fc":
        return {}
    if before.itemsize <= np.dtype(A.dtype).itemsize:
        return {}
    kept = 'jax.config.update("jax_enable_x64", True) keeps it'
    return {
        "dtype": f"{np.dtype(A.dtype).name} (given as {before.name}, which JAX holds so by default; {kept})"
    }


def _factors(choice: Choice, A: LinearOperator) -> dict[str, Any]:
    """What an incomplete factorisation makes of A, or why it refuses it."""
    try:
        told = described(choice.method, choice.preconditioner, A)
    except StructureError as error:
        told = f"none, {error}"
    return {} if told is None else {"factors": told}


def _reading(f: Any, solve: Solve, read: bool) -> str:
    """Whether a function is read as a sparse matrix, and why."""
    if isinstance(f, LinearFunction):
        return "the function is read as a sparse matrix: it is decorated with jit_compile_linear"
    if needs_entries(solve):
        return "the function is read as a sparse matrix: the method or the preconditioner needs its entries"
    if read:
        return "the function is read as a sparse matrix: it can be, and then any method can be chosen"
    if solve.method == AUTO and solve.preconditioner is None:
        return "the function stays matrix-free: it can't be read as a sparse matrix (js.jit_compile_linear says why)"
    if solve.inner_dtype is not None:
        return "the function stays matrix-free, in its own precision: it can't be read as a sparse matrix"
    return "the function stays matrix-free: only products are needed (decorate it with jit_compile_linear to read it)"


def _predictions(k: Knowledge) -> dict[str, Any]:
    """What elimination and multigrid are predicted to cost, and what else the larger matrices are judged by."""
    if k.n <= TINY:
        return {}
    fill, told = k.fill, {}
    told["elimination"] = "not predicted, rows are exchanged" if fill is None else str(fill)
    if fill is not None and k.elimination_seconds < fill.seconds:
        told["elimination"] += f", {k.elimination_seconds:.1g} s by CHOLMOD"
    if k.suits_multigrid:
        told["multigrid"] = (
            f"about {k.multigrid_seconds:.1g} s on one core, for new values of a known pattern"
        )
    if k.concrete is not None and not k.hermitian:
        told["column dominance"] = k.column_dominance
    return told


def _facts(k: Knowledge) -> dict[str, Any]:
    source = "" if k.source == "unknown" else f" {k.source}"
    facts: dict[str, Any] = {
        "shape": k.A.shape,
        "dtype": k.A.dtype.name,
        "traits": f"{', '.join(k.traits.names()) or 'none known'}{source}",
        "execution": type(k.A.layout()).__name__,
        "values": "traced" if is_traced(k.A) else "constant",
    }
    if k.matrix is not None:
        facts["entries"] = k.entries
        facts["bandwidth"] = k.bandwidth
        facts["symmetric pattern"] = k.couples_both_ways
        diagonals = k.matrix.by_diagonals()
        if diagonals is not None:
            facts["diagonals"] = len(diagonals.offsets)
        if not k.rectangular:
            facts["grid"] = k.grid
            facts["zeros on the diagonal"] = k.zero_diagonal
            facts["diagonal dominance"] = k.dominance
            facts.update(_predictions(k))
    return facts
