"""Traits: what is known of a matrix before solving, and how transposes, sums and products carry it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Traits:
    """Facts about a square matrix; False means unknown, never "proved not to be".

    Positive definite means Hermitian positive definite. A real symmetric matrix is Hermitian too; the constructor
    does not know the dtype, so `declare` on an operator sets both.

    >>> Traits(symmetric=True) + Traits(symmetric=True, positive_definite=True)
    Traits(symmetric)
    """

    symmetric: bool = False
    hermitian: bool = False
    positive_definite: bool = False
    lower: bool = False
    upper: bool = False
    diagonal: bool = False

    @property
    def T(self) -> "Traits":
        """The facts about the transpose."""
        return dataclasses.replace(self, lower=self.upper, upper=self.lower)

    def __add__(self, other: "Traits") -> "Traits":
        return self._both(other)

    def __matmul__(self, other: "Traits") -> "Traits":
        # Products keep triangles and diagonals; symmetry needs commuting factors, which nobody declares.
        both = self._both(other)
        return Traits(
            lower=both.lower,
            upper=both.upper,
            diagonal=both.diagonal,
            symmetric=both.diagonal,
        )

    def scaled(self) -> "Traits":
        """The facts that survive multiplication by any number (definiteness does not)."""
        return dataclasses.replace(self, hermitian=False, positive_definite=False)

    def names(self) -> tuple[str, ...]:
        """The names of the known facts."""
        return tuple(f.name for f in dataclasses.fields(self) if getattr(self, f.name))

    def _both(self, other: "Traits") -> "Traits":
        values = {f.name: getattr(self, f.name) and getattr(other, f.name) for f in dataclasses.fields(self)}
        return Traits(**values)

    def __repr__(self) -> str:
        return f"Traits({', '.join(self.names())})"


def traits_for(dtype_is_complex: bool, **declared: bool) -> Traits:
    """Traits from a declaration, with what follows from it.

    Args:
        dtype_is_complex: Whether the matrix is complex, where symmetric and Hermitian differ.
        declared: Names of `Traits` with True or False.

    Raises:
        TypeError: If a name is unknown.
    """
    known = {f.name for f in dataclasses.fields(Traits)}
    unknown = sorted(set(declared) - known)
    if unknown:
        raise TypeError(f"unknown trait {unknown[0]!r}; known traits: {', '.join(sorted(known))}.")
    facts = {name for name, value in declared.items() if value}
    if "positive_definite" in facts:
        facts.add("hermitian")
    if "diagonal" in facts:
        facts |= {"lower", "upper", "symmetric"}
    if not dtype_is_complex and facts & {"symmetric", "hermitian"}:
        facts |= {"symmetric", "hermitian"}
    return Traits(**dict.fromkeys(facts, True))
