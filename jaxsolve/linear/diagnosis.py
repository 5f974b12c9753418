"""Diagnosis: how a solve went, what the spectrum of its matrix says of that, and what to do."""

import dataclasses
import math
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxsolve.core.html import facts_table
from jaxsolve.core.results import TRIED, SolveInfo, attainable, describe
from jaxsolve.core.status import Status
from jaxsolve.front.request import AUTO, Solve, as_method, method_name, preconditioner_name
from jaxsolve.linear.auto import Choice, choose
from jaxsolve.linear.preparation import described, prepared
from jaxsolve.linear.problem import Problem, null_space
from jaxsolve.linear.spectrum import Spectrum, spectrum_of
from jaxsolve.operators.conversion import is_operator, told_entries
from jaxsolve.operators.operator import LinearOperator, Product
from jaxsolve.solvers.direct.refinement import AbstractDirect
from jaxsolve.solvers.host.direct import AbstractHostDirect
from jaxsolve.solvers.method import AbstractMethod
from jaxsolve.solvers.nullspace import NullSpace

#: A solve of more iterations counts as slow.
SLOW = 100
#: A residual of this many rounding errors of b - A x is at the end of what a dtype allows.
ROUNDING = 64
#: A condition number times eps above this leaves x fewer than two digits that are sure.
UNSURE = 0.01
#: Relative asymmetry above the square root of eps times this is no rounding.
ASYMMETRY = 0.01
#: Names of multigrid.
MULTIGRID = ("amg", "geometric", "ruge-stuben", "smoothed-aggregation")
#: Matrices up to this size may be taken apart by singular values.
SMALL = 4000
#: Condition numbers within this factor are alike: estimates are lower bounds.
LARGER = 2.0


@dataclasses.dataclass(frozen=True, repr=False)
class Diagnosis:
    """How a solve went and why; its `str` is a few lines.

    Attributes:
        summary: What happened, with figures.
        spectrum: Of A; None where the matrix is not at hand.
        preconditioned: Of M A with the preconditioner that was used; None for none.
        factors: What was factorised for it and how, by a direct method on the host or for the preconditioner; None
            for nothing.
        attainable: The smallest relative residual that rounding allows, NaN where unknown.
        findings: What explains the outcome.
        advice: What to do.
    """

    summary: str
    spectrum: Spectrum | None
    preconditioned: Spectrum | None
    factors: str | None
    attainable: float
    findings: tuple[str, ...]
    advice: tuple[str, ...]

    def __str__(self) -> str:
        lines = [self.summary]
        if self.spectrum is not None:
            lines.append(f"A: {self.spectrum}")
        if self.preconditioned is not None:
            lines.append(f"preconditioned: {self.preconditioned}")
        if self.factors is not None:
            lines.append(f"factors: {self.factors}")
        return "\n".join([*lines, *self.findings, *(f"-> {advice}" for advice in self.advice)])

    def _repr_html_(self) -> str:
        told = [("A", self.spectrum), ("preconditioned", self.preconditioned), ("factors", self.factors)]
        told = [(name, value) for name, value in told if value is not None]
        told += [("finding", finding) for finding in self.findings]
        return facts_table(
            "Diagnosis: " + self.summary, told + [("advice", advice) for advice in self.advice]
        )

    def __repr__(self) -> str:
        return f"Diagnosis({self.summary})"


#: The systems of infos that are alive, by the identity of their residual norm. Told here, not computed from it: so no
#: `memo.by_identity`.
_SYSTEMS: dict[int, tuple[Any, Callable[[], Any]]] = {}


def remember(info: SolveInfo, system: Callable[[], Any]) -> None:
    """Keeps what gives the system of an info, and what was chosen for it, for as long as the info lives."""
    key = id(info.residual_norm)
    _SYSTEMS[key] = (weakref.ref(info.residual_norm, lambda _: _SYSTEMS.pop(key, None)), system)


def diagnose(info: SolveInfo, A: LinearOperator | None = None) -> Diagnosis:
    """How a solve went and why.

    Args:
        info: Concrete.
        A: The matrix; None for that of the solve, which is known for eager ones.
    """
    summary = describe(info, advice=False)
    entry, through, factors = _SYSTEMS.get(id(info.residual_norm)), None, None
    if A is None and entry is not None and entry[0]() is info.residual_norm:
        system = entry[1]()
        problem, choice = system.problem, system.choice
        A, through, factors = problem.A, _preconditioned(problem, choice), _factors(info, problem, choice)
    if A is None:
        missing = "the matrix is not at hand: for a diagnosis of its spectrum pass it, js.explain(info, A)"
        return Diagnosis(summary, None, None, None, math.nan, (missing,), (_worst(info).message,))
    spectrum = spectrum_of(A)
    b = _size_of_b(info, A)
    floor = _attainable(info, spectrum, b)
    reached = float(np.max(info.residual_norm)) / (b or math.nan)
    findings, advice = _judged(info, A, spectrum, through, (reached, floor))
    if info.note.startswith(TRIED):
        findings = (info.note, *findings)
    return Diagnosis(summary, spectrum, through, factors, floor, findings, advice)


