"""The generalised minimal residual method, for any square system."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from jaxsolve.core.options import is_count
from jaxsolve.core.shards import length
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
    """Restarted GMRES, preconditioned from the right.

    Minimises the residual over the Krylov space. A pass is one cycle of at most `restart` steps, which ends as soon
    as the residual is small. A new vector is orthogonalised a second time where the first one cancelled.

    Args:
        restart: Steps of a cycle, at least 1.

    Raises:
        ValueError: If `restart` is no integer of at least 1.
        NotConverged: Out of a solve: `singular` where A is so on the space, `stagnation` where a cycle gains
            nothing.

    Solves: A x = b with A of shape (n, n), real or complex, by products with A alone.
    Cost: one product with A, one preconditioner application and 2 (restart + 1) inner products or vector updates an
        iteration, twice as many where orthogonalised again; restart + 2 vectors of storage.
    Source: Saad and Schultz (1986); Saad (2003), algorithm 9.5.

    >>> import jax.numpy as jnp, jaxsolve as js
    >>> A, b = jnp.array([[2.0, 1.0], [0.0, 4.0]]), jnp.array([3.0, 4.0])
    >>> info = js.solve_linear_info(A, b, js.Solve(js.GMRES(restart=10)))
    >>> int(info.iterations), [round(v, 3) for v in info.x.tolist()]
    (2, [1.0, 1.0])
    """

    name: ClassVar[str] = "GMres"
    option: ClassVar[str | None] = "restart"
    spreads: ClassVar[bool] = True
    storage: ClassVar[str] = "restart + 2"
    restarts: ClassVar[bool] = True
    recycles: ClassVar[bool] = True

    restart: int = eqx.field(static=True, default=30)

    def __check_init__(self) -> None:
        if not is_count(self.restart):
            raise ValueError(f"GMRES(restart={self.restart!r}): a cycle has at least 1 step, a whole number.")

    @property
    def basis(self) -> int:
        return self.restart + 2

    def start(self, A, M, r):
        space = arnoldi(r, min(self.restart, length(r.shape[0])))
        return GMRESState(None, space, space.residual_norm, jnp.array(0))

    def step(self, A, M, s):
        # The numbers are the lines of Saad's algorithm 9.5.
        space = extend(s.space, right(A, M).mv(s.space.v))  # 3 to 8: w = A M v_j, orthogonalised
        # The end of a cycle is no failure; the driver starts another one if this one has progressed.
        halt = jnp.where(space.full, int(Status.stagnation), 0)
        halt = jnp.where(space.singular, int(Status.singular), halt)
        return GMRESState(None, space, space.residual_norm, halt)

    def finish(self, A, M, s):
        return precondition(M, s.space.combination(s.space.V))  # 11: x = M V y with y the least ‖β e₁ - H y‖
