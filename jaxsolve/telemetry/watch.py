"""Watch: the observers of the loop of a solve. By default there are none, and the program holds nothing of them."""

import dataclasses
from collections.abc import Callable

from jax import Array

from jaxsolve.telemetry.history import History
from jaxsolve.telemetry.progress import Meter
from jaxsolve.telemetry.trajectory import Trajectory


@dataclasses.dataclass(frozen=True)
class Watch:
    """The observers of a loop. Static under jit.

    Values that only observers need are passed as functions: where nobody watches they are not computed, not even
    traced.
    """

    history: History | None = None
    meter: Meter | None = None

    def start(self, x: Array, norm: Array) -> Trajectory | None:
        """What is carried through the loop, at its start."""
        return None if self.history is None else self.history.start(x, norm)

    def note(
        self,
        seen: Trajectory | None,
        before: Array,
        k: Array,
        norm: Callable[[], Array],
        target: Array,
        x: Callable[[], Array],
    ) -> Trajectory | None:
        """After a step that went from iteration `before` to k."""
        if self.meter is not None:
            self.meter.note(before, k, norm(), target)
        if self.history is None or seen is None:
            return None
        return self.history.note(seen, before, k, norm(), x)

    def settle(self, seen: Trajectory | None, k: Array, norm: Array, x: Array) -> Trajectory | None:
        """After a pass, with the true residual."""
        if self.history is None or seen is None:
            return None
        return self.history.settle(seen, k, norm, x)

    def end(self, seen: Trajectory | None, k: Array, norm: Array, target: Array) -> Trajectory | None:
        """When the solve is over."""
        if self.meter is not None:
            self.meter.end(k, norm, target)
        return None if self.history is None or seen is None else self.history.end(seen)


#: Nobody watches.
SILENT = Watch()
