"""SolveTape: every solve made inside a `with` block."""

from collections.abc import Iterator
from typing import Any

import jax.core
import numpy as np

from jaxsolve.core.html import rows_table
from jaxsolve.core.optional import require
from jaxsolve.core.options import is_count
from jaxsolve.core.results import FIGURES, Frozen, SolveInfo
from jaxsolve.core.status import Status
from jaxsolve.telemetry.history import Wish
from jaxsolve.telemetry.listeners import Listening

#: A notebook shows so many solves of a tape.
MOST_ROWS = 50


class SolveTape:
    """Records the `SolveInfo` of every solve inside `with SolveTape() as solves:`.

    Eager solves, solves of gradients (`kind` "tangent" or "adjoint", `is_adjoint`), batches (one entry each) and, in
    program order, solves inside compiled functions (on a GPU in any order, once a compiled solve has raised under a
    tape: ordered programs would fail with its error). These are compiled once more for tapes and call back to the host;
    without a tape their programs hold nothing of it. Solves made in one thread are heard by all tapes open in it. A
    tape opened inside a function that is being traced holds traced values, which the function may return; it hears the
    solves made directly in that function, not those of functions compiled inside and not those of gradients. (`vmap`
    and `grad` by themselves do not trace in this sense: a tape inside holds numbers, those of the whole batch.)

    Args:
        record_trajectories: Whether iterates and residual norms are kept, as `SolveInfo.trajectory`.
        every: Iterations from one record to the next; raised where the iterates of a whole solve (of `max_iterations`)
            would take more than 256 MB.
        norms_only: Whether iterates are left out of trajectories.

    Raises:
        ValueError: If `every` is less than 1.
        RuntimeError: If a tape is opened that is open.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> solve = js.Solve("CG")
    >>> with js.SolveTape(record_trajectories=True) as solves:
    ...     x = js.solve_linear(jnp.diag(jnp.array([1.0, 2.0])), jnp.ones(2), solve)
    >>> len(solves), solves[0].status.name, solves[solve].trajectory.iterations.tolist()
    (1, 'converged', [0, 1, 2])
    """

    def __init__(self, record_trajectories: bool = False, every: int = 1, norms_only: bool = False):
        if not is_count(every):
            raise ValueError(f"every={every!r}: a record is made every 1, 2, 3, ... iterations.")
        self._wish = Wish(every, norms_only) if record_trajectories else None
        self._listening: Listening | None = None
        self._open = False

    def __enter__(self) -> "SolveTape":
        if self._open:
            raise RuntimeError("this SolveTape is open already; make another one.")
        heard = [] if self._listening is None else self._listening.heard
        self._listening = Listening(self._wish)
        self._listening.heard.extend(heard)
        self._listening.open()
        self._open = True
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False
        if self._listening is not None:
            self._listening.close()

    @property
    def solves(self) -> list[SolveInfo]:
        """All entries, first made first."""
        if self._listening is None:
            return []
        if self._open:
            self._listening.wait()
        return list(self._listening.heard)

    def __len__(self) -> int:
        return len(self.solves)

    def __iter__(self) -> Iterator[SolveInfo]:
        return iter(self.solves)

    def __getitem__(self, which: Any) -> Any:
        """The entry of this number (a slice gives a list), or the last solve made with this `Solve`.

        A `Solve` finds solves with the same settings (values that were traced count as the same); the solves of
        gradients are found by number only.

        Raises:
            IndexError: If there are not so many.
            KeyError: If no solve was made with it.
        """
        solves = self.solves
        if isinstance(which, slice):
            return solves[which]
        if isinstance(which, int | np.integer):
            if not -len(solves) <= which < len(solves):
                raise IndexError(f"solves[{which}]: the tape holds {len(solves)} solves.")
            return solves[which]
        wanted = Frozen(which)
        arrays = wanted.split(which)
        for info in reversed(solves):
            if info.kind == "solve" and info.request == wanted and _equal(info.settings, arrays):
                return info
        made = ", ".join(dict.fromkeys(repr(info.solve) for info in solves)) or "none"
        raise KeyError(f"no solve on the tape was made with {which!r}; there are: {made}.")

    def __repr__(self) -> str:
        if not self.solves:
            return "SolveTape()"
        lines = "\n".join(f"  {k}: {info!r}" for k, info in enumerate(self.solves))
        return f"SolveTape(\n{lines}\n)"

    def _repr_html_(self) -> str:
        solves = self.solves
        shown = [(k, *info.figures()) for k, info in enumerate(solves[:MOST_ROWS])]
        more = f", the first {MOST_ROWS}" if len(solves) > MOST_ROWS else ""
        return rows_table(f"SolveTape: {len(solves)} solves{more}", ("", *FIGURES), shown)

    def to_pandas(self) -> Any:
        """The entries as a `pandas.DataFrame`, one row a system.

        Raises:
            MissingBackendError: If pandas is not installed.
            ValueError: If the tape was opened in a function that is being traced.
        """
        pandas = require("pandas", "", "SolveTape.to_pandas()")
        rows = [row for number, info in enumerate(self.solves) for row in _rows(number, info)]
        return pandas.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    *("solve", "system", "method", "kind", "status", "converged", "iterations", "function_evaluations"),
    *("residual_norm", "target", "solve_time"),
]


def _equal(known: list[Any], wanted: list[Any]) -> bool:
    return all(
        one is None or one is other or (np.shape(one) == np.shape(other) and np.array_equal(one, other))
        for one, other in zip(known, wanted, strict=True)
    )


def _rows(number: int, info: SolveInfo) -> list[dict[str, Any]]:
    if isinstance(info.code, jax.core.Tracer):
        raise ValueError(f"{info!r}: return the entries from the traced function; then they have values.")
    shape = np.shape(info.code)
    columns = {
        "iterations": info.iterations,
        "function_evaluations": info.function_evaluations,
        "residual_norm": info.residual_norm,
        "target": info.target,
    }
    flat = {name: np.broadcast_to(np.asarray(value), shape).reshape(-1) for name, value in columns.items()}
    rows = []
    for system, code in enumerate(np.asarray(info.code).reshape(-1)):
        row = {"solve": number, "system": system, "method": info.method, "kind": info.kind}
        row |= {"status": Status(int(code)).name, "converged": bool(np.ravel(info.converged)[system])}
        row |= {name: values[system].item() for name, values in flat.items()}
        rows.append(row | {"solve_time": float(info.solve_time)})
    return rows
