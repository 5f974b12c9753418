"""Overriding: what of a request may still change once its system is set up."""

import dataclasses
from typing import Any

from jaxsolve.core.results import Frozen
from jaxsolve.front.request import Solve, method_name, preconditioner_name
from jaxsolve.solvers.method import AbstractMethod

#: What the set-up does not depend on.
CHANGEABLE = ("rtol", "atol", "max_iterations", "x0", "suppress", "progress", "recycle")


def overridden(held: Solve, given: Any, method: AbstractMethod) -> Solve:
    """The request of a setup with the tolerances, limit, first guess and observers of another one.

    Args:
        held: That of the setup.
        given: The other one, which leaves everything else open or asks for the same.
        method: The method that the setup is for.

    Raises:
        TypeError: If it is no `Solve`.
        ValueError: If it asks for something else.
    """
    if not isinstance(given, Solve):
        raise TypeError(f"the third argument is a js.Solve, such as js.Solve(rtol=1e-8); got {given!r}.")
    default = Solve()
    for field in dataclasses.fields(Solve):
        name, asked = field.name, getattr(given, field.name)
        same = _alike(asked, getattr(default, name)) or _alike(asked, getattr(held, name))
        if name in CHANGEABLE or same or (name == "method" and _alike(asked, method)):
            continue
        told = {"method": method_name, "preconditioner": preconditioner_name}.get(name, repr)
        has = told(method if name == "method" else getattr(held, name))
        raise ValueError(
            f"this system was set up with {name} {has}; {told(asked)} needs another setup: js.setup(A, solve). Here a "
            f"Solve may change {', '.join(CHANGEABLE)}."
        )
    changed = {name: getattr(given, name) for name in CHANGEABLE}
    changed["recycle"] = held.recycle if given.recycle is None else given.recycle
    return dataclasses.replace(held, **changed)


def _alike(one: Any, other: Any) -> bool:
    """Whether two options are the same, arrays by identity."""
    parts = Frozen(one), Frozen(other)
    return parts[0] == parts[1] and all(
        a is b or (isinstance(a, int | float) and type(a) is type(b) and a == b)
        for a, b in zip(parts[0].split(one), parts[1].split(other), strict=True)
    )
