"""Which linear request a nonlinear one holds: for its steps, and for its gradients."""

from jaxsolve.front.request import Solve
from jaxsolve.solvers.nonlinear_methods import Newton, PseudoTransient


def inner_request(solve: Solve) -> Solve | None:
    """What is asked of the linear systems inside of a method; None leaves the choice to the package."""
    linear = getattr(solve.method, "linear", None)
    if getattr(linear, "recycle", None) is not None:
        raise ValueError(
            f"the steps of `{solve.method.name}` keep no directions from solve to solve; leave recycle out of its "
            "linear solves."
        )
    given = solve.preconditioner is not None or solve.null_space is not None or bool(solve.rank_deficiency)
    if linear is not None or not given:
        return linear
    # A preconditioner or a null space of the nonlinear request is that of its linear systems.
    method = "GMres" if isinstance(solve.method, Newton | PseudoTransient) else "CG"
    return Solve(
        method,
        preconditioner=solve.preconditioner,
        null_space=solve.null_space,
        rank_deficiency=solve.rank_deficiency,
    )


def gradient_request(solve: Solve) -> Solve | None:
    """What is asked of the linear solve of a gradient; None leaves the choice to the package."""
    if solve.gradient_solve is not None:
        return solve.gradient_solve
    # Methods for fits solve J d = -r, and the derivative of the solution needs the whole Hessian.
    return inner_request(solve) if isinstance(solve.method, Newton | PseudoTransient) else None
