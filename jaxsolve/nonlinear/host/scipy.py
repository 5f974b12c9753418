"""SciPy's minimisers on NumPy arrays; whoever calls answers what they ask."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize

from jaxsolve.nonlinear.parameter_units import vanished
from jaxsolve.solvers.scipy_minimisers import SCIPY_MINIMIZERS, SciPyLeastSquares, SciPyMinimize

#: What is asked: nothing more, the objective and its gradient (residuals and their Jacobian), a product with the
#: Hessian, the constraints and their Jacobian, nothing yet, the sizes of the unknowns (v is the gradient at x0).
DONE, VALUE, PRODUCT, LIMITS, WAIT, SIZES = 0, 1, 2, 3, 4, 5
#: How it ended: without success, with it, at the iteration limit, with an exception.
FAILED, SUCCESS, EXHAUSTED, RAISED = 0, 1, 2, 3

#: How often a search goes on from where it ended, in the units that hold there.
ROUNDS = 3
#: The part of the first gradient that methods without gradients may leave, in tolerances.
LOOSE = 10

#: Answers a question (kind, x, v) with arrays.
Ask = Callable[[int, np.ndarray, np.ndarray], tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True)
class Job:
    """What SciPy is to do.

    Attributes:
        x0: First guess.
        target: The norm that the gradient has to reach.
        rtol: The relative tolerance.
        atol: The absolute one.
        limit: Iterations.
        lower: Lower bounds, None for none.
        upper: Upper bounds.
        length: The size of x, None for that of x0 or 1.
        eps: The rounding of the numbers that come from JAX.
    """

    x0: np.ndarray
    target: float
    rtol: float
    atol: float
    limit: int
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    length: float | None = None
    eps: float = float(np.finfo(float).eps)


@dataclasses.dataclass(frozen=True)
class Report:
    """What SciPy found, the iterates on its way, and the sizes of the unknowns where it ended (None: alike)."""

    x: np.ndarray
    iterations: int
    code: int
    path: tuple[np.ndarray, ...] = ()
    sizes: np.ndarray | None = None


class _Enough(Exception):
    """The iterations that are allowed have been made."""


class _Reached(Exception):
    """What was asked for is reached."""


def run(method: SciPyMinimize | SciPyLeastSquares, limits: Any, ask: Ask, job: Job) -> Report:
    """The minimum that SciPy finds.

    Args:
        method: Which of its methods.
        limits: The constraints, None for none.
        ask: Answers questions.
        job: Tolerances and bounds.
    """
    if job.limit == 0:
        # Of SciPy's methods some take a step all the same, and some raise.
        return Report(job.x0, 0, EXHAUSTED)
    with np.errstate(all="ignore"):
        if isinstance(method, SciPyLeastSquares):
            return _fit(method, ask, job)
        return _minimum(method, limits, ask, job) if limits is not None else _by_units(method, ask, job)


def _by_units(method: SciPyMinimize, ask: Ask, job: Job) -> Report:
    """The minimum that SciPy finds for z = D x, D being that of where it starts; again where D has changed by much."""
    nothing = np.zeros(job.x0.size)
    first = np.asarray(ask(VALUE, job.x0, nothing)[1], float)
    D = np.asarray(ask(SIZES, job.x0, first)[0], float)
    report = Report(job.x0, 0, FAILED)
    for _ in range(ROUNDS):

        def scaled(kind: int, z: np.ndarray, v: np.ndarray, D: np.ndarray = D) -> tuple[np.ndarray, ...]:
            answer = ask(kind, z / D, v / D)
            return (answer[0], answer[1] / D) if kind == VALUE else (answer[0] / D,)

        sides = (None, None) if job.lower is None or job.upper is None else (D * job.lower, D * job.upper)
        small = max(job.rtol * _steepest(job, job.x0, first, D), job.atol / np.max(D) / np.sqrt(D.size))
        left, start = job.limit - report.iterations, D * report.x
        length = float(np.max(np.abs(start)))
        # Of where the first guess is zero nothing is known of lengths.
        length = length if report.path and length > 0 else max(1.0, length)
        found = _minimum(
            method, None, scaled, Job(start, small, job.rtol, job.atol, left, *sides, length=length)
        )
        x = found.x / D
        path = (*report.path, *(z / D for z in found.path))
        end = np.asarray(ask(SIZES, x, first)[0], float)
        report = Report(x, report.iterations + found.iterations, found.code, path, end)
        if found.code != SUCCESS or found.iterations == 0 or report.iterations >= job.limit:
            break
        gradient = np.asarray(ask(VALUE, x, nothing)[1], float)
        # Methods without gradients stop by the length of their steps.
        rtol = job.rtol if SCIPY_MINIMIZERS[method.kind][0] else LOOSE * job.rtol
        if _steepest(job, x, gradient, end) <= rtol * _steepest(job, job.x0, first, end):
            break
        D = end
    return report


def _steepest(job: Job, x: np.ndarray, gradient: np.ndarray, sizes: np.ndarray) -> float:
    """The largest entry of the gradient in units of √f, within bounds as in units.slopes."""
    scaled = gradient / sizes
    if job.lower is not None and job.upper is not None:
        scaled = sizes * (x - np.clip(x - scaled / sizes, job.lower, job.upper))
    return float(np.max(np.abs(scaled)))


def _minimum(method: SciPyMinimize, limits: Any, ask: Ask, job: Job) -> Report:
    kind, n = method.kind, job.x0.size
    gradients, hessians, _, _ = SCIPY_MINIMIZERS[kind]
    nothing = np.zeros(n)
    path: list[np.ndarray] = []

    def value(x):
        f, g = ask(VALUE, x, nothing)
        return (float(f), np.asarray(g, float)) if gradients else float(f)

    def product(x, v):
        return np.asarray(ask(PRODUCT, x, np.asarray(v, float))[0], float)

    def hessian(x):
        H = np.stack([product(x, row) for row in np.eye(n)])
        return (H + H.T) / 2

    def count(x: np.ndarray, *_: Any) -> None:
        path.append(np.array(x, float))
        # TNC counts evaluations only.
        if kind == "TNC" and len(path) >= job.limit:
            raise _Enough

    further: dict[str, Any] = {}
    if hessians:
        further = {"hess": hessian} if kind in ("trust-exact", "dogleg") else {"hessp": product}
    if job.lower is not None and job.upper is not None:
        further["bounds"] = scipy.optimize.Bounds(*_untyped(job.lower, job.upper))
    if limits is not None:
        further["constraints"] = _constraints(limits, ask, nothing)
    inside = job.lower is not None or (limits is not None and limits.lower != limits.upper)
    options = {**_tolerances(kind, job, inside, limits is not None), **dict(method.options)}
    try:
        found = scipy.optimize.minimize(
            value,
            job.x0,
            jac=True if gradients else None,
            method=kind,
            options=options,
            callback=count,
            **further,
        )
    except _Enough:
        return Report(path[-1], len(path), EXHAUSTED, tuple(path))
    iterations = int(getattr(found, "nit", len(path)))
    exhausted = not found.success and iterations >= job.limit
    return Report(np.asarray(found.x, float), iterations, _code(found.success, exhausted), tuple(path))


def _constraints(limits: Any, ask: Ask, nothing: np.ndarray) -> list[Any]:
    """Equations and inequalities apart, as some methods want them."""
    lower, upper = np.asarray(limits.lower), np.asarray(limits.upper)
    equal = lower == upper
    parts = []
    for which in (equal, ~equal):
        if which.any():
            parts.append(
                scipy.optimize.NonlinearConstraint(
                    lambda x, which=which: np.asarray(ask(LIMITS, x, nothing)[0], float)[which],
                    lower[which],
                    upper[which],
                    jac=_untyped(lambda x, which=which: np.asarray(ask(LIMITS, x, nothing)[1], float)[which])[
                        0
                    ],
                )
            )
    return parts


def _tolerances(kind: str, job: Job, inside: bool, constrained: bool) -> dict[str, Any]:
    """The options of a method that stops no earlier than asked; `inside` tells of bounds and inequalities."""
    n, rtol = job.x0.size, job.rtol
    # Without constraints the target is that of the largest entry.
    flat = job.target / np.sqrt(n) if constrained else job.target
    # SciPy's own tolerances are absolute and 1e-5 like the default rtol: at least as exact as it would be.
    gtol = min(flat, rtol) if rtol > 0 else flat
    reach = rtol * (job.length or max(1.0, float(np.max(np.abs(job.x0)))))
    match kind:
        case "L-BFGS-B":
            return {"gtol": gtol, "ftol": 0.0, "maxiter": job.limit, "maxfun": 100 * job.limit}
        case "BFGS" | "CG":
            return {"gtol": gtol, "maxiter": job.limit}
        case "TNC":
            return {"gtol": gtol, "ftol": 0.0, "xtol": 0.0, "maxfun": 100 * job.limit}
        case "Newton-CG":
            return {"xtol": 1e-3 * rtol, "maxiter": job.limit}
        case "SLSQP":
            return {"ftol": rtol**2, "maxiter": job.limit}
        case "trust-constr":
            # Behind a barrier the gradient is small before the barrier is: 4e-4 away from a bound with gtol 1e-5.
            return {"gtol": 0.0 if inside else gtol, "xtol": 1e-4 * rtol, "maxiter": job.limit}
        case "trust-ncg" | "trust-krylov" | "trust-exact" | "dogleg":
            return {"gtol": min(job.target, rtol) if rtol > 0 else job.target, "maxiter": job.limit}
        case "Nelder-Mead":
            return {"xatol": reach, "fatol": rtol**2, "maxiter": job.limit, "maxfev": 100 * job.limit}
        case "Powell":
            return {"xtol": rtol, "ftol": rtol**2, "maxiter": job.limit, "maxfev": 1000 * job.limit}
        case "COBYLA":
            return {"tol": reach, "maxiter": job.limit}
        case "COBYQA":
            return {"final_tr_radius": reach, "maxiter": job.limit}
    return {"maxiter": job.limit}


def _fit(method: SciPyLeastSquares, ask: Ask, job: Job) -> Report:
    known: dict[bytes, tuple[np.ndarray, ...]] = {}
    nothing = np.zeros(job.x0.size)

    def asked(x):
        key = x.tobytes()
        if key not in known:
            known.clear()
            known[key] = ask(VALUE, x, nothing)
        return known[key]

    path: list[np.ndarray] = []

    def jacobian(x):
        # Asked for at x0 and after each step; "lm" asks once more in the end.
        residual, J = asked(x)
        if not path or not np.array_equal(x, path[-1]):
            path.append(np.array(x, float))
        # SciPy's criteria depend on the units of x, or on the size of r.
        if _fitted(job, x, residual, J, float(np.linalg.norm(start[0]))):
            raise _Reached
        return np.asarray(J, float)

    start = asked(job.x0)
    bounds = (-np.inf, np.inf) if job.lower is None else (job.lower, job.upper)
    tight = np.finfo(float).eps
    # That at x0 counts.
    further = {"gtol": tight, "ftol": tight, "xtol": tight, "x_scale": "jac", "max_nfev": job.limit + 1}
    further |= dict(method.options)
    try:
        found = scipy.optimize.least_squares(
            lambda x: np.asarray(asked(x)[0], float),
            job.x0,
            jac=_untyped(jacobian)[0],
            bounds=bounds,
            method=method.kind,
            **further,
        )
    except _Reached:
        return Report(path[-1], len(path) - 1, SUCCESS, tuple(path[1:]))
    code = _code(found.success, found.status == 0)
    steps = tuple(path[1:])
    return Report(np.asarray(found.x, float), len(steps), code, steps)


def _fitted(job: Job, x: np.ndarray, residual: np.ndarray, J: np.ndarray, first: float) -> bool:
    """Whether no column of J tells of more than a small part of r; half of what is asked for, as that rounds too."""
    size, gradient = float(np.linalg.norm(residual)), residual @ J
    columns = np.linalg.norm(J, axis=0)
    sizes = np.where(columns > 0, columns, 1)
    if job.lower is None:
        n = sizes.size
        ridge = np.sqrt(n * job.eps) * np.eye(n)
        scaled = J / sizes
        stacked, padded = np.concatenate([scaled, ridge]), np.concatenate([residual, np.zeros(n)])
        gain = float(np.linalg.norm(scaled @ np.linalg.lstsq(stacked, padded)[0]))
    else:
        gain = _steepest(job, x, gradient, sizes)
    none = vanished(job.rtol, first, float(np.linalg.norm(sizes * x)), job.eps)
    return gain <= max(job.rtol * size, none) / 2 or float(np.linalg.norm(gradient)) <= job.atol / 2


def _untyped(*values: Any) -> tuple[Any, ...]:
    # SciPy's types know the defaults only.
    return values


def _code(success: bool, exhausted: bool) -> int:
    return SUCCESS if success else EXHAUSTED if exhausted else FAILED
