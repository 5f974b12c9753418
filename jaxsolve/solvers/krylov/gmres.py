"""The generalised minimal residual method, for any square system."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.options import is_count
from jaxsolve.core.status import Status
from jaxsolve.solvers.krylov.basis import Arnoldi, arnoldi, extend, precondition, right
from jaxsolve.solvers.method import AbstractMethod, State


class GMRESState(State):
    """The basis of the Krylov space; the iterate is formed in `finish`."""

    x: None
    space: Arnoldi
    residual_norm: Array
    halt: Array


class GMRES(AbstractMethod):
    """Restarted GMRES (Saad and Schultz 1986), preconditioned from the right.

    A pass is one cycle of at most `restart` steps, which ends as soon as the residual is small. The basis is
    orthogonalised again where that is needed. restart + 2 vectors of storage; one product with A, one preconditioner
    application and 2 (restart + 1) inner products or vector updates an iteration, twice as many where needed.

    Args:
        restart: Steps of a cycle, at least 1.
    """

    name: ClassVar[str] = "GMres"
    option: ClassVar[str | None] = "restart"
    storage: ClassVar[str] = "restart + 2"
    restarts: ClassVar[bool] = True

    restart: int = eqx.field(static=True, default=30)

    def __check_init__(self) -> None:
        if not is_count(self.restart):
            raise ValueError(f"GMRES(restart={self.restart!r}): a cycle has at least 1 step, a whole number.")

    def start(self, A, M, r):
        space = arnoldi(r, min(self.restart, r.shape[0]))
        return GMRESState(None, space, space.residual_norm, jnp.array(0))

    def step(self, A, M, s):
        space = extend(s.space, right(A, M).mv(s.space.v))
        # The end of a cycle is no failure; the driver starts another one if this one has progressed.
        halt = jnp.where(space.full, int(Status.stagnation), 0)
        halt = jnp.where(space.singular, int(Status.singular), halt)
        return GMRESState(None, space, space.residual_norm, halt)

    def finish(self, A, M, s):
        return precondition(M, s.space.combination(s.space.V))
