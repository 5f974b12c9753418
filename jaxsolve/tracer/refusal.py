"""Refusals: which operation on which line of the user's code is not linear, and what to do about it."""

from collections.abc import Sequence
from typing import NoReturn

from jaxsolve.core.compat import Equation, source_lines
from jaxsolve.core.errors import NotLinearError, TraceError


class TooLarge(TraceError):
    """A piece of a function couples so many elements that its entries can't be held."""


def place(eqn: Equation, enclosing: Sequence[Equation]) -> str:
    """The user's line that made an equation; for functions of JAX itself, the line that called them."""
    for each in (eqn, *reversed(enclosing)):
        line = source_lines(each)
        if line:
            return line
    return "an unknown line"


def unread(eqn: Equation, enclosing: Sequence[Equation]) -> NoReturn:
    """Raises the error for an operation of which nothing is known.

    Raises:
        TraceError: Always.
    """
    raise TraceError(
        f"`{eqn.primitive.name}` at {place(eqn, enclosing)} can't be read: it is a kernel, a callback or another "
        "package's. Use a method and a preconditioner that need products only, or write a js.LinearOperator that has "
        "`as_matrix` or `diagonal` beside `mv`."
    )


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
