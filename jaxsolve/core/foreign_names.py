"""Options by the names that they have in other packages, and what they are called here."""

import difflib
from collections.abc import Iterable

from jaxsolve.core.names import normalized

_STEPS = "max_iterations"
_GUESS = "x0"
_METHOD = 'method, as in js.Solve("CG")'
_RESTART = "method=js.GMRES(restart=...)"
_TELL = 'js.set_logging_level("debug")'
_FACTS = "A.declare(symmetric=True), A.declare(positive_definite=True), ... of an operator"
#: SciPy's, jax.scipy's, lineax's, optimistix's and PETSc's names.
FOREIGN = {
    **dict.fromkeys(("tol", "tolerance", "ftol", "gtol", "xtol", "ksp_rtol", "relative_tolerance", "eps"), "rtol"),
    **dict.fromkeys(("ksp_atol", "absolute_tolerance", "atols"), "atol"),
    **dict.fromkeys(
        ("maxiter", "max_iter", "maxit", "max_it", "max_steps", "maxfev", "iter_lim", "niter", "ksp_max_it"),
        _STEPS,
    ),
    **dict.fromkeys(("y0", "x_init", "guess", "initial_guess", "init", "initial_params", "ksp_initial_guess"), _GUESS),
    **dict.fromkeys(("M", "precond", "pc", "pc_type", "M1", "M2"), "preconditioner"),
    **dict.fromkeys(("solver", "ksp_type", "linear_solver", "solve_method", "algorithm"), _METHOD),
    **dict.fromkeys(("restart", "inner_m", "gmres_restart", "ksp_gmres_restart"), _RESTART),
    **dict.fromkeys(("throw", "raise_on_failure"), "suppress=(js.NotConverged, js.Diverged), or js.solve_linear_info"),
    **dict.fromkeys(("nullspace", "near_null_space"), "null_space"),
    **dict.fromkeys(("callback", "history"), "js.SolveTape(record_trajectories=True) around the solve"),
    **dict.fromkeys(("verbose", "disp", "show"), _TELL),
    **dict.fromkeys(("tags", "assume_a", "sym_pos", "symmetric", "hermitian", "positive_definite"), _FACTS),
    "bounds": "bounds of js.minimize and js.least_squares",
    "constraints": "constraints of js.minimize",
    "args": "the arguments of js.solve_linear after the request",
    "options": "the options themselves, by name",
    "dtype": "b.astype(dtype), and A likewise",
    "backend": "method=js.SparseDirect(backend=...)",
}  # fmt: skip


def suggestion(name: str, options: Iterable[str]) -> str:
    """What was meant by the name of an option that there is not: ours for that of another package, or the nearest.

    >>> (
    ...     suggestion("maxiter", ["rtol"]),
    ...     suggestion("precondtioner", ["rtol", "preconditioner"]),
    ...     suggestion("zz", []),
    ... )
    ('max_iterations', 'preconditioner', '')
    """
    if name in FOREIGN:
        return FOREIGN[name]
    foreign = {normalized(other): ours for other, ours in FOREIGN.items() if len(other) > 2}
    own = {normalized(option): option for option in options}
    near = difflib.get_close_matches(normalized(name), {**foreign, **own}, n=1, cutoff=0.7)
    return {**foreign, **own}[near[0]] if near else ""


def refuse_option(owner: str, name: str, options: Iterable[str]) -> None:
    """Raises `TypeError` with what was meant.

    >>> refuse_option("js.Solve", "maxiter", ["rtol", "max_iterations"])
    Traceback (most recent call last):
    TypeError: js.Solve has no option 'maxiter'. Did you mean max_iterations? Options: rtol, max_iterations.
    """
    options = list(options)
    meant = suggestion(name, options)
    hint = f" Did you mean {meant}?" if meant else ""
    raise TypeError(f"{owner} has no option {name!r}.{hint} Options: {', '.join(options)}.")
