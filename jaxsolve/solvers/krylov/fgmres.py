"""The flexible GMRES method: the preconditioner may change from step to step."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.options import is_count
from jaxsolve.core.status import Status
from jaxsolve.solvers.krylov.basis import Arnoldi, arnoldi, extend, precondition
from jaxsolve.solvers.method import AbstractMethod, State


class FGMRESState(State):
    """The basis of the residual space, and the preconditioned basis Z of shape (m, n)."""

    x: None
    space: Arnoldi
    Z: Array
    residual_norm: Array
    halt: Array


class FGMRES(AbstractMethod):
    """Restarted flexible GMRES (Saad 1993).

    As GMRES, but the preconditioned vectors are stored, so that the preconditioner may be nonlinear: an inner
    iteration, for instance. 2 restart + 2 vectors of storage; one product with A and one preconditioner application
    an iteration, and none of the latter at the end of a cycle.

    Args:
        restart: Steps of a cycle, at least 1.
    """

    name: ClassVar[str] = "fGMres"
    option: ClassVar[str | None] = "restart"
    storage: ClassVar[str] = "2 restart + 2"
    restarts: ClassVar[bool] = True

    restart: int = eqx.field(static=True, default=30)

    def __check_init__(self) -> None:
        if not is_count(self.restart):
            raise ValueError(
                f"FGMRES(restart={self.restart!r}): a cycle has at least 1 step, a whole number."
            )

    def start(self, A, M, r):
        m = min(self.restart, r.shape[0])
        space, Z = arnoldi(r, m), jnp.zeros((m, r.shape[0]), r.dtype)
        return FGMRESState(None, space, Z, space.residual_norm, jnp.array(0))

    def step(self, A, M, s):
        z = precondition(M, s.space.v)
        Z = s.Z.at[s.space.size].set(z)
        space = extend(s.space, A.mv(z))
        halt = jnp.where(space.full, int(Status.stagnation), 0)
        halt = jnp.where(space.singular, int(Status.singular), halt)
        return FGMRESState(None, space, Z, space.residual_norm, halt)

    def finish(self, A, M, s):
        return s.space.combination(s.Z)
