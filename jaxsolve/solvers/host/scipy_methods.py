"""SciPy's Krylov solvers behind one signature."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse.linalg as ssl
from scipy.sparse.linalg import LinearOperator as HostOperator

from jaxsolve.core.status import Status
from jaxsolve.operators.host_products import Products

#: Vectors between restarts of GMRES and LGMRES, and of the inner iteration of GCROT(m, k), as in SciPy.
INNER = 30
INNER_GCROT = 20
#: Where this many steps, or this many times n, did not end, rounding has spoilt the directions, and the driver starts
#: again from the residual (SciPy's CGS in single precision: 5 unknowns of condition 2 stay at 2e-4 for ever).
FEWEST, BEYOND = 100, 10
#: Rounding unit below which `lsqr` and `lsmr` stop by their second test, the normal equations.
FLAT = 1e-14


@dataclasses.dataclass(frozen=True)
class Task:
    """What SciPy has to solve: A d = r to ‖r - A d‖ <= goal in at most `limit` iterations.

    Attributes:
        A: The operator, which counts its products.
        M: The preconditioner, or None.
        r: Right-hand side.
        goal: Norm of the residual.
        limit: Iterations at most.
    """

    A: HostOperator
    M: HostOperator | None
    r: np.ndarray
    goal: float
    limit: int


@dataclasses.dataclass(frozen=True)
class Answer:
    """What SciPy found.

    Attributes:
        d: The solution.
        iterations: Iterations, None where they are as many as products with A.
        halt: Why it stopped before the goal, if it knows.
    """

    d: np.ndarray
    iterations: int | None
    halt: int = 0


class _Counter:
    """Counts calls, as SciPy's callbacks."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: Any) -> None:
        self.count += 1


def _plain(solver: Callable[..., Any]) -> Callable[[Task], Answer]:
    def run(task: Task) -> Answer:
        counter = _Counter()
        limit = min(task.limit, max(FEWEST, BEYOND * len(task.r)))
        d, info = solver(task.A, task.r, rtol=0.0, atol=task.goal, maxiter=limit, M=task.M, callback=counter)
        if info > 0 and limit < task.limit:
            return Answer(d, counter.count, int(Status.stagnation))
        return Answer(d, counter.count, int(Status.breakdown) if info < 0 else 0)

    return run


def _right(solver: Callable[..., Any]) -> Callable[[Task], Answer]:
    """For solvers that would measure the preconditioned residual: A M y = r, d = M y."""
    plain = _plain(solver)

    def run(task: Task) -> Answer:
        if task.M is None:
            return plain(task)
        answer = plain(dataclasses.replace(task, A=task.A @ task.M, M=None))
        return dataclasses.replace(answer, d=task.M.matvec(answer.d))

    return run


def _gmres(task: Task) -> Answer:
    counter = _Counter()
    size = max(1, min(INNER, task.limit, len(task.r)))
    d, _ = ssl.gmres(
        task.A,
        task.r,
        rtol=0.0,
        atol=task.goal,
        restart=size,
        maxiter=-(-task.limit // size),
        M=task.M,
        callback=counter,
        callback_type="pr_norm",
    )
    return Answer(d, counter.count)


def _lgmres(task: Task) -> Answer:
    size = max(1, min(INNER, task.limit, len(task.r)))
    d, _ = ssl.lgmres(
        task.A, task.r, rtol=0.0, atol=task.goal, inner_m=size, maxiter=-(-task.limit // size), M=task.M
    )
    return Answer(d, None)


def _gcrotmk(task: Task) -> Answer:
    size = max(1, min(INNER_GCROT, task.limit, len(task.r)))
    d, _ = ssl.gcrotmk(
        task.A, task.r, rtol=0.0, atol=task.goal, m=size, maxiter=-(-task.limit // size), M=task.M
    )
    return Answer(d, None)


def _qmr(task: Task) -> Answer:
    counter = _Counter()
    n = len(task.r)
    # QMR takes a left and a right preconditioner; the left one alone is as good, as its adjoint goes with it.
    identity = Products((n, n), task.r.dtype, np.copy, np.copy)
    left = identity if task.M is None else task.M
    d, info = ssl.qmr(
        task.A, task.r, rtol=0.0, atol=task.goal, maxiter=task.limit, M1=left, M2=identity, callback=counter
    )
    return Answer(d, counter.count, int(Status.breakdown) if info < 0 else 0)


class _Reached(Exception):
    """The residual is small enough."""


def _minres(task: Task) -> Answer:
    # SciPy's MINRES stops by a quotient of its own, so the true residual is watched. Complex Hermitian systems are
    # solved as real symmetric ones of twice the size, since its inner products do not conjugate.
    double = np.iscomplexobj(task.r)
    A, M, r = task.A, task.M, task.r
    if double:
        A, M, r = _real(A), None if M is None else _real(M), _parts(r)
    counter = _Counter()
    last = np.zeros_like(r)

    def watch(x: np.ndarray) -> None:
        counter(x)
        last[:] = x
        if np.linalg.norm(r - A.matvec(x)) <= task.goal:
            raise _Reached

    try:
        d, _ = ssl.minres(A, r, rtol=1e-16, maxiter=task.limit, M=M, callback=watch)
    except _Reached:
        d = last
    except ValueError as error:
        raise ValueError(f"scipy-minres: {error}. It needs a positive definite preconditioner.") from error
    return Answer(d[: len(d) // 2] + 1j * d[len(d) // 2 :] if double else d, counter.count)


def _parts(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.real(x), np.imag(x)])


def _real(A: HostOperator) -> HostOperator:
    n = A.shape[0]

    def product(x: np.ndarray) -> np.ndarray:
        return _parts(A.matvec(x[:n] + 1j * x[n:]))

    # Symmetric, as A is Hermitian.
    return Products((2 * n, 2 * n), np.float64, product, product)


def _least_squares(solver: Callable[..., Any]) -> Callable[[Task], Answer]:
    def run(task: Task) -> Answer:
        # Right preconditioning: A M y = r, d = M y.
        B = task.A if task.M is None else task.A @ task.M
        small = task.goal / max(float(np.linalg.norm(task.r)), 1e-300)
        if solver is ssl.lsqr:
            y, reason, iterations = ssl.lsqr(B, task.r, atol=FLAT, btol=small, conlim=0, iter_lim=task.limit)[
                :3
            ]
        else:
            y, reason, iterations = ssl.lsmr(B, task.r, atol=FLAT, btol=small, conlim=0, maxiter=task.limit)[
                :3
            ]
        # Reasons 2 and 5: the least-squares solution, with a residual that is not small.
        halt = int(Status.least_squares) if reason in (2, 5) else 0
        return Answer(y if task.M is None else task.M.matvec(y), iterations, halt)

    return run


#: What runs each kind.
RUN: dict[str, Callable[[Task], Answer]] = {
    "cg": _plain(ssl.cg),
    "bicg": _plain(ssl.bicg),
    "bicgstab": _plain(ssl.bicgstab),
    "cgs": _plain(ssl.cgs),
    "tfqmr": _right(ssl.tfqmr),
    "gmres": _gmres,
    "lgmres": _lgmres,
    "gcrotmk": _gcrotmk,
    "qmr": _qmr,
    "minres": _minres,
    "lsqr": _least_squares(ssl.lsqr),
    "lsmr": _least_squares(ssl.lsmr),
}
