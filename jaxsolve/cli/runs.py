"""Runs: one system solved one way, timed apart from compilation, judged by SciPy on the host."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxsolve.core.results import SolveInfo
from jaxsolve.core.status import Status
from jaxsolve.front.request import AUTO, Solve, preconditioner_name
from jaxsolve.linear.linear_solve import solve_linear_info
from jaxsolve.operators.sparse import SparseMatrix
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.solvers.host.factor import FACTORS
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.scaled_system import FLAT

#: A claim of convergence is false beyond this multiple of the tolerance.
ALLOWANCE = 1.01
#: Calls below this many seconds are timed twice, since the difference of two times is taken.
REPEATED = 1.0
#: States of runs that are no `Status`: refused by a text, not tried.
REFUSED, SKIPPED = "refused", "skipped"

#: Solves a system: the result, and the seconds it took.
Call = Callable[[Solve], tuple[SolveInfo, float]]


@dataclasses.dataclass(frozen=True)
class Run:
    """How one way to solve a system went.

    Attributes:
        matrix: Name of the matrix.
        method: Name of the method.
        preconditioner: Name of the preconditioner, "none".
        status: Name of a `Status`, or "refused", or "skipped".
        converged: Whether the status claims a solution.
        false: Whether the true residual (for least squares the slope) contradicts that.
        iterations: Steps of the method, None where it did not run.
        compile_time: Seconds of a first call without iterations, most of which compiles.
        setup_time: Seconds of a compiled call without iterations, where there is something to set up, else 0.
        solve_time: Seconds of the rest of a compiled call.
        residual: ‖r‖ / ‖b‖ for r = b - A x, by SciPy in double precision.
        slope: ‖Aᴴr‖ / (‖A‖‖r‖) in the same way (Frobenius norm): zero at the least-squares solution.
        message: What happened, with advice where it failed.
    """

    matrix: str
    method: str
    preconditioner: str
    status: str
    converged: bool = False
    false: bool = False
    iterations: int | None = None
    compile_time: float = math.nan
    setup_time: float = math.nan
    solve_time: float = math.nan
    residual: float = math.nan
    slope: float = math.nan
    message: str = ""

    @property
    def way(self) -> str:
        """Method and preconditioner in one label."""
        return self.method if self.preconditioner == "none" else f"{self.method}, {self.preconditioner}"

    @property
    def verdict(self) -> str:
        """The status for tables."""
        return f"{self.status} FALSE" if self.false else self.status


def measured(
    matrix: str, name: str, A: SparseMatrix, b: np.ndarray, solve: Solve, call: Call | None = None
) -> Run:
    """How a solve goes; an exception is part of the answer.

    `max_iterations` is traced, so a call without iterations is the same program: it tells the time of the set-up. What
    depends on the pattern alone is kept from the first call on, as it is in a program that solves many systems.

    Args:
        matrix: Its name.
        name: Name of the method; that of the one chosen is added where it is "auto".
        A: The matrix.
        b: Right-hand side of shape (m,).
        solve: What is asked.
        call: Solves the system, where it is not solved as the matrix A.
    """
    if call is None:
        call = functools.partial(timed, A, b)
    preconditioner = preconditioner_name(solve.preconditioner).lower()
    idle = dataclasses.replace(solve, max_iterations=0)
    try:
        _, first = call(idle)
        _, setup = call(idle)
        info, total = call(solve)
        if total < REPEATED:
            setup = min(setup, call(idle)[1])
            total = min(total, call(solve)[1])
    except Exception as error:  # a way that fails must not end the table
        text = " ".join(str(error).split()) or type(error).__name__
        return Run(matrix, name, preconditioner, REFUSED, message=text)
    setup = setup if solve.preconditioner is not None or not _is_iterative(solve.method) else 0.0
    residual, slope = judged(A, np.asarray(info.x).reshape(-1), b)
    return Run(
        matrix,
        f"{AUTO}: {info.method}" if name == AUTO else name,
        preconditioner,
        info.status.name,
        converged=bool(info.converged),
        false=is_false(info.status, residual, slope, float(np.asarray(solve.rtol)), A.dtype),
        iterations=int(info.iterations),
        compile_time=first,
        setup_time=setup,
        solve_time=max(total - setup, 0.0),
        residual=residual,
        slope=slope,
        message=info.message,
    )


def timed(A: Any, b: Any, solve: Solve, **kwargs: Any) -> tuple[SolveInfo, float]:
    """The result of a solve and the seconds it took, factorisations made anew."""
    FACTORS.clear()
    start = time.perf_counter()
    info = jax.block_until_ready(solve_linear_info(A, b, solve, **kwargs))
    return info, time.perf_counter() - start


def judged(A: SparseMatrix, x: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Residual and slope (see `Run`) of the system as it was handed over, by SciPy in double precision.

    NaN where x is not finite.
    """
    narrow = A.to_scipy()
    matrix = narrow.astype(np.result_type(narrow.dtype, np.float64))
    wide = np.result_type(matrix.dtype, b.dtype)
    with np.errstate(all="ignore"):
        r = b.astype(wide) - matrix @ x.astype(wide)
        distance = np.linalg.norm(r)
        return (
            _ratio(distance, np.linalg.norm(b.astype(wide))),
            _ratio(np.linalg.norm(matrix.conj().T @ r), np.linalg.norm(matrix.data) * distance),
        )


def is_false(status: Status, residual: float, slope: float, rtol: float, dtype: Any) -> bool:
    """Whether a status claims more than the numbers show."""
    if status == Status.converged:
        return not residual <= ALLOWANCE * rtol
    if status == Status.least_squares:
        return not slope <= ALLOWANCE * max(rtol, FLAT * float(np.finfo(dtype).eps))
    return False


def _ratio(part: Any, whole: Any) -> float:
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return float(part / whole)


def _is_iterative(method: Any) -> bool:
    """Whether a method has nothing to set up; not known of "auto"."""
    return isinstance(method, AbstractMethod) and method.preconditioned


def history(A: SparseMatrix, b: np.ndarray, solve: Solve, iterations: int) -> tuple[list[int], list[float]]:
    """Iterations and relative residuals on the way, by solves cut short at limits that grow by a half.

    Costs about three solves; the preconditioner is built once.
    """
    recipe = solve.preconditioner
    if isinstance(recipe, AbstractPreconditioner):
        solve = dataclasses.replace(solve, preconditioner=recipe.build(A))
    size = float(np.linalg.norm(b.astype(np.result_type(b.dtype, np.float64)))) or 1.0
    steps, residuals, limit = [0], [1.0], 1
    while True:
        limit = min(limit, iterations)
        info = solve_linear_info(A, b, dataclasses.replace(solve, max_iterations=limit))
        reached = int(info.iterations)
        if reached > steps[-1]:
            steps.append(reached)
            residuals.append(float(info.residual_norm) / size)
        if limit >= iterations:
            return steps, residuals
        limit = max(limit + 1, limit + limit // 2)