def _preconditioned(problem: Problem, choice: Choice) -> Spectrum | None:
    """The spectrum of M A; None without preconditioner, or with one on each side."""
    if choice.preconditioner is None or isinstance(choice.preconditioner, tuple):
        return None
    M = prepared(choice.method, choice.preconditioner, problem.A, problem.structures, NullSpace(), eager=True)
    return spectrum_of(Product(M, problem.A)) if is_operator(M) and M.shape == problem.A.shape else None


def _factors(info: SolveInfo, problem: Problem, choice: Choice) -> str | None:
    """What was factorised and how; None for nothing."""
    if isinstance(choice.method, AbstractHostDirect):
        nulls = null_space(info.solve, problem.structures)
        return prepared(choice.method, None, problem.A, problem.structures, nulls, eager=True).description
    return described(choice.method, choice.preconditioner, problem.A)


def _size_of_b(info: SolveInfo, A: LinearOperator) -> float:
    """‖b‖ from b = r + A x; in a batch the largest, from the tolerance."""
    x, r = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (info.x, info.residual)
    )
    if x.size == A.shape[1]:
        return float(np.linalg.norm(r + np.asarray(A.mv(jax.numpy.asarray(x)))))
    rtol, target = (float(np.max(np.asarray(v))) for v in (info.solve.rtol, info.target))
    return target / rtol if rtol > 0 else math.nan


def _attainable(info: SolveInfo, spectrum: Spectrum, b: float) -> float:
    """eps (‖A‖ ‖x‖ + ‖b‖) / ‖b‖: what rounding leaves of b - A x."""
    leaves = jax.tree.leaves(info.x)
    x = math.hypot(*(float(np.linalg.norm(leaf)) for leaf in leaves))
    eps = float(np.finfo(np.asarray(info.residual_norm).dtype).eps)
    return eps * (spectrum.norm * x + b) / b if b > 0 else math.nan


