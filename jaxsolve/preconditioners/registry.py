"""All preconditioners by name."""

from collections.abc import Callable

from jaxsolve.preconditioners.base import AbstractPreconditioner

#: What makes the preconditioner of each name.
PRECONDITIONERS: dict[str, Callable[..., AbstractPreconditioner]] = {}
