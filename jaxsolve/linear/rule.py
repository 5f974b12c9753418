"""Rule: a line of the table by which method and preconditioner are chosen."""

import dataclasses
from collections.abc import Callable

from jaxsolve.linear.knowledge import Knowledge


@dataclasses.dataclass(frozen=True)
class Rule:
    """A line of the table.

    Attributes:
        when: What has to hold, in words.
        holds: The same, of what is known.
        method: Name of the method.
        preconditioner: Name of the preconditioner, None for none.
        why: The reason for this choice.
    """

    when: str
    holds: Callable[[Knowledge], bool]
    method: str
    preconditioner: str | None
    why: str

    @property
    def pair(self) -> str:
        """Method and preconditioner in words."""
        return self.method if self.preconditioner is None else f"{self.method} + {self.preconditioner}"
