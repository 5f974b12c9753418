"""The table of rules: how each primitive acts on values that depend on the unknown."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxsolve.core.compat import Equation, Primitive
from jaxsolve.tracer.value import Linear


@dataclasses.dataclass
class Scope:
    """What the rules share during one reading of a function.

    Attributes:
        real: Whether the unknown is real, so that conjugation acts on factors only.
        columns: The number of unknowns, 0 where that does not matter.
        opaque: Whether only positions are wanted: what would be traced is then `OPAQUE`.
        enclosing: The calls and loops around the present equation, outermost first.
        traced_indices: Whether indices were unknown, so that positions had to be taken too many.
        prepared: What was found out about each jaxpr (kept with it, by identity) for its next reading.
        notes: What happened that the user may want to know.
    """

    real: bool = True
    columns: int = 0
    opaque: bool = False
    traced_indices: bool = False
    enclosing: list[Equation] = dataclasses.field(default_factory=list)
    prepared: dict[int, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        """Remembers a remark for the report, once."""
        if text not in self.notes:
            self.notes.append(text)


Rule = Callable[..., Any]
_RULES: dict[Primitive, Rule] = {}


def rule(*primitives: Primitive) -> Callable[[Rule], Rule]:
    """Registers how each of `primitives` acts; a second rule for one is an error.

    A rule is called with the scope, the equation and its inputs, each a `Linear`, a NumPy array, a traced array or
    OPAQUE, at least one a `Linear`, and where the primitive is linear in these (`operators.linear_primitives`). It
    returns the output, or a list of outputs for primitives of several results, None for one that is not linear: an
    error where the function uses it.
    """

    def register(function: Rule) -> Rule:
        for primitive in primitives:
            if primitive in _RULES:
                raise KeyError(f"`{primitive}` has a rule already: {_RULES[primitive].__qualname__}.")
            _RULES[primitive] = function
        return function

    return register


def set_rule(primitive: Primitive, function: Rule) -> None:
    """Registers the rule of a primitive in place of any former one."""
    _RULES[primitive] = function


def primitives_of(function: Rule) -> tuple[Primitive, ...]:
    """The primitives that have this rule."""
    return tuple(primitive for primitive, rule in _RULES.items() if rule is function)


def rule_for(primitive: Primitive) -> Rule | None:
    """The rule of a primitive, if it has one."""
    return _RULES.get(primitive)


def depends(value: Any) -> bool:
    """Whether a value depends on the unknown."""
    return isinstance(value, Linear)
