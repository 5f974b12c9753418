"""Status: why a solve stopped, with one message per member that says what to do."""

import enum


class Status(enum.IntEnum):
    """Why a solve stopped.

    An integer, so that it crosses jit and vmap as an array; `Status(code).message` is the advice for people.

    Attributes:
        name: The reason in a word.
        value: An integer; 0 and 1 count as solved.

    >>> Status.singular.name, bool(Status(0) == Status.converged)
    ('singular', True)
    """

    converged = 0
    least_squares = 1
    max_iterations = 2
    stagnation = 3
    breakdown = 4
    negative_curvature = 5
    inconsistent = 6
    singular = 7
    not_positive_definite = 8
    divergence = 9
    nonfinite = 10
    invalid_input = 11
    host_failure = 12
    unweighted = 13

    def __str__(self) -> str:
        return self.name

    @property
    def message(self) -> str:
        """What happened and what to do about it, in one sentence or two."""
        return _MESSAGES[self]


#: States in which the iterate moved away from the solution or stopped being a number.
DIVERGED = (Status.divergence, Status.nonfinite, Status.invalid_input)
#: States that count as an answer: the system is solved, or (rectangular only) solved in the least-squares sense.
CONVERGED = (Status.converged, Status.least_squares)
#: States in which x has no derivative: the system is none, or has many solutions, or none.
UNDEFINED = (Status.invalid_input, Status.singular, Status.inconsistent)

_MESSAGES = {
    Status.converged: "The true residual is within the tolerance.",
    Status.least_squares: (
        "The least-squares residual is orthogonal to the range of A within the tolerance; b itself is out of reach."
    ),
    Status.max_iterations: (
        "The iteration limit was reached. Raise `max_iterations`, loosen `rtol`, or use a (better) preconditioner."
    ),
    Status.stagnation: (
        "The residual stopped falling above the tolerance: it sits at the rounding level of this dtype and matrix, or "
        "the method makes no more progress. Loosen `rtol`, use float64, or try another method or preconditioner."
    ),
    Status.breakdown: (
        "The recurrence broke down: a quantity it divides by vanished. Use another method (`GMres`, `biCG-stab(2)`, "
        "`IDR(s)` or a direct one) or another preconditioner."
    ),
    Status.negative_curvature: (
        "The method needs a definite matrix and met directions of positive and of negative curvature: A (or the "
        "preconditioner) is indefinite, or so nearly singular that rounding makes it so. Use `minres` or `CR` for "
        "symmetric, `GMres` or `biCG-stab` for other matrices."
    ),
    Status.inconsistent: (
        "b has a component outside the range of A, so no x reaches the tolerance; x is the best approximation found. "
        "Remove that component from b; the x of least squares is that of `js.solve_linear_info` with `lsqr` or `lsmr`."
    ),
    Status.singular: (
        "A is singular to working precision. If its null space is known, pass `rank_deficiency=1` (constants) or "
        "`null_space=`; otherwise the x of `js.solve_linear_info` with `lsqr` or `lsmr` is that of least squares."
    ),
    Status.not_positive_definite: (
        "The Cholesky factorisation met a non-positive pivot: A is not Hermitian positive definite. Use `LU`."
    ),
    Status.divergence: (
        "The residual grew beyond 1e5 times its start: the method or preconditioner does not fit the matrix, or A is "
        "singular. Use `GMres`, `minres` for symmetric A, or a direct method."
    ),
    Status.nonfinite: (
        "The iterates became infinite or NaN: the recurrence overflowed or divided by zero. Use another method "
        "(`GMres`) or preconditioner."
    ),
    Status.host_failure: "Code on the host raised an exception. Check the function and what it was given.",
    Status.unweighted: (
        "At x the loss gives no weight to any residual, so that nothing tells where to go: all lie far beyond `scale`. "
        "Raise `scale`, or start at the x of a fit with the loss 'huber' or 'linear'."
    ),
    Status.invalid_input: (
        "b, x0 or A (of a nonlinear problem y, x0 or what the function or its derivative is at x0) holds NaN or "
        "infinity, or numbers whose norm overflows. Check the input; no method can help."
    ),
}
