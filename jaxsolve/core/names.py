"""Names that users type: matched without regard to case, hyphens and underscores, refused with the nearest."""

import difflib
import re
from collections.abc import Iterable


def normalized(name: str) -> str:
    """The form in which names are compared.

    >>> normalized("biCG-stab"), normalized("CG_adaptive")
    ('bicgstab', 'cgadaptive')
    """
    return re.sub(r"[-_\s]", "", name).casefold()


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """The text that refuses an unknown name, with the nearest known ones and all of them."""
    names = sorted(known, key=str.casefold)
    return f"unknown {what} {name!r}.{nearest(name, names)} Known: {', '.join(names)}."


def nearest(name: str, known: Iterable[str]) -> str:
    """A question for the known name that may have been meant, with a space before it; empty where none is near.

    >>> nearest("super-lu", ["superlu", "klu"]), nearest("x", ["superlu", "klu"])
    (" Did you mean 'superlu'?", '')
    """
    by_form = {normalized(k): k for k in known}
    near = difflib.get_close_matches(normalized(name), by_form, n=1, cutoff=0.5)
    return f" Did you mean {by_form[near[0]]!r}?" if near else ""
