"""Reports: what a reading found, in words and numbers."""

import dataclasses

from jaxsolve.tracer.plan import Plan


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found out about one structure of arguments.

    Attributes:
        shape: (m, n).
        nnz: Entries of the pattern.
        layout: "diagonals" or "rows", as it is applied.
        diagonals: The number of diagonals, or None.
        bandwidth: Reach below and above the main diagonal.
        symmetric_pattern: Whether entries come in pairs (i, j), (j, i).
        constant: Whether all values are known while compiling.
        affine: Whether there may be an offset.
        terms: Products of positions and factors that the function came down to.
        notes: Operations without a sparse rule, and what was done instead.
    """

    shape: tuple[int, int]
    nnz: int
    layout: str
    diagonals: int | None
    bandwidth: tuple[int, int]
    symmetric_pattern: bool
    constant: bool
    affine: bool
    terms: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        m, n = self.shape
        how = f"{self.diagonals} diagonals" if self.diagonals is not None else "rows"
        lines = [
            f"{m} x {n}, {self.nnz} entries in {self.terms} terms, applied by {how}",
            f"bandwidth {self.bandwidth[0]} + {self.bandwidth[1]}, pattern "
            + ("symmetric" if self.symmetric_pattern else "not symmetric"),
            "values known while compiling" if self.constant else "values computed from the parameters",
            "affine: has an offset" if self.affine else "linear: no offset",
        ]
        return "\n".join([*lines, *(self.notes or ("read by direct propagation throughout",))])


def report_of(plan: Plan) -> Report:
    """The report on a plan; writes its pattern if that was not needed before."""
    pattern, bands = plan.pattern, plan.bands
    return Report(
        shape=plan.shape,
        nnz=pattern.nnz,
        layout="rows" if bands is None else "diagonals",
        diagonals=None if bands is None else len(bands.offsets),
        bandwidth=pattern.bandwidth,
        symmetric_pattern=pattern.is_symmetric,
        constant=all(piece.traced is None for piece in plan.pieces),
        affine=plan.affine,
        terms=len(plan.pieces),
        notes=tuple(plan.notes),
    )
