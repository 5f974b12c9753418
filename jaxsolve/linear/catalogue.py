"""The registries as data: what there is, what it needs and what it costs."""

import dataclasses

from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method_registry import METHODS


@dataclasses.dataclass(frozen=True)
class MethodEntry:
    """A method: its name, what the matrix must be, the cost of an iteration, storage in vectors."""

    name: str
    needs: str
    cost: str
    storage: str
    rectangular: bool
    preconditioned: bool


@dataclasses.dataclass(frozen=True)
class PreconditionerEntry:
    """A preconditioner: its name, what the matrix must be, its cost, and whether it keeps symmetry."""

    name: str
    needs: str
    cost: str
    symmetric: bool


def methods() -> dict[str, MethodEntry]:
    """All methods by name, with what each needs and costs.

    Returns:
        A dictionary from names to entries with `needs`, `cost`, `storage`, `rectangular` and `preconditioned`.

    >>> methods()["CG"].needs
    'symmetric (Hermitian) positive definite'
    """
    entries = {}
    for name, make in METHODS.items():
        m = make()
        entries[name] = MethodEntry(name, m.needs, m.cost, m.storage, m.rectangular, m.preconditioned)
    return entries


def preconditioners() -> dict[str, PreconditionerEntry]:
    """All preconditioners by name, with what each needs and costs.

    Returns:
        A dictionary from names to entries with `needs`, `cost` and `symmetric`.

    >>> preconditioners()["jacobi"].symmetric
    True
    """
    entries = {}
    for name, make in PRECONDITIONERS.items():
        p = make()
        entries[name] = PreconditionerEntry(name, p.needs, p.cost, p.symmetric)
    return entries
