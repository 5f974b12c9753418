"""SolveInfo and the exceptions that carry it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import numpy as np
from jax import Array

from jaxsolve.core.host_call import FAILURES
from jaxsolve.core.html import facts_table
from jaxsolve.core.recycled import Recycled
from jaxsolve.core.status import CONVERGED, DIVERGED, Status

#: How a note on several roads begins.
TRIED = "Tried first: "


class Frozen:
    """What of a request is no array, held still beside the arrays while they pass through jit.

    Args:
        tree: The request.
        is_array: What counts as an array; Python numbers do by default.
    """

    def __init__(self, tree: Any, is_array: Callable[[Any], bool] = eqx.is_array_like):
        leaves, self.treedef = jax.tree.flatten(tree)
        self.arrays = tuple(is_array(leaf) for leaf in leaves)
        self.rest = tuple(leaf for leaf, array in zip(leaves, self.arrays, strict=True) if not array)
        self.hash = hash((self.treedef, self.arrays, tuple(map(id, self.rest))))

    def split(self, tree: Any) -> list[Any]:
        """The array leaves of a tree of this structure."""
        return [leaf for leaf, array in zip(jax.tree.leaves(tree), self.arrays, strict=True) if array]

    def join(self, arrays: Any) -> Any:
        """The tree with these array leaves."""
        values, rest = iter(arrays), iter(self.rest)
        leaves = [next(values) if array else next(rest) for array in self.arrays]
        return jax.tree.unflatten(self.treedef, leaves)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and (
            (self.treedef, self.arrays) == (other.treedef, other.arrays)
            and len(self.rest) == len(other.rest)
            and all(a is b or a == b for a, b in zip(self.rest, other.rest, strict=True))
        )


#: What tables tell of a solve.
FIGURES = ("method", "kind", "status", "iterations", "products", "residual norm", "tolerance", "time (s)")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "x", "residual", "residual_norm", "target", "iterations", "function_evaluations", "code", "solve_time",
        "settings", "trajectory", "objective", "asymmetry", "constants",
        "undetermined", "fit", "load", "recycled",
    ],
    meta_fields=["request", "method", "kind", "note"],
)  # fmt: skip
@dataclasses.dataclass(frozen=True, repr=False)
class SolveInfo:
    """How a solve went: a pytree that passes through jit, vmap and grad. In a batch every field has leading axes.

    Attributes:
        x: The solution, or the last estimate, in the structure asked for.
        residual: b - A x in the structure of b, computed from x.
        residual_norm: Its Euclidean norm, a real scalar.
        target: The norm it had to reach, max(rtol ‖b‖, atol).
        iterations: Steps of the method, an integer.
        function_evaluations: Products with A and its adjoint, an integer.
        status: A `Status`; as integers while traced or in a batch.
        solve_time: Seconds of an eager solve, NaN where it was compiled into something larger.
        trajectory: The recorded iterates, None unless asked for.
        objective: What was minimised, at x: f(x), or half the sum of squares; None for equations.
        asymmetry: ‖A - Aᴴ‖ / ‖A‖, estimated by two products where a method that needs A = Aᴴ failed; 0 where it did
            not fail, None for other methods.
        constants: Whether A was found to map constants to zero, so that x is the solution of mean zero; None where the
            null space was declared, or A is not square.
        undetermined: Whether the factors of A show it to be singular to working precision, so that x may be off by
            anything in its null space; None from methods without factors.
        load: The load at which x was found, by `js.continuation`; None otherwise.
        fit: The residuals of a least-squares fit with their numbers, for `js.covariance`; None of others.
        recycled: Directions for the next solve, `Solve(recycle=info.recycled)`; None unless `recycle` asked for them.
        method: The name of the method that ran.
        is_adjoint: Whether this was the solve of a gradient.
        note: What else there is to say, for `message`.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> info = js.solve_linear_info(2 * jnp.eye(3), jnp.ones(3), js.Solve("CG"))
    >>> info.status.name, int(info.iterations), info.x.shape, float(info.residual_norm)
    ('converged', 1, (3,), 0.0)
    """

    x: Any
    residual: Any
    residual_norm: Array
    target: Array
    iterations: Array
    function_evaluations: Array
    code: Array
    solve_time: Any
    settings: list[Any]
    request: Frozen
    method: str
    kind: str = "solve"
    trajectory: Any = None
    objective: Any = None
    asymmetry: Any = None
    constants: Any = None
    undetermined: Any = None
    fit: Any = None
    load: Any = None
    recycled: Recycled | None = None
    note: str = ""

    @classmethod
    def of(cls, outcome: Any, **others: Any) -> "SolveInfo":
        """The result of what a driver returns; the other fields, x and residual among them, by name."""
        return cls(
            residual_norm=outcome.residual_norm,
            target=outcome.target,
            iterations=outcome.iterations,
            function_evaluations=outcome.evaluations,
            code=outcome.status,
            objective=outcome.objective,
            asymmetry=outcome.asymmetry,
            constants=outcome.constants,
            undetermined=outcome.undetermined,
            load=outcome.load,
            recycled=None if (kept := outcome.recycled) is None else Recycled(kept, kept.shape[-2]),
            **others,
        )

    @property
    def solve(self) -> Any:
        """The request."""
        return self.request.join(self.settings)

    @property
    def status(self) -> Any:
        """Why the solve stopped."""
        if isinstance(self.code, jax.core.Tracer) or np.ndim(self.code):
            return self.code
        return Status(int(self.code))

    @property
    def converged(self) -> Array:
        """Whether x is a solution within the tolerance."""
        return is_any_of(self.code, CONVERGED)

    @property
    def diverged(self) -> Array:
        """Whether the iterates left for infinity or stopped being numbers."""
        return is_any_of(self.code, DIVERGED)

    @property
    def is_adjoint(self) -> bool:
        """Whether this was the transposed solve of a gradient."""
        return self.kind == "adjoint"

    @property
    def message(self) -> str:
        """What happened, with figures and advice; of the worst system in a batch."""
        if isinstance(self.code, jax.core.Tracer):
            return f"{self.method}: still being traced; the message is known when the program runs."
        return describe(self)

    def __repr__(self) -> str:
        if isinstance(self.code, jax.core.Tracer):
            return f"SolveInfo({self.method}, traced)"
        return f"SolveInfo({describe(self, advice=False)}, {_dtype(self)})"

    def _repr_html_(self) -> str:
        figures = dict(zip(FIGURES, self.figures(), strict=True))
        return facts_table("SolveInfo", [*figures.items(), ("dtype", _dtype(self))], self.message)

    def figures(self) -> tuple[str, ...]:
        """The `FIGURES` of a solve as text; of a batch how many converged, and the largest of each."""
        if isinstance(self.code, jax.core.Tracer):
            return (self.method, self.kind, *["traced"] * 6)
        done, seconds = np.asarray(self.converged), float(np.max(self.solve_time, initial=-math.inf))
        status = Status(int(self.code)).name if done.ndim == 0 else f"{done.sum()} of {done.size} converged"

        def most(values: Any, form: str) -> str:
            values = np.asarray(values)
            return format(values.max().item(), form) if values.size else "-"

        return (
            *(
                self.method,
                self.kind,
                status,
                most(self.iterations, "d"),
                most(self.function_evaluations, "d"),
            ),
            *(most(self.residual_norm, ".3g"), most(self.target, ".3g")),
            f"{seconds:.3g}" if math.isfinite(seconds) else "-",
        )


def is_any_of(code: Any, members: tuple[int, ...]) -> Any:
    """Whether each status code is one of `members`."""
    array = np.asarray(code) if not isinstance(code, jax.core.Tracer) else code
    hits = [array == int(member) for member in members]
    found = hits[0]
    for hit in hits[1:]:
        found = found | hit
    return found


def describe(info: SolveInfo, advice: bool = True) -> str:
    """One paragraph on how a solve went; for a batch, how many failed and the worst of them."""
    codes = np.atleast_1d(np.asarray(info.code)).reshape(-1)
    norms = np.broadcast_to(np.asarray(info.residual_norm), np.shape(info.code)).reshape(-1)
    targets = np.broadcast_to(np.asarray(info.target), np.shape(info.code)).reshape(-1)
    steps = np.broadcast_to(np.asarray(info.iterations), np.shape(info.code)).reshape(-1)
    failed = ~np.isin(codes, CONVERGED)
    what = info.method if info.kind == "solve" else f"{info.method}, in the {info.kind} solve of a gradient,"
    if codes.size == 0:
        return f"{what} solved an empty batch"
    # NaN counts as the worst residual.
    worst = int(np.argmax(np.where(failed, np.nan_to_num(norms, nan=np.inf), -1))) if failed.any() else 0
    lane = ""
    if np.ndim(info.code):
        where = np.flatnonzero(failed)
        shown = ", ".join(map(str, where[:8])) + (", ..." if len(where) > 8 else "")
        lane = f" {len(where)} of {codes.size} systems failed (lanes {shown}); the worst, lane {worst}:"
        if not failed.any():
            lane = f" {codes.size} systems;"
    status = Status(int(codes[worst]))
    if not failed.any():
        verb = "converged" if codes.size == 1 else "all converged"
    elif status in DIVERGED:
        verb = "diverged"
    else:
        verb = "did not converge"
    reason = f" [{status.name}]" if failed.any() or status != Status.converged else ""
    count = int(steps[worst] if failed.any() else steps.max())
    figures = (
        f"{verb}{reason} after {count} iteration{'s' * (count != 1)} with residual {norms[worst]:.3g} "
        f"(tolerance {targets[worst]:.3g})"
    )
    text = f"{what}{lane} {figures}"
    if advice and status == Status.host_failure and FAILURES:
        error = FAILURES[-1]
        # Threads share the list, so that it may be another one's.
        return f"{text}. {status.message} The last one raised was {type(error).__name__}: {error}"
    if not failed.any():
        note = (info.note or _undeclared(info)) if advice else ""
        return f"{text}. {note}" if note else text
    if not advice:
        return text
    rounding = _rounding(info, norms[worst], targets[worst]) if status == Status.stagnation else ""
    tried = f" {info.note}" if info.note.startswith(TRIED) else ""
    advised = (
        _reached(info, worst) or f"{rounding}{_asymmetry(info, worst) or status.message}{_narrowed(info)}"
    )
    return f"{text}. {advised}{tried}"


def _reached(info: SolveInfo, system: int) -> str:
    """How far a path was followed."""
    if info.load is None or np.ndim(info.code) == 0:
        return ""
    count = np.shape(info.code)[-1]
    path = np.asarray(info.load).reshape(-1, count)[system // count]
    if int(np.asarray(info.code).reshape(-1, count)[system // count, 0]) not in CONVERGED:
        return f"No solution was found at the first load, {path[0]:.6g}. Begin with one that is easier, or a better x0."
    return (
        f"The path was followed up to the load {path[system % count]:.6g}: near what was found there is no solution "
        "that steps of a thousandth of the way to the next point reach. It may turn back at a limit point."
    )


#: What a singular A that was found out by its factors means for x.
_UNDETERMINED = (
    "x may be off by anything in its null space. If there is one, declare it (`null_space=`, `rank_deficiency=1` for "
    "constants); `lsmr` finds the x of least norm."
)


def _undeclared(info: SolveInfo) -> str:
    """That A is singular, where that was found and nobody had declared it."""
    found = np.atleast_1d(False if info.constants is None else info.constants)
    if not found.any():
        found = np.atleast_1d(False if info.undetermined is None else info.undetermined)
        where = "" if found.size == 1 else f", in {found.sum()} of {found.size} systems"
        return f"A is singular to working precision{where}: {_UNDETERMINED}" if found.any() else ""
    where = "" if found.size == 1 else f", in {found.sum()} of {found.size} systems"
    return (
        f"A is singular: it maps constants to zero{where}, and of the solutions this is the one of mean zero. If that "
        "is meant, declare it (`rank_deficiency=1`); with `rank_deficiency=0` nothing is taken out of x."
    )


def _asymmetry(info: SolveInfo, system: int) -> str:
    """That A is not symmetric though the method needs it, where that was measured beyond doubt."""
    if info.asymmetry is None:
        return ""
    skew = np.broadcast_to(np.asarray(info.asymmetry), np.shape(info.code)).reshape(-1)[system]
    # Products of symmetric matrices were measured to differ by up to 10 rounding errors.
    if not skew > 1000 * np.finfo(skew.dtype).eps:
        return ""
    complex_ = any(np.iscomplexobj(leaf) for leaf in jax.tree.leaves(info.x))
    word, turned = ("Hermitian", "Aᴴ") if complex_ else ("symmetric", "Aᵀ")
    return (
        f"{info.method} needs a {word} matrix and A is not: ‖A - {turned}‖ is roughly {skew:.1g} of ‖A‖. Use `GMres`, "
        "`biCG-stab`, or `LU`; or mend A, if it should be."
    )


def _narrowed(info: SolveInfo) -> str:
    """That a lower precision may be the cause of a failure."""
    inner = getattr(info.solve, "inner_dtype", None)
    if inner is None or inner.itemsize >= np.asarray(info.residual_norm).dtype.itemsize:
        return ""
    return (
        f" The iterations ran in {inner.name} (`inner_dtype`), which loses ground from condition numbers of about "
        f"{0.1 / np.finfo(inner).eps:.0e} on: leave it out for the full precision."
    )


def _dtype(info: SolveInfo) -> str:
    """The dtype of the solution."""
    return str(np.result_type(*(leaf.dtype for leaf in jax.tree.leaves(info.x)), info.residual_norm.dtype))


def _rounding(info: SolveInfo, norm: float, target: float) -> str:
    """The relative residual at which a solve stopped, and the tolerance that it allows."""
    request, real = info.solve, np.asarray(info.residual_norm).dtype
    rtol, atol, eps = request.rtol, request.atol, np.finfo(real).eps
    if any(v is None or np.ndim(v) for v in (rtol, atol)) or atol != 0 or not rtol > 0:
        return ""
    reached = norm / (target / float(rtol)) if target > 0 else math.inf
    if not reached < 0.1:
        return ""
    allowed = f"rtol={attainable(reached, eps):.0e} is within reach. "
    if rtol < eps and reached <= math.sqrt(eps):
        return (
            f"A relative residual of {float(rtol):.0e} can't be reached in {real}: on this system rounding leaves "
            f"about {reached:.0e}; {allowed}"
        )
    return f"The relative residual stopped at {reached:.1e} in {real}; {allowed}"


def attainable(reached: float, eps: float) -> float:
    """A tolerance that a solve which stopped at this relative residual meets: three times that, in one digit.

    No less than a few rounding errors of b, where the order of a sum decides.

    >>> attainable(3.2e-6, 1.2e-7)
    1e-05
    """
    needed = max(3 * reached, 4 * float(eps))
    digit = 10.0 ** math.floor(math.log10(needed))
    return float(f"{math.ceil(needed / digit) * digit:.0e}")


class ConvergenceException(RuntimeError):
    """A solve without a solution; `result` is its `SolveInfo`.

    Attributes:
        result: The `SolveInfo` of the solve, with the last estimate as x; of the whole batch, where there is one.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> try:
    ...     x = js.solve_linear(jnp.zeros((2, 2)), jnp.ones(2))
    ... except js.ConvergenceException as failure:
    ...     print(type(failure).__name__, failure.result.status.name)
    NotConverged singular
    """

    def __init__(self, message: str, result: SolveInfo):
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> Any:
        return (type(self), (str(self), self.result))


class NotConverged(ConvergenceException):
    """The tolerance was not reached.

    Attributes:
        result: The `SolveInfo` of the solve, with the last estimate as x.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> try:
    ...     x = js.solve_linear(
    ...         jnp.diag(jnp.array([1.0, 2.0])), jnp.ones(2), js.Solve("CG", max_iterations=1)
    ...     )
    ... except js.NotConverged as failure:
    ...     print(failure.result.status.name, int(failure.result.iterations))
    max_iterations 1
    """


class Diverged(ConvergenceException):
    """The iterates left for infinity or stopped being numbers.

    Attributes:
        result: The `SolveInfo` of the solve, with the last estimate as x.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> try:
    ...     x = js.solve_linear(jnp.eye(2), jnp.array([1.0, jnp.nan]), js.Solve("CG"))
    ... except js.Diverged as failure:
    ...     print(failure.result.status.name)
    invalid_input
    """


def failure_of(info: SolveInfo, suppress: tuple[type, ...]) -> ConvergenceException | None:
    """The exception for a concrete result, None where it converged or its class is suppressed."""
    codes = np.asarray(info.code)
    if (codes.ndim == 0 and int(codes) in CONVERGED) or np.isin(codes, CONVERGED).all():
        return None
    diverged = np.isin(codes, DIVERGED)
    stopped = ~diverged & ~np.isin(codes, CONVERGED)
    if diverged.any() and not _covers(suppress, Diverged):
        return Diverged(describe(info), info)
    if stopped.any() and not _covers(suppress, NotConverged):
        return NotConverged(describe(info), info)
    return None


def raises_nothing(suppress: tuple[type, ...]) -> bool:
    """Whether no failure is left to raise.

    >>> raises_nothing((ConvergenceException,)), raises_nothing((Diverged,))
    (True, False)
    """
    return _covers(suppress, NotConverged) and _covers(suppress, Diverged)


def _covers(suppress: tuple[type, ...], kind: type) -> bool:
    return any(issubclass(kind, cls) for cls in suppress)