def _judged(
    info: SolveInfo,
    A: LinearOperator,
    spectrum: Spectrum,
    through: Spectrum | None,
    residuals: tuple[float, float],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    findings, advice = [], []
    worst, eps = _worst(info), float(np.finfo(np.asarray(info.residual_norm).dtype).eps)
    # Of a singular matrix the iterates grow, and with them what rounding leaves.
    singular = worst == Status.singular or spectrum.condition > 0.1 / eps
    method, rtol = _method(info), float(np.max(np.asarray(info.solve.rtol)))
    failed, steps = not bool(np.all(info.converged)), int(np.max(info.iterations, initial=0))
    reached, floor = residuals
    asymmetric = spectrum.asymmetry > ASYMMETRY * math.sqrt(eps)
    if not spectrum.finite:
        return ("A times a vector is not finite",), (
            "look for NaN, infinity or overflow in the entries of A",
        )
    if not failed:
        doubts = _doubts(info, A, spectrum, eps)
        if doubts is not None:
            return doubts
        if steps <= SLOW:
            return ("nothing is wrong with this solve",), ()
    if worst == Status.invalid_input:
        return ("b or x0 is not finite, or too large for its dtype",), (worst.message,)
    iterative = method is not None and not isinstance(method, AbstractDirect)
    wants = () if method is None else method.wants
    if method is not None and method.wants and asymmetric:
        findings.append(f"A is not symmetric (Hermitian), and `{method.name}` needs that")
        incomplete = "" if told_entries(A) is None else ", with preconditioner 'ilu'"
        advice.append(f"use `GMres`, `biCG-stab` or `IDR(s)`{incomplete}")
    elif method is not None and "positive_definite" in method.wants and spectrum.indefinite:
        findings.append(f"A is indefinite, and `{method.name}` needs a definite matrix")
        advice.append("use `minres`, or `GMres` with preconditioner 'ilu'")
    elif asymmetric and failed and preconditioner_name(info.solve.preconditioner) in MULTIGRID:
        findings.append(
            f"A is not symmetric (by {spectrum.asymmetry:.1g}), and multigrid is for diffusion: it fails where "
            "convection dominates"
        )
        advice.append("use `GMres` with preconditioner 'ilu'")
    elif spectrum.indefinite and iterative and not singular:
        findings.append("eigenvalues lie on both sides of zero, which is hard for every Krylov method alone")
        advice.append("use preconditioner 'ilu', or a direct method")
    fitting = not findings
    least = "the x of `js.solve_linear_info` with `lsmr` is that of least squares"
    hopeless = singular or worst == Status.inconsistent
    if worst == Status.inconsistent:
        findings.append("b has a component outside the range of A")
        advice.append(f"remove it from b; {least}")
    elif A.shape[0] != A.shape[1] and failed:
        hopeless = True
        findings.append(
            f"`{info.method}` may take as many iterations as the condition number, {spectrum.condition:.2g} or more"
        )
        advice.append(
            "use `QR` where A has full rank, `SVD` where not, or raise `max_iterations`; units matter"
        )
    elif hopeless:
        findings.append("A is singular to working precision")
        advice.append(_for_singular(A, spectrum, eps))
    elif failed and reached <= ROUNDING * floor:
        hopeless = True
        findings.append(
            f"the residual is at the level of rounding, {floor:.1e} of b: x is as good as its dtype allows"
        )
        wider = ", or use float64" if eps > 1e-10 else ""
        advice.append(f"ask for rtol of at least {attainable(reached, eps):.0e}{wider}")
    elif failed and fitting:
        advice.append(worst.message)
    used = spectrum if through is None else through
    if through is not None and through.condition > LARGER * spectrum.condition:
        findings.append("the preconditioner makes the condition number larger")
        advice.append("use another preconditioner, or none")
    if fitting and not hopeless and iterative and "positive_definite" in wants:
        # Reid's bound for CG: 2 ((√κ - 1) / (√κ + 1))^k, with κ from below.
        needed = math.ceil(math.sqrt(used.condition) / 2 * math.log(2 / max(rtol, eps)))
        findings.append(f"at this condition number CG may take {needed} iterations or more")
    if not hopeless:
        advice.extend(_by_itself(info, A))
    return tuple(findings), tuple(advice)


def _for_singular(A: LinearOperator, spectrum: Spectrum, eps: float) -> str:
    if _maps_constants_to_zero(A, spectrum, eps):
        return "declare the constants its null space, `rank_deficiency=1`"
    small = "" if max(A.shape) > SMALL else " or `SVD`"
    return (
        f"use `lsmr`{small}: of the solutions (of least squares where there is none) the shortest; or give the null "
        "space, `null_space=`"
    )


def _maps_constants_to_zero(A: LinearOperator, spectrum: Spectrum, eps: float) -> bool:
    ones = np.full(A.shape[1], 1 / math.sqrt(A.shape[1]), A.dtype)
    return float(np.linalg.norm(np.asarray(A.mv(jax.numpy.asarray(ones))))) <= 100 * eps * spectrum.norm


def _doubts(
    info: SolveInfo, A: LinearOperator, spectrum: Spectrum, eps: float
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Why the x of a system that was solved may still be wrong, and what to do; None where it is not to be feared."""
    solve, lost = info.solve, spectrum.condition * eps
    declared = solve.null_space is not None or bool(solve.rank_deficiency)
    if A.shape[0] != A.shape[1] or declared or not lost > UNSURE:
        return None
    method = _method(info)
    if lost > 0.1 and method is not None and method.least_norm:
        return ("A is singular to working precision: of the many solutions, x is the shortest",), ()
    if _maps_constants_to_zero(A, spectrum, eps):
        return ("A maps the constants to zero: of the many solutions, x is the one of mean zero",), ()
    dtype = np.asarray(info.residual_norm).dtype
    size = f"its condition number times the rounding unit of {dtype} is {lost:.1g}"
    wider = ("use float64",) if eps > 1e-10 else ()
    if lost > 0.1:
        finding = f"A is singular to working precision ({size}): x may be off by anything in its null space"
        return (finding,), (_for_singular(A, spectrum, eps), *wider)
    finding = f"A is ill-conditioned ({size}): x may have that relative error, however small its residual"
    return (finding,), (*wider, "choose units, or a formulation, that make the condition number smaller")


def _by_itself(info: SolveInfo, A: LinearOperator) -> tuple[str, ...]:
    """What "auto" would take, where that is not what was used."""
    suited, used = choose(A, Solve()), info.solve
    name, inverse = method_name(suited.method), preconditioner_name(suited.preconditioner)
    automatic = used.method == AUTO and used.preconditioner is None
    if automatic or (info.method == name and preconditioner_name(used.preconditioner) == inverse):
        return ()
    pair = name if suited.preconditioner is None else f"{name} with preconditioner {inverse!r}"
    return (f"Solve('auto') takes {pair}: {'; '.join(suited.reasons)}",)


def _worst(info: SolveInfo) -> Status:
    return Status(int(np.max(info.code, initial=0)))


def _method(info: SolveInfo) -> AbstractMethod | None:
    try:
        return as_method(info.method)
    except ValueError:
        return None
