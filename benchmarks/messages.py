"""What a compiled program sends between devices, read from its text: in each loop an iteration."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

KINDS = ("all-reduce", "collective-permute", "all-gather", "all-to-all", "reduce-scatter")
_SENDS = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+?)(\d*)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:to_apply|calls|body|condition)=%?([\w.-]+)")
_BRANCHES = re.compile(r"(?:branch_computations=\{|true_computation=|false_computation=)([^}\s]*)")


@dataclasses.dataclass(frozen=True)
class Message:
    """One collective operation: its kind, the numbers in its result, and their bytes."""

    kind: str
    numbers: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Loop:
    """What an iteration of a loop sends, loops within it left out; `rarely` in one of two branches.

    Attributes:
        depth: 1 for a loop in no other.
        always: The messages of each iteration.
        rarely: Those of branches.
        callbacks: How many calls of the host there are.
    """

    depth: int
    always: Counter
    rarely: Counter
    callbacks: int

    @property
    def bytes(self) -> int:
        """Bytes of the results of all messages of an iteration."""
        return sum(message.bytes * count for message, count in self.always.items())

    def count(self, kind: str) -> int:
        """How many messages of a kind an iteration sends."""
        return sum(count for message, count in self.always.items() if message.kind == kind)

    def __str__(self) -> str:
        parts = sorted(self.always.items(), key=lambda part: (part[0].kind, part[0].numbers))
        return ", ".join(f"{count} {m.kind}[{m.numbers}]" for m, count in parts) or "nothing"


def loops(compiled: Any) -> list[Loop]:
    """The loops of a compiled program (or of its text), outer ones first."""
    text = compiled if isinstance(compiled, str) else compiled.as_text()
    bodies, entry = _computations(text)
    found, known = [], set()

    def walk(name: str, depth: int) -> None:
        for line in bodies.get(name, ()):
            if " while(" in line:
                body = re.search(r"body=%?([\w.-]+)", line)
                assert body is not None
                if body[1] not in known:
                    known.add(body[1])
                    found.append(_loop(bodies, _CALLED.findall(line), depth + 1))
                    walk(body[1], depth + 1)
            else:
                for inner in _called(line)[0] + _called(line)[1]:
                    walk(inner, depth)

    walk(entry, 0)
    return found


def method_loop(compiled: Any) -> Loop:
    """The loop that runs the steps of a method: of those within the loop of passes the first that sends anything."""
    return next(loop for loop in loops(compiled) if loop.depth == 2 and loop.always)


def _loop(bodies: dict[str, list[str]], names: list[str], depth: int) -> Loop:
    always, rarely, callbacks = Counter(), Counter(), 0

    def lines(name: str, seldom: bool) -> Iterator[tuple[str, bool]]:
        for line in bodies.get(name, ()):
            yield line, seldom
            if " while(" not in line:
                plain, branches = _called(line)
                for inner in plain:
                    yield from lines(inner, seldom)
                for inner in branches:
                    yield from lines(inner, True)

    for name in names:
        for line, seldom in lines(name, False):
            callbacks += "custom_call_target" in line and "callback" in line.lower()
            if sent := _SENDS.search(line):
                (rarely if seldom else always)[_message(sent[2], sent[1])] += 1
    return Loop(depth, always, rarely, callbacks)


def _message(kind: str, result: str) -> Message:
    numbers = size = 0
    for _, bits, shape in _ARRAY.findall(result):
        count = math.prod(int(d) for d in shape.split(",") if d)
        numbers, size = numbers + count, size + count * int(bits or 8) // 8
    return Message(kind, numbers, size)


def _called(line: str) -> tuple[list[str], list[str]]:
    branches = [name.strip().lstrip("%") for found in _BRANCHES.findall(line) for name in found.split(",")]
    return _CALLED.findall(line), branches


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    found, name, entry = {}, None, ""
    for line in text.splitlines():
        if opened := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{\s*$", line):
            name = opened[2]
            found[name] = []
            entry = name if opened[1] else entry
        elif line.startswith("}"):
            name = None
        elif name:
            found[name].append(line)
    return found, entry
