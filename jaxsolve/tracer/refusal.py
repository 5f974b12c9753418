"""Refusals: which operation on which line of the user's code is not linear, and what to do about it."""

from collections.abc import Sequence
from typing import NoReturn

from jaxsolve.core.compat import Equation, source_lines
from jaxsolve.core.errors import NotLinearError


def place(eqn: Equation, enclosing: Sequence[Equation]) -> str:
    """The user's line that made an equation; for functions of JAX itself, the line that called them."""
    for each in (eqn, *reversed(enclosing)):
        line = source_lines(each)
        if line:
            return line
    return "an unknown line"


def not_linear(eqn: Equation, enclosing: Sequence[Equation], why: str) -> NoReturn:
    """Raises the error that names the primitive, the line and the way out.

    Raises:
        NotLinearError: Always.
    """
    raise NotLinearError(
        f"the function is not linear in its first argument: `{eqn.primitive.name}` {why}, at "
        f"{place(eqn, enclosing)}. Make that operation depend on parameters only, or use "
        "js.linearize_operator(f, x0) for the Jacobian at a point and js.solve_nonlinear to solve f(x) = y."
    )
