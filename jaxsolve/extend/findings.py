"""Laws and what came of them: a report that reads as a table, an exception that names what is broken."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Law:
    """What every thing of a kind obeys.

    Attributes:
        name: The law in words.
        holds: Checks it on a subject: returns what was seen, in words, or None where it does not apply; raises
            `AssertionError` with the numbers where it is broken.
        look: Where to look then.
    """

    name: str
    holds: Callable[[Any], str | None]
    look: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of one law.

    Attributes:
        law: Its name.
        passed: Whether it holds; None where it does not apply.
        seen: What was seen, in words.
        look: Where to look if it does not hold.
        seconds: What it took.
    """

    law: str
    passed: bool | None
    seen: str
    look: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check` has run.

    Attributes:
        subject: What was checked.
        findings: One for each law.
    """

    subject: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no law is broken."""
        return all(finding.passed is not False for finding in self.findings)

    def __repr__(self) -> str:
        marks = {True: "holds", False: "BROKEN", None: "-"}
        wide = max((len(finding.law) for finding in self.findings), default=0)
        lines = [
            f"  {marks[finding.passed]:<6} {finding.law:<{wide}}  {finding.seen}".rstrip()
            for finding in self.findings
        ]
        seconds = sum(finding.seconds for finding in self.findings)
        held = sum(finding.passed is True for finding in self.findings)
        return "\n".join([f"{self.subject}: {held} laws hold ({seconds:.1f} s)", *lines])


class BrokenLaw(AssertionError):
    """A thing that breaks a law; the text names the law, the numbers and where to look.

    Attributes:
        law: The name of the first law that is broken.
        report: All findings.
    """

    def __init__(self, report: Report):
        broken = [finding for finding in report.findings if finding.passed is False]
        self.law = broken[0].law
        self.report = report
        lines = [f"{report.subject} breaks {len(broken)} of {len(report.findings)} laws."]
        lines += [f"* {f.law}: {f.seen} Look at {f.look}." for f in broken]
        super().__init__("\n".join(lines))


def judged(subject: str, thing: Any, laws: Sequence[Law]) -> Report:
    """The report of all laws on a thing.

    Raises:
        BrokenLaw: If one is broken.
    """
    report = Report(subject, tuple(_finding(thing, law) for law in laws))
    if not report.passed:
        raise BrokenLaw(report)
    return report


def _finding(thing: Any, law: Law) -> Finding:
    started = time.perf_counter()
    try:
        seen = law.holds(thing)
        passed = None if seen is None else True
    except AssertionError as error:
        passed, seen = False, str(error)
    # Whatever a thing of the user's raises is a finding about it.
    except Exception as error:
        passed, seen = False, f"it raised {type(error).__name__}: {_short(str(error))}"
    return Finding(law.name, passed, seen or "does not apply", law.look, time.perf_counter() - started)


def _short(text: str, most: int = 500) -> str:
    """The end of a text: of an error inside of a program, the last lines say what it was."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"... {text[-most:]}"


def require(condition: Any, text: str) -> None:
    """Raises AssertionError with the text where a condition does not hold."""
    if not bool(condition):
        raise AssertionError(text)


def apart(a: Any, b: Any) -> float:
    """The largest difference over the largest entry of b; infinite where something is no number."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    size = float(np.abs(b).max(initial=0))
    return float(np.abs(a - b).max(initial=0)) / (size or 1)


def rounding(dtype: Any, factor: float) -> float:
    """A multiple of the rounding unit of a dtype."""
    return factor * float(jnp.finfo(dtype).eps)
